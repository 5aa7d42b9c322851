"""All rows of a workspace, whatever table they are in. Jobs of the writer: many short ones, so that others have their
turns."""

from __future__ import annotations

from functools import partial

from outrider.store.access import end_workspace
from outrider.store.shapes import LOG_TABLES, ROWS_AT_ONCE
from outrider.store.sqlite.transaction import Transaction
from outrider.store.sqlite.writer import Writer


class SqliteErasing:
    """Implements a part of `Access`."""

    _writer: Writer

    async def erase_workspace(self, workspace: str, at: str) -> None:
        for table in await self._writer.run(_tables):
            while await self._writer.run(partial(_erase_rows, table=table, workspace=workspace)):
                continue
        await self._writer.walk(partial(end_workspace, {"workspace": workspace, "at": at}))


def _tables(tx: Transaction) -> list[str]:
    return [name for (name,) in tx.all("tables_of_workspaces") if name not in LOG_TABLES]


def _erase_rows(tx: Transaction, table: str, workspace: str) -> int:
    erased = tx.run_on(table, "erase_rows", {"workspace": workspace, "most": ROWS_AT_ONCE})
    tx.erases = tx.erases or erased > 0
    return erased
