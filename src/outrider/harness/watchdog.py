"""Finds sessions that stand still though the store says that they work, and gets them going.

Owns the repairs that are safe without understanding the cause (see docs/decisions/watchdog.md): to wake a session that
nobody attends, and to give up one that is said to be driven here and is not. Each only at the second look, so that
what is just happening is left alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from outrider.errors import NotFound, OutriderError
from outrider.ports.log import EventLog, SessionKey

LOOK_SECONDS = 5.0
MOST = 100  # at one look; the next one finds the rest

log = logging.getLogger("outrider.harness")


class Watchdog:
    """`driven`: what this process works on; `worker` its id now; `ring` tells harnesses to claim."""

    def __init__(
        self,
        store: EventLog,
        worker: Callable[[], str],
        driven: Callable[[], Iterable[SessionKey]],
        ring: Callable[[], None],
    ) -> None:
        self._log = store
        self._worker = worker
        self._driven = driven
        self._ring = ring
        self._suspects: set[tuple[str, SessionKey]] = set()

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self.look()
            except TimeoutError:
                log.warning("the watchdog's look took too long")
            except OutriderError as error:
                log.warning("the watchdog could not look: %s", error.message)

    async def look(self) -> None:
        worker = self._worker()
        undriven = set(await self._log.owned(worker)) - set(self._driven())
        found = {(worker, key) for key in undriven}
        found |= {("", key) for key in await self._log.unattended(limit=MOST)}
        again, self._suspects = found & self._suspects, found
        for owner, key in again:
            await (self._give_up(key, owner) if owner else self._wake(key))
        if again:
            self._ring()

    async def _give_up(self, key: SessionKey, owner: str) -> None:
        """The answer to a claim was lost, say: the store gave it to us and we never heard."""
        log.error("session %s was owned here and not driven: another owner is looked for", key.session)
        await self._log.surrender(key, owner)

    async def _wake(self, key: SessionKey) -> None:
        log.error("session %s was at work without an owner or a wake: woken", key.session)
        try:
            await self._log.append_client(key, [], if_head=None, wake=True)
        except NotFound:
            return  # deleted meanwhile
