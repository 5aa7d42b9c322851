"""Where sessions' sandboxes live, on SQLite."""

from __future__ import annotations

from outrider.store.sqlite.readers import Readers
from outrider.store.sqlite.transaction import Transaction
from outrider.store.sqlite.writer import Writer


class SqlitePlacements:
    """Implements `Placements`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def place(self, session: str, host: str, *, instead_of: str | None = None) -> str:
        values = {"session": session, "host": host, "instead_of": instead_of}

        def job(tx: Transaction) -> str:
            tx.run("place", values)
            ((found,),) = tx.all("placement", values)
            return found

        return await self._writer.run(job)

    async def placement(self, session: str) -> str | None:
        return await self._readers.one("placement", {"session": session}, lambda found: found[0][0] if found else None)

    async def placements(self) -> dict[str, str]:
        return await self._readers.fetch("placements", {}, dict)

    async def unplace(self, session: str) -> None:
        await self._writer.run(lambda tx: tx.run("unplace", {"session": session}))
