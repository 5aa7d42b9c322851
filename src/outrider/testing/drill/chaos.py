"""What a drill does to its deployment: one fault after the other, drawn by a seeded generator. Keeps what it did."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from outrider.testing.drill.shape import Load

FROZEN_SECONDS = (0.5, 6.0)
CUT_SECONDS = (0.5, 6.0)


@dataclass(frozen=True, slots=True)
class Target:
    """Something that a fault can hit. `strike` does it and returns; `mend`, if there is one, takes it back. Targets of
    a kind that differ in `service` come round in turn, so that a short drill hits each."""

    fault: str
    name: str
    strike: Callable[[], Awaitable[None]]
    mend: Callable[[], Awaitable[None]] | None = None
    service: str = ""


@dataclass(frozen=True, slots=True)
class Struck:
    """`at` is in seconds since 1970, `lasted` in seconds (0 for a kill)."""

    fault: str
    name: str
    at: float
    lasted: float


class Chaos:
    def __init__(self, targets: Callable[[], Sequence[Target]], load: Load) -> None:
        self._targets = targets
        self._load = load
        self._random = random.Random(load.seed)
        self._hit: set[str] = set()
        self._turns = Counter[tuple[str, str]]()
        self.done: list[Struck] = []

    async def run(self, until: float) -> None:
        """Strike every `every` seconds until `until` (monotonic seconds); everything is mended when this returns."""
        if not self._load.every or not self._load.faults:
            return
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < until:
                await asyncio.sleep(self._load.every)
                target = self._draw()
                if target is not None:
                    group.create_task(self._one(target))

    def _draw(self) -> Target | None:
        """A fault of a kind drawn first, so that kinds with few targets are not rare; nothing is hit twice at once."""
        free = [one for one in self._targets() if one.fault in self._load.faults and one.name not in self._hit]
        kinds = sorted({one.fault for one in free})
        if not kinds:
            return None
        kind = self._random.choice(kinds)
        of_kind = sorted((one for one in free if one.fault == kind), key=lambda one: one.name)
        fewest = min(self._turns[kind, one.service] for one in of_kind)
        chosen = self._random.choice([one for one in of_kind if self._turns[kind, one.service] == fewest])
        self._turns[kind, chosen.service] += 1
        return chosen

    async def _one(self, target: Target) -> None:
        spans = {"freeze": FROZEN_SECONDS, "cut": CUT_SECONDS}
        lasting = self._random.uniform(*spans[target.fault]) if target.mend else 0.0
        self._hit.add(target.name)
        try:
            at = time.time()
            await target.strike()
            self.done.append(Struck(target.fault, target.name, at, lasting))
            if target.mend is not None:
                await asyncio.sleep(lasting)
                await target.mend()
        finally:
            self._hit.discard(target.name)
