"""Looks after the dreams that are not settled. Every process that reaches sandboxes does so, all at the same ones.

Where several processes share a store, what one of them has just begun is left to it for a while: the others would only
gather the same transcripts for nothing. Clocks decide when something happens, and nothing else.
"""

from __future__ import annotations

from outrider.api.dreaming import advance
from outrider.api.pursuit import Pursuit, now_and_then
from outrider.api.services import Services
from outrider.ports.dreams import DreamRecord

TICK_SECONDS = 0.5
PATIENCE_SECONDS = 10.0
BATCH = 1_000


class Dreamers:
    """One for a process. `tick` is what `run` does twice a second."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._dreams = Pursuit[DreamRecord]("dream", self._advance)
        self._unopened: dict[str, float] = {}

    async def run(self) -> None:
        try:
            await now_and_then(TICK_SECONDS, self.tick, "dreams")
        finally:
            await self._dreams.stop()

    async def tick(self) -> None:
        """Go on with every one that there is. Raises OutriderError when the store does not answer."""
        unsettled = await self._services.dreams.unsettled_dreams(limit=BATCH)
        now = self._services.clock.monotonic()
        opening = [one.id for one in unsettled if one.begun_at is not None and one.opened_at is None]
        self._unopened = {id: self._unopened.get(id, now) for id in opening}
        for dream in unsettled:
            self._dreams.begin(dream)

    async def settled(self) -> None:
        """Until what this process has begun is over."""
        await self._dreams.settled()

    async def _advance(self, dream: DreamRecord) -> None:
        await advance(self._services, dream, may_open=self._left(dream))

    def _left(self, dream: DreamRecord) -> bool:
        """Whether somebody else who began it would have been heard of by now."""
        since = self._unopened.get(dream.id)
        if since is None or not self._services.log.shared:
            return True
        return self._services.clock.monotonic() - since >= PATIENCE_SECONDS
