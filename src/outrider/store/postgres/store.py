"""The shared store as one object: opens, migrates and closes it. Bound to the event loop that opened it."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
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
from outrider.store.postgres import connections, poolers, problems
from outrider.store.postgres.cold import PostgresCold
from outrider.store.postgres.erasing import PostgresErasing
from outrider.store.postgres.log import PostgresLog
from outrider.store.postgres.migrations import migrate
from outrider.store.postgres.readers import Readers
from outrider.store.postgres.records import PostgresRecords
from outrider.store.postgres.transaction import Link, Transaction
from outrider.store.postgres.writer import Writer
from outrider.store.scripts import Script
from outrider.store.shapes import OnBatch, OnCommit, OnDelete
from outrider.store.skills import StoredSkills
from outrider.store.steps import Recorded
from outrider.store.vaults import StoredVaults
from outrider.store.webhooks import StoredWebhooks
from outrider.store.work import StoredWork


class PostgresStore(
    PostgresLog,
    PostgresRecords,
    PostgresCold,
    PostgresErasing,
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

    `on_commit` gets a session's new rows that this process has written, in order, in the event loop and before their
    appender goes on; `on_delete` gets the key of a session that it has erased. Other processes hear of both by the
    notifications `outrider_heads` and `outrider_wakes`, which carry `writer`, the name of the sending store.
    """

    def __init__(self, writer: Writer, readers: Readers, default_workspace: str) -> None:
        super().__init__(writer, readers)
        Recorded.__init__(self, writer, readers)
        self.default_workspace = default_workspace
        self.writer = writer.name

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        on_commit: OnCommit | None = None,
        on_delete: OnDelete | None = None,
        on_batch: OnBatch | None = None,
        ids: IdSource | None = None,
        scripts: list[Script] | None = None,
    ) -> PostgresStore:
        """Migrate the database, if needed. `ids` names the default workspace when it is new; `scripts` are this
        release's own unless a test says otherwise. Raises Internal or Overloaded."""
        name = os.urandom(8).hex()
        try:
            async with AsyncExitStack() as opened:
                link = await connections.to_write(url)
                opened.callback(link.terminate)
                await poolers.refuse_unfit(link, url)
                await migrate(link, scripts)
                workspace = await _begin(link, name, ids or MonotonicIds())
                await connections.bound_locks(link)
                opened.pop_all()
        except poolers.SIGNS:
            raise poolers.refusal(connections.shown(url)) from None
        except problems.FAILURES as error:
            raise problems.translate(error, connections.shown(url)) from None
        writer = Writer(url, name, on_commit, on_delete, on_batch)
        writer.start(link)
        return cls(writer, Readers(url), workspace)

    async def close(self) -> None:
        """Finish what was asked for, then let go of the server. A store that is not closed loses nothing either."""
        await self._readers.close()
        await self._writer.close()

    async def __aenter__(self) -> PostgresStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _begin(link: Link, name: str, ids: IdSource) -> str:
    """Enrol this writer; the default workspace, made once by whoever comes first."""
    tx = Transaction(link)
    async with asyncio.timeout(connections.CONNECT_SECONDS), link.transaction():
        await tx.run("forget_writers", {})
        await tx.run("enrol", {"writer": name})
        found = await tx.one("default_workspace", {})
        if found is None:
            await tx.run("insert_default_workspace", {"id": ids.new("wrkspc"), "at": SystemClock().now()})
            found = await tx.one("default_workspace", {})
    assert found is not None
    return found["id"]
