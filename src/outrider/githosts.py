"""Hosts of git repositories: which there are, and the addresses by which one repository of one is reached. Pure.

Paths are compared as bytes with a fixed set. Nothing is decoded or normalised, so no spelling of another path can be
taken for one of these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import quote, urlsplit

from outrider.errors import InvalidRequest

Kind = Literal["github", "gitlab", "gitea", "plain"]
Use = Literal["git", "api"]

KINDS: Mapping[str, tuple[str, str, int]] = {
    "github": ("/api/v3", "/repos/", 2),
    "gitea": ("/api/v1", "/repos/", 2),
    "gitlab": ("/api/v4", "/projects/", 20),
    "plain": ("", "", 20),
}
"""Of each kind: where its API is below its address, where a repository is in that, the most segments of a path."""
USERS = {"github": "x-access-token", "gitea": "x-access-token", "gitlab": "oauth2", "plain": "git"}
HOST_KEYS = ("url", "kind", "api", "user")
LONGEST_URL = 2048
_BASE = re.compile(r"https://([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::(\d{1,5}))?((?:/[A-Za-z0-9._~-]+)*)")
_SEGMENT = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_SERVICES = ("git-upload-pack", "git-receive-pack")
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"))
_REST = re.compile(rb"(?:/(?:[A-Za-z0-9_~!$&'()*+,=:@.-]|%(?!2[eEfF]|5[cC]|3[bB]|25|[01]|7[fF])[0-9A-Fa-f]{2})+)*/?")
_QUERY = re.compile(rb"[!\"$-~]*")
DOTS = (b".", b"..")


@dataclass(frozen=True, slots=True)
class GitHost:
    """`url` and `api` without a final slash; `api` is empty where tokens are for git alone. `user` is the name that
    goes with a token."""

    url: str
    kind: Kind
    api: str
    user: str = field(repr=False)


GITHUB = GitHost("https://github.com", "github", "https://api.github.com", USERS["github"])


@dataclass(frozen=True, slots=True)
class Address:
    """A host, its port, and a path on it."""

    host: str
    port: int
    path: bytes


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository's addresses. `name` is its path's last segment."""

    url: str
    name: str
    user: str
    git: Address
    api: Address | None

    def hosts(self) -> set[tuple[str, int]]:
        return {(one.host, one.port) for one in (self.git, self.api) if one is not None}

    def use(self, host: str, port: int, method: bytes, target: bytes) -> Use | None:
        """What a request is to this repository: git's own traffic, a call of its API, or neither."""
        if (host, port) == (self.git.host, self.git.port) and (method, target) in self._git_requests():
            return "git"
        api = self.api
        if api is None or (host, port) != (api.host, api.port) or method not in _METHODS:
            return None
        path, _, query = target.partition(b"?")
        if not path.startswith(api.path) or not _QUERY.fullmatch(query):
            return None
        rest = path[len(api.path) :]
        within = _REST.fullmatch(rest) and not any(segment in DOTS for segment in rest.split(b"/"))
        return "api" if within else None

    def _git_requests(self) -> set[tuple[bytes, bytes]]:
        found: set[tuple[bytes, bytes]] = set()
        for path in (self.git.path, self.git.path + b".git"):
            for service in (name.encode() for name in _SERVICES):
                found.add((b"GET", path + b"/info/refs?service=" + service))
                found.add((b"POST", path + b"/" + service))
        return found


def repository(url: str, hosts: Sequence[GitHost], field: str = "url") -> Repository:
    """The repository at an address of one of these hosts. Raises InvalidRequest, with `field`."""
    host = next((one for one in hosts if url.startswith(one.url + "/")), None)
    if host is None or len(url) > LONGEST_URL:
        known = ", ".join(f"{one.url}/<owner>/<repository>" for one in hosts)
        raise InvalidRequest(f"{field}: Input should be {known}")
    segments = url[len(host.url) + 1 :].split("/")
    most = KINDS[host.kind][2]
    right = all(_SEGMENT.fullmatch(one) and one not in (".", "..") for one in segments)
    if not right or not 2 <= len(segments) <= most or segments[-1].endswith(".git"):
        raise InvalidRequest(f"{field}: Input should be {host.url}/<owner>/<repository>, without .git and final slash")
    git = _address(url)
    return Repository(url, segments[-1], host.user, git, _api(host, "/".join(segments)))


def _api(host: GitHost, path: str) -> Address | None:
    if not host.api:
        return None
    below = KINDS[host.kind][1]
    return _address(host.api, below + (quote(path, safe="") if host.kind == "gitlab" else path))


def _address(url: str, below: str = "") -> Address:
    parts = urlsplit(url)
    return Address(parts.hostname or "", parts.port or 443, (parts.path + below).encode())


def git_hosts(tables: Any, place: str) -> tuple[GitHost, ...]:
    """The tables `[git.hosts.*]`, with the public default. Raises InvalidRequest; `place` begins its text."""
    if not isinstance(tables, dict):
        raise InvalidRequest(f"{place} must hold tables, such as [git.hosts.work]")
    found = [_host(table, f"{place}.{name}") for name, table in cast("dict[str, Any]", tables).items()]
    rest = [] if any(one.url == GITHUB.url for one in found) else [GITHUB]
    return tuple(sorted([*found, *rest], key=lambda one: len(one.url), reverse=True))


def _host(given: Any, place: str) -> GitHost:
    table = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    wrong = [key for key, value in table.items() if key not in HOST_KEYS or not isinstance(value, str)]
    if not table or wrong:
        raise InvalidRequest(f"{place} must be a table of strings with the keys {', '.join(HOST_KEYS)}")
    kind = cast("Kind", table.get("kind", "github"))
    if kind not in KINDS:
        raise InvalidRequest(f"{place}.kind must be one of {', '.join(KINDS)}")
    url = _base(table.get("url", ""), f"{place}.url")
    api = table.get("api", "" if kind == "plain" else url + KINDS[kind][0])
    user = table.get("user", USERS[kind])
    if not re.fullmatch(r"[!-9;-~]+", user):
        raise InvalidRequest(f"{place}.user must be printable, without a colon")
    return GitHost(url, kind, _base(api, f"{place}.api") if api else "", user)


def _base(url: str, place: str) -> str:
    found = _BASE.fullmatch(url.rstrip("/"))
    if found is None or (found[2] and not 0 < int(found[2]) < 65536) or any(p in url.split("/") for p in (".", "..")):
        raise InvalidRequest(f"{place} must be an https:// address with its host in lower case, not {url!r}")
    return found[0].replace(":443", "", 1) if found[2] == "443" else found[0]
