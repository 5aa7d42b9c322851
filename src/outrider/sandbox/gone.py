"""Forgets where deleted sessions lived."""

from __future__ import annotations

from collections.abc import Callable

from outrider.ports.placements import Placements
from outrider.ports.sandbox import Living

AT_ONCE = 1_000


class GonePlacements:
    """Each round looks at some of the placements, and the next one at those behind them, so that no round costs more
    the more sessions there are."""

    def __init__(self, placements: Placements) -> None:
        self._placements = placements
        self._after = ""

    async def forget(self, living: Living, erased: Callable[[str], bool]) -> None:
        """`erased` says whether a host has nothing left of sessions that are gone."""
        found = await self._placements.placements(self._after, AT_ONCE)
        for session in found.keys() - await living(found):
            if erased(found[session]):
                await self._placements.unplace(session)
        self._after = max(found) if len(found) == AT_ONCE else ""
