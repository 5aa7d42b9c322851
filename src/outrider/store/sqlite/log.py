"""The event log on SQLite: what the port promises, said as jobs for the writer and queries for the readers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import partial

from outrider.errors import NotFound
from outrider.ports.log import (
    Attendance,
    HistoryEntry,
    HistoryQuery,
    KeptAnswer,
    Lease,
    NewEvent,
    Row,
    SessionKey,
    SessionPatch,
    Snapshot,
)
from outrider.store import shapes
from outrider.store.shapes import named
from outrider.store.sqlite import appends, leases
from outrider.store.sqlite.readers import Readers
from outrider.store.sqlite.transaction import QUERIES, Transaction, json_lists
from outrider.store.sqlite.writer import Writer


class SqliteLog:
    """Implements `EventLog`. One process writes: whoever else owns sessions is gone (see `shared`)."""

    shared = False

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def read(self, key: SessionKey, *, after: int = 0, limit: int = 1000) -> list[Row]:
        return await self._readers.fetch("read", named(key, after=after, limit=limit), shapes.rows)

    async def resume(self, key: SessionKey, version: int, *, limit: int = 1000) -> tuple[Snapshot | None, list[Row]]:
        def read(db: sqlite3.Connection) -> tuple[Snapshot | None, list[Row]]:
            snapshot = shapes.snapshot(db.execute(QUERIES["snapshot"], named(key)).fetchall())
            usable = snapshot if snapshot is not None and snapshot.version == version else None
            after = usable.seq if usable is not None else 0
            return usable, shapes.rows(db.execute(QUERIES["read"], named(key, after=after, limit=limit)).fetchall())

        return self._readers.glance(read)

    async def find(self, key: SessionKey, event_ids: list[str]) -> dict[str, Row]:
        return await self._readers.one("find", json_lists(named(key, ids=event_ids)), shapes.rows_by_id)

    async def history(self, key: SessionKey, query: HistoryQuery) -> list[HistoryEntry]:
        name = shapes.ordered("history", descending=query.descending)
        return await self._readers.fetch(name, json_lists(shapes.history_values(key, query)), shapes.entries)

    async def head(self, key: SessionKey) -> int:
        found = await self._readers.one("head", named(key), list)
        if not found:
            raise NotFound(f"Session {key.session} was not found.")
        return found[0][1]

    async def heads(self, keys: Sequence[SessionKey]) -> dict[SessionKey, int]:
        asked = json.dumps([(key.workspace, key.session) for key in keys])
        found = await self._readers.fetch("heads", {"keys": asked}, list)
        return {SessionKey(workspace, session): head for workspace, session, head in found}

    async def append_client(
        self,
        key: SessionKey,
        events: list[NewEvent],
        *,
        if_head: int | None,
        patch: SessionPatch | None = None,
        wake: bool,
    ) -> int:
        job = partial(appends.append_client, key=key, events=events, if_head=if_head, patch=patch, wake=wake)
        return await self._writer.run(job)

    async def take_in(
        self,
        key: SessionKey,
        events: list[NewEvent],
        *,
        if_head: int,
        patch: SessionPatch | None,
        wake: bool,
        worker: str | None = None,
        keep: KeptAnswer | None = None,
    ) -> tuple[int, Lease | None]:
        def job(tx: Transaction) -> tuple[int, Lease | None]:
            head = appends.append_client(tx, key, events, if_head=if_head, patch=patch, wake=wake, keep=keep)
            return head, leases.settle(tx, key, worker if wake else None, keep)

        return await self._writer.run(job)

    async def append_owned(
        self,
        lease: Lease,
        events: list[NewEvent],
        *,
        patch: SessionPatch | None = None,
        snapshot: Snapshot | None = None,
        if_head: int | None = None,
        release: bool = False,
    ) -> Lease:
        if release and if_head is None:
            raise ValueError("release needs if_head: without it an event could slip in unread")
        job = partial(
            appends.append_owned,
            lease=lease,
            events=events,
            patch=patch,
            snapshot=snapshot,
            if_head=if_head,
            release=release,
        )
        return await self._writer.run(job)

    async def claim(self, worker: str, *, limit: int, key: SessionKey | None = None) -> list[Lease]:
        if limit < 1:
            return []
        if key is not None:
            return await self._writer.run(partial(leases.claim_one, worker=worker, key=key))
        return await self._writer.run(partial(leases.claim, worker=worker, limit=limit))

    async def release(self, lease: Lease, *, if_head: int) -> bool:
        return await self._writer.run(partial(leases.release, lease=lease, if_head=if_head))

    async def beat(self, worker: str) -> bool:
        return await self._writer.run(partial(leases.beat, worker=worker))

    async def beats(self) -> dict[str, int]:
        return dict(await self._readers.one("beats", {}, list))

    async def bury(self, worker: str) -> int:
        return await self._writer.run(partial(leases.bury, worker=worker))

    async def surrender(self, key: SessionKey, worker: str, *, epoch: int | None = None) -> None:
        await self._writer.run(partial(leases.surrender, key=key, worker=worker, epoch=epoch))

    async def owned(self, worker: str) -> list[SessionKey]:
        return await self._readers.fetch("owned", {"worker": worker}, _keys)

    async def attendance(self, key: SessionKey) -> Attendance | None:
        return await self._readers.fetch("attendance", named(key), shapes.attendance)

    async def unattended(self, *, limit: int) -> list[SessionKey]:
        return await self._readers.fetch("unattended", {"limit": limit}, _keys)

    async def runnable(self) -> int:
        return (await self._readers.one("runnable", {}, list))[0][0]

    async def snapshot(self, key: SessionKey) -> Snapshot | None:
        return await self._readers.fetch("snapshot", named(key), shapes.snapshot)


def _keys(found: list[tuple[str, str]]) -> list[SessionKey]:
    return [SessionKey(workspace, session) for workspace, session in found]
