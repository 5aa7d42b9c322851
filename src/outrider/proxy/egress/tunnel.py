"""Bytes both ways between two sockets, untouched, until both ends are done or nothing has moved for too long."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

SMALL = 64 * 1024
LARGE = 1024 * 1024
MOST_LARGE = 32


@dataclass(slots=True)
class Traffic:
    """Bytes carried: `sent` by the sandbox, `received` by it."""

    sent: int = 0
    received: int = 0


class Buffers:
    """Large buffers for the directions that carry much just now, since fewer and larger moves cost half as much. There
    are so many for all tunnels together; who gets none goes on with its small one."""

    def __init__(self, most: int = MOST_LARGE, size: int = LARGE) -> None:
        self._left = most
        self._size = size
        self._free: list[bytearray] = []

    def borrow(self) -> bytearray | None:
        if self._free:
            return self._free.pop()
        if self._left == 0:
            return None
        self._left -= 1
        return bytearray(self._size)

    def give_back(self, buffer: bytearray) -> None:
        self._free.append(buffer)


class Tunnel:
    def __init__(
        self, inside: socket.socket, outside: socket.socket, traffic: Traffic, idle: float, buffers: Buffers
    ) -> None:
        self._inside = inside
        self._outside = outside
        self._traffic = traffic
        self._idle = idle
        self._buffers = buffers
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()

    async def run(self) -> None:
        """Ends by itself; closes nothing."""
        ways = {
            asyncio.create_task(self._carry(self._inside, self._outside, self._count_sent)),
            asyncio.create_task(self._carry(self._outside, self._inside, self._count_received)),
        }
        try:
            left = ways
            while left and self._loop.time() - self._last < self._idle:
                patience = self._idle - (self._loop.time() - self._last)
                done, left = await asyncio.wait(left, timeout=max(patience, 0.01), return_when=asyncio.FIRST_COMPLETED)
                if any(not one.result() for one in done):
                    return  # one end is gone: what the other still says has nowhere to go
        finally:
            for one in ways:
                one.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _carry(self, source: socket.socket, sink: socket.socket, count: Callable[[int], None]) -> bool:
        """True at an orderly end, which is passed on."""
        small = bytearray(SMALL)
        large: bytearray | None = None
        try:
            while taken := await self._loop.sock_recv_into(source, large or small):
                self._last = self._loop.time()
                await self._loop.sock_sendall(sink, memoryview(large or small)[:taken])
                self._last = self._loop.time()
                count(taken)
                if large is None and taken == SMALL:
                    large = self._buffers.borrow()
                elif large is not None and taken < SMALL:
                    large = self._buffers.give_back(large)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        finally:
            if large is not None:
                self._buffers.give_back(large)
        return True

    def _count_sent(self, size: int) -> None:
        self._traffic.sent += size

    def _count_received(self, size: int) -> None:
        self._traffic.received += size
