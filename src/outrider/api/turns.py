"""Changes of one thing that several callers may ask for at once: each is made from what the one before it left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar
from weakref import WeakValueDictionary

from outrider.errors import Conflict, OutriderError

T = TypeVar("T")
TRIES = 50


class Turns:
    """Requests of this process take turns, by the thing's name; so what is left to collide with are other processes."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def take(
        self, name: Hashable, attempt: Callable[[], Awaitable[T]], *, again: type[OutriderError] = Conflict
    ) -> T:
        """Try until no other process gets in between. `attempt` reads, and raises `again` when what it read has changed
        by the time that it writes; the last try's is raised."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            for _ in range(TRIES - 1):
                try:
                    return await attempt()
                except again:
                    continue
            return await attempt()
