"""What this process has seen of the items that workers hold, and for how long each stood unchanged.

By this process's own steady clock, so that nobody's time is compared with anybody else's: a process that has just
started gives every holder its whole time again. What follows from it is decided in the store, which changes an item
only if it still stands as it was seen.
"""

from __future__ import annotations

import asyncio

from outrider.clock import Clock
from outrider.ports.work import Held

Place = tuple[str, str]
"""A workspace and one of its environments."""
POLLERS_KNOWN = 10_000
NOTED_SECONDS = 3.0


class Leases:
    """One for each process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[Place, dict[str, tuple[Held, float]]] = {}
        self._noted: dict[tuple[str, str, str], float] = {}

    def look(self, place: Place, held: list[Held]) -> None:
        """All that is held now."""
        before, now = self._seen.pop(place, {}), self._clock.monotonic()
        found: dict[str, tuple[Held, float]] = {}
        for one in held:
            known = before.get(one.id)
            found[one.id] = known if known is not None and known[0] == one else (one, now)
        if found:
            self._seen[place] = found

    def unacknowledged(self, place: Place, seconds: float) -> list[tuple[str, int]]:
        """(id, round) of what was handed out so long ago, without a word since."""
        return [(one.id, one.round) for one, age in self._ages(place) if one.state == "polled" and age >= seconds]

    def lapsed(self, place: Place) -> list[Held]:
        return [one for one, age in self._ages(place) if one.state != "polled" and age >= one.ttl]

    def _ages(self, place: Place) -> list[tuple[Held, float]]:
        now = self._clock.monotonic()
        return [(one, now - since) for one, since in self._seen.get(place, {}).values()]

    def should_note(self, place: Place, worker: str) -> bool:
        """Whether to write down that this worker polled: not each time."""
        name, now = (*place, worker), self._clock.monotonic()
        if now - self._noted.get(name, float("-inf")) < NOTED_SECONDS:
            return False
        if len(self._noted) >= POLLERS_KNOWN:
            self._noted.clear()
        self._noted[name] = now
        return True


class WorkBell:
    """Rings when an item was queued by this process, so that a poll that waits here need not look again and again."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def ring(self, environment: str) -> None:
        for event in self._waiting.get(environment, ()):
            event.set()

    async def wait(self, environment: str, seconds: float) -> None:
        """Until it rings for this environment, or the time is over."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(environment, set())
        waiting.add(event)
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
        finally:
            waiting.discard(event)
            if not waiting and self._waiting.get(environment) is waiting:
                del self._waiting[environment]
