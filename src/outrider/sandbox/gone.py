"""What sandboxes of deleted sessions left: their files are erased, and where they lived is forgotten."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from outrider.errors import SandboxUnavailable
from outrider.ports.placements import Placements
from outrider.ports.sandbox import Living

AT_ONCE = 1_000
log = logging.getLogger("outrider.sandbox")


async def erased(sessions: Iterable[str], erase: Callable[[str], Awaitable[None]]) -> list[str]:
    """Those of these that could be erased, in order. One that can't keeps no other waiting."""
    gone: list[str] = []
    for session in sorted(sessions):
        try:
            await erase(session)
        except SandboxUnavailable as problem:
            log.warning("session %s: what is left of it is erased later: %s", session, problem.message)
        else:
            gone.append(session)
    return gone


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
