"""The embedded store as one object: opens, migrates and closes the file. Bound to the event loop that opened it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType

from outrider.clock import SystemClock
from outrider.ids import IdSource, MonotonicIds
from outrider.store.access import StoredAccess
from outrider.store.answers import StoredAnswers
from outrider.store.catalog import StoredCatalog
from outrider.store.deployments import StoredDeployments
from outrider.store.dreams import StoredDreams
from outrider.store.files import StoredFiles
from outrider.store.memory import StoredMemories
from outrider.store.placements import StoredPlacements
from outrider.store.shapes import OnBatch, OnCommit, OnDelete
from outrider.store.skills import StoredSkills
from outrider.store.sqlite import connections, problems
from outrider.store.sqlite.cold import SqliteCold
from outrider.store.sqlite.erasing import SqliteErasing
from outrider.store.sqlite.log import SqliteLog
from outrider.store.sqlite.migrations import migrate
from outrider.store.sqlite.readers import Readers
from outrider.store.sqlite.records import SqliteRecords
from outrider.store.sqlite.transaction import Transaction
from outrider.store.sqlite.writer import Writer
from outrider.store.steps import Recorded
from outrider.store.vaults import StoredVaults
from outrider.store.webhooks import StoredWebhooks
from outrider.store.work import StoredWork


class SqliteStore(
    SqliteLog,
    SqliteRecords,
    SqliteCold,
    SqliteErasing,
    StoredCatalog,
    StoredAnswers,
    StoredVaults,
    StoredFiles,
    StoredMemories,
    StoredSkills,
    StoredDeployments,
    StoredDreams,
    StoredPlacements,
    StoredAccess,
    StoredWebhooks,
    StoredWork,
):
    """Implements `EventLog`, `Records`, `VaultRecords`, `FileRecords`, `MemoryStores`, `SkillRecords`, `Deployments`,
    `Dreams`,     `ColdLogs`, `Placements`, `Access` and `WorkQueues`.

    Made by `open`.

    `on_commit` gets a session's new rows, in order, in the event loop and before their appender goes on; `on_delete`
    gets an erased session's key; `on_batch`, in another thread, each commit's number of jobs and seconds.
    """

    def __init__(self, writer: Writer, readers: Readers, default_workspace: str) -> None:
        super().__init__(writer, readers)
        Recorded.__init__(self, writer, readers)
        self.default_workspace = default_workspace
        self.writer = ""

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        on_commit: OnCommit | None = None,
        on_delete: OnDelete | None = None,
        on_batch: OnBatch | None = None,
        ids: IdSource | None = None,
    ) -> SqliteStore:
        """Make or migrate the file. `ids` names the default workspace when the file is new. Raises Internal."""
        db, default_workspace = await asyncio.to_thread(_prepare, path, ids or MonotonicIds())
        return cls(Writer(db, path, on_commit, on_delete, on_batch), Readers(path), default_workspace)

    async def close(self) -> None:
        """Finish what was asked for, then let go of the file. A store that is not closed loses nothing either."""
        await self._readers.close()
        await self._writer.close()  # last, so that it is the one that empties the WAL and removes it

    async def __aenter__(self) -> SqliteStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _prepare(path: Path, ids: IdSource) -> tuple[sqlite3.Connection, str]:
    try:
        connections.create(path)
        with ExitStack() as opened:
            db = opened.enter_context(closing(connections.writer(path)))
            migrate(db)
            workspace = _default_workspace(db, ids)
            opened.pop_all()
            return db, workspace
    except (sqlite3.Error, OSError) as error:
        raise problems.translate(error, path) from error


def _default_workspace(db: sqlite3.Connection, ids: IdSource) -> str:
    tx = Transaction(db)
    db.execute("BEGIN IMMEDIATE")
    found = tx.one("default_workspace", {})
    workspace = found[0] if found else ids.new("wrkspc")
    if not found:
        tx.run("insert_default_workspace", {"id": workspace, "at": SystemClock().now()})
    db.execute("COMMIT")
    return workspace
