"""The operator's settings for what sandboxes may reach: addresses that are not public, and how much at once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, cast

from outrider.errors import InvalidRequest

Address = IPv4Address | IPv6Address
EXAMPLES = "10.0.0.0/8, 127.0.0.1:9000 or [fd00::1]:9000"


@dataclass(frozen=True, slots=True)
class Allowance:
    """An entry of `allow_private`: a network, and a port if it names one."""

    network: IPv4Network | IPv6Network
    port: int | None

    def covers(self, address: Address, port: int, *, exactly: bool) -> bool:
        """`exactly`: only if the entry is this one address."""
        whole = self.network.prefixlen == self.network.max_prefixlen
        return self.port in (None, port) and address in self.network and (whole or not exactly)


@dataclass(frozen=True, slots=True)
class EgressSettings:
    """What sandboxes may reach beyond public addresses, and how much at once. `package_hosts` are a manager's hosts.

    Where roles stand apart, sandbox hosts come in at the vault's `listen` and find it at `url`."""

    allow_private: tuple[Allowance, ...] = ()
    connections: int = 128
    idle_timeout: float = 600.0
    package_hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    listen: str | None = None
    url: str | None = None


EGRESS_KEYS = tuple(EgressSettings.__dataclass_fields__)


def allowance(text: str) -> Allowance:
    """`10.0.0.0/8`, `127.0.0.1:9000`, `[::1]:9000`, `fd00::/8`. Raises ValueError."""
    network, port = text, None
    if text.startswith("["):
        network, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest else None
    elif text.count(":") == 1:
        network, _, port = text.partition(":")
    if port is not None and not (port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"{port!r} is not a port")
    return Allowance(ip_network(network), None if port is None else int(port))


def egress_settings(values: Mapping[str, Any], place: str) -> EgressSettings:
    """The table `[egress]`. Raises InvalidRequest; `place` begins its text."""
    given = values.get("package_hosts", {})
    named = cast("dict[str, Any]", given) if isinstance(given, dict) else {"": given}
    hosts = {name: _strings(entries, f"{place}.package_hosts.{name}") for name, entries in named.items()}
    private = allowances(values.get("allow_private", []), place)
    connections, idle = values.get("connections", 128), values.get("idle_timeout", 600.0)
    if type(connections) is not int or connections < 1:
        raise InvalidRequest(f"{place}.connections must be a whole number, 1 at least")
    if isinstance(idle, bool) or not isinstance(idle, int | float) or idle <= 0:
        raise InvalidRequest(f"{place}.idle_timeout must be a number above 0")
    listen, url = values.get("listen"), values.get("url")
    if not all(text is None or isinstance(text, str) for text in (listen, url)):
        raise InvalidRequest(f"{place}.listen and {place}.url must be strings")
    return EgressSettings(private, connections, idle, hosts, listen, url)


def allowances(entries: Any, place: str) -> tuple[Allowance, ...]:
    """The entries of an `allow_private`. Raises InvalidRequest; `place` begins its text."""
    return tuple(_allowance(entry, place) for entry in _strings(entries, f"{place}.allow_private"))


def _allowance(entry: str, place: str) -> Allowance:
    try:
        return allowance(entry)
    except ValueError as error:
        raise InvalidRequest(
            f"{place}.allow_private: {entry!r} is no address or network, such as {EXAMPLES}"
        ) from error


def _strings(entries: Any, place: str) -> tuple[str, ...]:
    found = cast("list[Any]", entries if isinstance(entries, list) else [None])
    if not all(isinstance(entry, str) for entry in found):
        raise InvalidRequest(f"{place} must be a list of strings")
    return tuple(found)
