"""Which skills the sessions of an environment use, for that environment's keys.

To find that none uses a skill, all of the environment's sessions are read. So one request of an environment looks at a
time, whoever asks for what isn't there waits a moment, and what was found holds for some seconds.
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from outrider.clock import Clock
from outrider.ports.records import Records

FOUND_SECONDS = 5.0
ABSENT_SECONDS = 0.2
MOST_FOUND = 10_000
Use = tuple[str, str, str]
"""A workspace, an environment of it, and a skill."""


class SkillsInUse:
    """One for each process."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._found: dict[Use, float] = {}
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def has(self, workspace: str, environment: str, skill: str) -> bool:
        use = (workspace, environment, skill)
        if self._is_known(use):
            return True
        async with self._turns.setdefault((workspace, environment), asyncio.Lock()):
            if self._is_known(use):
                return True
            if await self._records.uses_skill(*use):
                self._note(use)
                return True
            await asyncio.sleep(ABSENT_SECONDS)
            return False

    def _is_known(self, use: Use) -> bool:
        return self._clock.monotonic() - self._found.get(use, float("-inf")) < FOUND_SECONDS

    def _note(self, use: Use) -> None:
        if len(self._found) >= MOST_FOUND:
            self._found.clear()
        self._found[use] = self._clock.monotonic()
