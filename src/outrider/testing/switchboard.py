"""Exchanges within one process, for tests of what several processes say to each other: obedient, or losing, doubling
and reordering what they carry, by a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from outrider.doorbell.local import LocalDoorbell
from outrider.ports.doorbell import Listener, Preview
from outrider.ports.log import SessionKey

Say = Callable[["SwitchboardExchange"], None]


@dataclass(frozen=True, slots=True)
class Mischief:
    """Shares, from 0 to 1, of what is said that get lost, come twice, or come up to `delay` seconds late."""

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    delay: float = 0.02


class Switchboard:
    """What the exchanges of one test are plugged into. While `down` nothing is carried."""

    def __init__(self, mischief: Mischief = Mischief(), seed: int = 0) -> None:
        self.down = False
        self._mischief = mischief
        self._random = random.Random(seed)
        self._members: list[SwitchboardExchange] = []

    def exchange(self) -> SwitchboardExchange:
        return SwitchboardExchange(self)

    def join(self, member: SwitchboardExchange) -> None:
        self._members.append(member)

    def leave(self, member: SwitchboardExchange) -> None:
        self._members.remove(member)

    def lose_connections(self) -> None:
        """As after an outage: everybody is connected again, and does not know what was missed."""
        for member in list(self._members):
            member.reconnect()

    def say(self, sender: SwitchboardExchange, say: Say) -> None:
        for member in self._members:
            if member is not sender and not self.down:
                self._carry(member, say)

    def _carry(self, member: SwitchboardExchange, say: Say) -> None:
        chance, mischief = self._random.random, self._mischief
        for _ in range(2 if chance() < mischief.doubled else 1):
            if chance() < mischief.lost:
                continue
            wait = chance() * mischief.delay if chance() < mischief.late else 0.0
            loop = asyncio.get_running_loop()
            loop.call_later(wait, say, member) if wait else loop.call_soon(say, member)


class SwitchboardExchange:
    """Implements the `Exchange` port for one of the processes that a test plays."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._bell = LocalDoorbell()
        self._followed: set[SessionKey] = set()
        self._listener: Listener | None = None

    @asynccontextmanager
    async def opened(self, listener: Listener) -> AsyncGenerator[None]:
        self._listener = listener
        self._board.join(self)
        self.reconnect()
        try:
            yield
        finally:
            self._board.leave(self)
            self._listener = None

    @property
    def connected(self) -> bool:
        return self._listener is not None

    def reconnect(self) -> None:
        self._bell.ring()
        if self._listener is not None:
            self._listener.look()

    def ring(self) -> None:
        self._bell.ring()
        self._board.say(self, lambda other: other._bell.ring())

    def recheck(self) -> None:
        self._bell.recheck()

    async def wait(self, timeout: float, *, room: bool = True) -> None:
        await self._bell.wait(timeout, room=room)

    def follow(self, key: SessionKey) -> None:
        self._followed.add(key)
        if self._listener is not None:
            self._listener.look([key])

    def unfollow(self, key: SessionKey) -> None:
        self._followed.discard(key)

    def head(self, key: SessionKey, seq: int) -> None:
        self._say(key, lambda listener: listener.heard_head(key, seq))

    def preview(self, key: SessionKey, preview: Preview) -> None:
        self._say(key, lambda listener: listener.heard_preview(key, preview))

    def deleted(self, key: SessionKey, body: bytes) -> None:
        self._say(key, lambda listener: listener.heard_deleted(key, body))

    def _say(self, key: SessionKey, say: Callable[[Listener], None]) -> None:
        self._board.say(self, lambda other: other._hear(key, say))

    def _hear(self, key: SessionKey, say: Callable[[Listener], None]) -> None:
        if self._listener is not None and key in self._followed:
            say(self._listener)
