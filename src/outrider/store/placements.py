"""Where sessions' sandboxes live, on every store."""

from __future__ import annotations

from functools import partial

from outrider.store.steps import Recorded, Steps, rows, run


class StoredPlacements(Recorded):
    """Implements `Placements`."""

    async def place(self, session: str, host: str, *, instead_of: str | None = None) -> str:
        return await self._walks.walk(partial(_place, session, host, instead_of))

    async def placement(self, session: str) -> str | None:
        return await self._reads.one("placement", {"session": session}, lambda found: found[0][0] if found else None)

    async def placements(self, after: str, limit: int) -> dict[str, str]:
        values = {"after": after, "limit": limit}
        return await self._reads.fetch("placements", values, lambda found: {row[0]: row[1] for row in found})

    async def unplace(self, session: str) -> None:
        await self._walks.walk(partial(run, "unplace", {"session": session}))


def _place(session: str, host: str, instead_of: str | None) -> Steps[str]:
    values = {"session": session, "host": host, "instead_of": instead_of}
    yield from run("place", values)
    ((found,),) = yield from rows("placement", values)
    return found
