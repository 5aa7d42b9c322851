"""Where sessions' sandboxes live, on PostgreSQL."""

from __future__ import annotations

from outrider.store.postgres.readers import Readers
from outrider.store.postgres.transaction import Transaction
from outrider.store.postgres.writer import Writer


class PostgresPlacements:
    """Implements `Placements`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def place(self, session: str, host: str, *, instead_of: str | None = None) -> str:
        values = {"session": session, "host": host, "instead_of": instead_of}

        async def job(tx: Transaction) -> str:
            await tx.run("place", values)
            (found,) = await tx.all("placement", values)
            return found["host"]

        return await self._writer.run(job)

    async def placement(self, session: str) -> str | None:
        def shape(found: list[dict[str, str]]) -> str | None:
            return found[0]["host"] if found else None

        return await self._readers.fetch("placement", {"session": session}, shape)

    async def placements(self) -> dict[str, str]:
        def shape(found: list[dict[str, str]]) -> dict[str, str]:
            return {row["session"]: row["host"] for row in found}

        return await self._readers.fetch("placements", {}, shape)

    async def unplace(self, session: str) -> None:
        async def job(tx: Transaction) -> int:
            return await tx.run("unplace", {"session": session})

        await self._writer.run(job)
