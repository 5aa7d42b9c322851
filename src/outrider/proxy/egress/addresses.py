"""Which addresses a sandbox may reach: public ones, and what the operator lets in. Pure.

Judged is the address that is connected to, never a name, so that no answer of a DNS server can lead elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from outrider.networks import Address, Allowance

_SPECIAL = tuple(
    (ip_network(network), name)
    for name, networks in (
        ("unspecified", ("0.0.0.0/8",)),
        ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")),
        ("shared", ("100.64.0.0/10",)),
        ("loopback", ("127.0.0.0/8", "::1/128")),
        ("link-local", ("169.254.0.0/16", "fe80::/10")),
        ("reserved", ("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4", "2001::/23", "2002::/16")),
        ("documentation", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")),
        ("multicast", ("224.0.0.0/4", "ff00::/8")),
    )
    for network in networks
)
_GLOBAL = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_METADATA = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "192.0.0.192",
        "fd00:ec2::23",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
)


def plain(address: Address) -> Address:
    """The IPv4 address that an IPv4-mapped one stands for, else the address itself."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def denied(address: Address, port: int, allowed: Iterable[Allowance]) -> str | None:
    """What kind of address it is, if a sandbox may not reach it. A metadata service needs an entry of its own."""
    address = plain(address)
    kind = _kind(address)
    if kind is None:
        return None
    exactly = kind == "metadata service"
    return None if any(one.covers(address, port, exactly=exactly) for one in allowed) else kind


def _kind(address: Address) -> str | None:
    if address in _METADATA:
        return "metadata service"
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "link-local"
    if isinstance(address, IPv6Address) and address in _NAT64:
        return _kind(IPv4Address(int(address) & 0xFFFFFFFF))
    for network, name in _SPECIAL:
        if address in network:
            return name
    return "reserved" if isinstance(address, IPv6Address) and address not in _GLOBAL else None
