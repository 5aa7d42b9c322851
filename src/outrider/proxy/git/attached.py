"""A session's repositories as the proxy knows them, and the header that makes a request one of the token's owner. Pure.

A token goes with requests to its own repository only, and only where the request can be read in one way.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from outrider.errors import InvalidRequest
from outrider.githosts import GitHost, Repository, Use, repository
from outrider.ports.egress import EgressRepository

KIND = "github_repository"
_MISLEADING = (b"x-original-", b"x-rewrite-", b"x-forwarded-", b"forwarded", b"x-http-method", b"x-method-override")
"""Beginnings of headers by which some servers take another path, host or method than the request's own."""


@dataclass(frozen=True, slots=True)
class Attached:
    """`version` is that of the token, 0 if there is none."""

    resource: str
    place: Repository
    version: int


def attached(claimed: Iterable[EgressRepository], hosts: Sequence[GitHost]) -> tuple[Attached, ...]:
    """Those that are on hosts which the operator's settings know."""
    found: list[Attached] = []
    for one in claimed:
        try:
            found.append(Attached(one.resource, repository(one.url, hosts), one.version))
        except InvalidRequest:
            continue  # a host that is not in the settings any more
    return tuple(found)


def takes_token(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the token may go with a request that has these headers: it brings no proof of its own, asks for no other
    protocol, and says nothing that a server could take for another address."""
    names = {name for name, _ in headers}
    return not names & {b"authorization", b"upgrade"} and not any(name.startswith(_MISLEADING) for name in names)


def authorization(use: Use, user: str, token: str) -> bytes:
    if use == "api":
        return b"Bearer " + token.encode()
    return b"Basic " + base64.b64encode(f"{user}:{token}".encode())
