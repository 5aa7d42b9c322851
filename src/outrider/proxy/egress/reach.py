"""Out to a target: its name is resolved once, each address is judged, and what is connected to is what was judged."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

from outrider.networks import Address, Allowance
from outrider.proxy.egress.addresses import denied
from outrider.proxy.egress.hosts import Target

RESOLVE_SECONDS = 10.0
CONNECT_SECONDS = 10.0
MOST_ADDRESSES = 4


class Unreachable(Exception):
    """No connection; the text says why. `denied`: the address is one that sandboxes may not reach."""

    def __init__(self, message: str, *, denied: bool = False) -> None:
        super().__init__(message)
        self.denied = denied


Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a name. Raises OSError."""


async def connected(target: Target, allowed: Sequence[Allowance], resolve: Resolve) -> socket.socket:
    """A non-blocking socket, connected. Raises Unreachable."""
    problem = ""
    for address in await judged(target, allowed, resolve, "[egress] allow_private"):
        try:
            return await _dialled(address, target.port)
        except (OSError, TimeoutError) as error:
            problem = getattr(error, "strerror", None) or "no answer in time"
    raise Unreachable(f"no connection to {target}: {problem}")


async def judged(target: Target, allowed: Sequence[Allowance], resolve: Resolve, setting: str) -> list[Address]:
    """The addresses of a target that may be connected to, one at least. Raises Unreachable; `setting` names what would
    have let a denied one in."""
    addresses = [target.address] if target.address is not None else await _resolved(target, resolve)
    kinds = {address: denied(address, target.port, allowed) for address in addresses}
    usable = [address for address, kind in kinds.items() if kind is None]
    if not usable:
        kind = next(kind for kind in kinds.values() if kind is not None)
        raise Unreachable(f"{target.host} is at a {kind} address, which {setting} must allow", denied=True)
    return usable[:MOST_ADDRESSES]


async def system_resolve(name: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def _resolved(target: Target, resolve: Resolve) -> list[Address]:
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await resolve(target.host, target.port)
    except (OSError, TimeoutError, UnicodeError):
        found = []
    if not found:
        raise Unreachable(f"the name {target.host} can't be resolved")
    return list(dict.fromkeys(ip_address(text) for text in found))


async def _dialled(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(connection, (str(address), port))
    except BaseException:
        connection.close()
        raise
    return connection
