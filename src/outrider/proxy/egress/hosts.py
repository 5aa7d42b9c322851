"""Names and ports in requests, read strictly, and the rules that they are held against. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

_LONGEST = 253
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|\d+")
_PORT = re.compile(r"\d{1,5}")


class BadTarget(ValueError):
    """What a request names can't be read in one way only; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. `host` is in lower case without a final dot; `address` is set where it is an address."""

    host: str
    port: int
    address: IPv4Address | IPv6Address | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def target(authority: bytes, default_port: int | None) -> Target:
    """Read `host`, `host:port`, `[v6]:port`. Raises BadTarget."""
    try:
        text = authority.decode("ascii").lower()
    except UnicodeDecodeError:
        raise BadTarget("the host is not ASCII: send its punycode form") from None
    if "@" in text:
        raise BadTarget("the host comes with a user name")
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise BadTarget("the host's brackets are not closed")
        address = _v6(host)
        return Target(str(address), _port(rest[1:] if rest else None, default_port), address)
    host, colon, port = text.partition(":")
    number = _port(port if colon else None, default_port)
    host = host.removesuffix(".")
    return Target(host, number, _checked(host))


def _v6(text: str) -> IPv6Address:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise BadTarget("the host is not an IPv6 address") from None
    if address.scope_id is not None:
        raise BadTarget("an IPv6 address with a zone")
    return address


def _port(text: str | None, default: int | None) -> int:
    if text is None and default is not None:
        return default
    if text is None or not _PORT.fullmatch(text) or not 0 < int(text) < 65536:
        raise BadTarget("the port is missing or is none")
    return int(text)


def _checked(host: str) -> IPv4Address | None:
    """A name's labels are checked; what ends in a number must be four plain decimal numbers, as browsers hold it."""
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return IPv4Address(host)
        except ValueError:
            raise BadTarget("an IPv4 address must be four decimal numbers") from None
    if len(host) > _LONGEST or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadTarget("the host is not a host name")
    return None


def covers(rule: str, host: str) -> bool:
    """`*.example.com` covers every name below example.com, and not that itself; all else is exact."""
    rule = rule.lower().removesuffix(".")
    return host.endswith(rule[1:]) and len(host) > len(rule) - 1 if rule.startswith("*.") else host == rule
