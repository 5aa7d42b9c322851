"""Goes on with what is unfinished, each thing in a task of its own: one that has to wait keeps no other waiting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, Never, Protocol, TypeVar

from outrider.errors import OutriderError

AT_ONCE = 8
log = logging.getLogger("outrider.api")


async def now_and_then(seconds: float, look: Callable[[], Awaitable[None]], what: str) -> Never:
    """Look, rest for so long, and look again. An outage ends nothing: `what` is looked at later."""
    while True:
        try:
            await look()
        except OutriderError as error:
            log.warning("%s are looked at later: %s", what, error.message)
        await asyncio.sleep(seconds)


class _Named(Protocol):
    @property
    def id(self) -> str: ...


Thing = TypeVar("Thing", bound=_Named)


class Pursuit(Generic[Thing]):
    """Of things of one kind. What fails in an unforeseen way is not tried again before the next start."""

    def __init__(self, kind: str, attempt: Callable[[Thing], Awaitable[None]]) -> None:
        self._kind = kind
        self._attempt = attempt
        self._room = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._broken: set[str] = set()
        self.failed: Callable[[Thing], object] = lambda _: None
        """Told of one that is to be tried again."""

    def begin(self, thing: Thing) -> None:
        """Unless it is under way already. At most `AT_ONCE` are, the others wait."""
        if thing.id in self._under_way or thing.id in self._broken:
            return
        task = asyncio.create_task(self._try(thing))
        self._under_way[thing.id] = task
        task.add_done_callback(lambda done: self._ended(thing, done))

    async def settled(self) -> None:
        """Until what was begun is over."""
        while self._under_way:
            await asyncio.wait(self._under_way.values())

    async def stop(self) -> None:
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _try(self, thing: Thing) -> None:
        try:
            async with self._room:
                await self._attempt(thing)
        except OutriderError as error:
            log.warning("%s %s is tried again: %s", self._kind, thing.id, error.message)
            self.failed(thing)

    def _ended(self, thing: Thing, task: asyncio.Task[None]) -> None:
        del self._under_way[thing.id]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken.add(thing.id)
            log.error(
                "%s %s failed in an unforeseen way; the next start tries it again", self._kind, thing.id, exc_info=error
            )
