"""Who is alive among the workers of a shared store: this worker's beats, and the burial of those that stopped theirs.

Owns no session. No clock of another machine is read, and nothing is safe because of what is decided here: a worker that
is buried too early is fenced off by the epochs of its sessions, and goes on under a new id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from outrider import faults
from outrider.clock import Clock
from outrider.errors import OutriderError
from outrider.ports.log import EventLog

BEAT_SECONDS = 1.0
SWEEP_SECONDS = 0.5
DEAD_AFTER = 3.0
BLIND_AFTER = 1.5  # an observer that has not seen its own beats move for so long can't judge others by theirs
GAP_AFTER = 2.0  # nor can one that has not looked for so long
RETRY_SECONDS = 0.25

log = logging.getLogger("outrider.harness")


@dataclass(slots=True)
class Observer:
    """What one process has seen of the beats, on its own monotonic clock. Pure: observations in, burials out."""

    dead_after: float = DEAD_AFTER
    blind_after: float = BLIND_AFTER
    gap_after: float = GAP_AFTER
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict[str, tuple[int, float]])
    _last: float | None = None

    def observe(self, own: str, asked: float, answered: float, beats: Mapping[str, int]) -> list[str]:
        """The workers to bury, after a look at the beats that was begun at `asked` and came back at `answered`.

        Silence counts from the answer that first showed a counter to the question that still found it there. A gap
        between two looks, or a time in which even our own beats did not move, counts for nobody: then it was this
        process, or the store, that stood still.
        """
        gap = self._last is not None and answered - self._last > self.gap_after
        self._last = answered
        before = {} if gap else self._seen
        self._seen = {worker: _since(before.get(worker), count, answered) for worker, count in beats.items()}
        if own not in self._seen or answered - self._seen[own][1] > self.blind_after:
            fresh = {worker: (count, answered) for worker, count in beats.items() if worker != own}
            self._seen |= fresh
        return [name for name, (_, since) in self._seen.items() if name != own and asked - since >= self.dead_after]


def _since(before: tuple[int, float] | None, count: int, answered: float) -> tuple[int, float]:
    return before if before is not None and before[0] == count else (count, answered)


async def bury(store: EventLog, worker: str) -> int:
    faults.point("harness.bury.before")
    freed = await store.bury(worker)
    faults.point("harness.bury.after")
    return freed


class Living(Protocol):
    """The worker whose life this is about."""

    @property
    def id(self) -> str: ...

    @property
    def running(self) -> int:
        """How many sessions it drives."""
        ...

    def renew(self) -> None:
        """Drop every session that is driven, and go on under a new id."""
        ...

    def ring(self) -> None:
        """Sessions may have become runnable."""
        ...


class Liveness:
    """`beat` and `watch` run for as long as the worker does; they end only by being cancelled."""

    def __init__(self, store: EventLog, clock: Clock, worker: Living) -> None:
        self._log = store
        self._clock = clock
        self._worker = worker
        self._observer = Observer(DEAD_AFTER, BLIND_AFTER, GAP_AFTER)

    async def beat(self) -> None:
        """Once a second. A worker that could not, for as long as others wait, owns nothing any more."""
        beaten, known = self._clock.monotonic(), False
        while True:
            began = self._clock.monotonic()
            if await self._beat_until(beaten + DEAD_AFTER):
                beaten, known = began, True
                await asyncio.sleep(max(0.0, began + BEAT_SECONDS - self._clock.monotonic()))
                continue
            if known or self._worker.running:
                log.warning("worker %s was not heard in time, or buried: it drops its sessions", self._worker.id)
                self._worker.renew()
            beaten, known = self._clock.monotonic(), False

    async def _beat_until(self, deadline: float) -> bool:
        """False when the worker was buried, or no beat could be stored before the deadline."""
        while (left := deadline - self._clock.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    return await self._log.beat(self._worker.id)
            except TimeoutError:
                break
            except OutriderError as error:
                log.warning("no beat of worker %s: %s", self._worker.id, error.message)
                await asyncio.sleep(RETRY_SECONDS)
        return False

    async def watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(GAP_AFTER):
                    await self._look()
            except TimeoutError:
                log.warning("the workers' beats could not be looked at in time")
            except OutriderError as error:
                log.warning("the workers' beats could not be looked at: %s", error.message)
            await asyncio.sleep(SWEEP_SECONDS)

    async def _look(self) -> None:
        asked = self._clock.monotonic()
        beats = await self._log.beats()
        for dead in self._observer.observe(self._worker.id, asked, self._clock.monotonic(), beats):
            freed = await bury(self._log, dead)
            log.warning("worker %s is dead: %d sessions of its wait for another owner", dead, freed)
            self._worker.ring()
