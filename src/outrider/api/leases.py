"""What this process has seen of the items that workers hold, and for how long each stood unchanged.

By this process's own steady clock, so that nobody's time is compared with anybody else's. Time in which it could not
look, as in an outage of the store, counts for some seconds only: whoever holds an item could not beat for it, either.
How long it stood is noted in the store each quarter of its lease, so that a process that has just started goes on from
there. What follows from it is decided in the store, which changes an item only if it still stands as it was seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from outrider.clock import Clock
from outrider.ports.work import Held

Place = tuple[str, str]
"""A workspace and one of its environments."""
POLLERS_KNOWN = 10_000
NOTED_SECONDS = 3.0
COUNTED_SECONDS = 5.0  # at most, from one look to the next
NOTED_PART = 4  # of a lease's time


@dataclass(slots=True)
class _Seen:
    """An item, for how long it had stood like that when this process last looked, and how much of that is noted."""

    held: Held
    age: float
    looked: float
    noted: int


class Leases:
    """One for each process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[Place, dict[str, _Seen]] = {}
        self._noted: dict[tuple[str, str, str], float] = {}

    def look(self, place: Place, held: list[Held]) -> None:
        """All that is held now."""
        before = self._seen.pop(place, {})
        if held:
            self._seen[place] = {one.id: self._look_at(one, before.get(one.id)) for one in held}

    def look_everywhere(self, held: Iterable[tuple[str, str, Held]]) -> list[Place]:
        """The same of all places; those at which something is held."""
        places: dict[Place, list[Held]] = {place: [] for place in self._seen}
        for workspace, environment, one in held:
            places.setdefault((workspace, environment), []).append(one)
        for place, found in places.items():
            self.look(place, found)
        return list(self._seen)

    def _look_at(self, found: Held, known: _Seen | None) -> _Seen:
        held, age = replace(found, stood=0), float(found.stood)
        if known is not None and known.held == held:
            age = max(age, self._age(known))
        return _Seen(held, age, self._clock.monotonic(), found.stood)

    def _age(self, seen: _Seen) -> float:
        return seen.age + min(self._clock.monotonic() - seen.looked, COUNTED_SECONDS)

    def unacknowledged(self, place: Place, seconds: float) -> list[tuple[str, int]]:
        """(id, round) of what was handed out so long ago, without a word since."""
        return [(one.id, one.round) for one, age in self._ages(place) if one.state == "polled" and age >= seconds]

    def lapsed(self, place: Place) -> list[Held]:
        return [one for one, age in self._ages(place) if age >= one.ttl]

    def to_note(self, place: Place) -> list[Held]:
        """Those that have stood for longer than the store knows, by enough to be noted."""
        seen = [(one, int(self._age(one))) for one in self._seen.get(place, {}).values()]
        return [
            replace(one.held, stood=age) for one, age in seen if age - one.noted >= max(1, one.held.ttl // NOTED_PART)
        ]

    def _ages(self, place: Place) -> list[tuple[Held, float]]:
        return [(one.held, self._age(one)) for one in self._seen.get(place, {}).values()]

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
