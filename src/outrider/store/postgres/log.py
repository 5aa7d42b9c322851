"""The event log on PostgreSQL: what the port promises, said as jobs for the writer and queries for the readers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from outrider.errors import HeadMoved, NotFound
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
from outrider.store.postgres import leases
from outrider.store.postgres.jobs import Append, Kind
from outrider.store.postgres.readers import Readers
from outrider.store.postgres.transaction import Transaction
from outrider.store.postgres.writer import Writer
from outrider.store.shapes import named


class PostgresLog:
    """Implements `EventLog`. Any number of processes may write."""

    shared = True

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def read(self, key: SessionKey, *, after: int = 0, limit: int = 1000) -> list[Row]:
        return await self._readers.of_log(key, "read", {"after": after, "limit": limit}, shapes.rows)

    async def resume(self, key: SessionKey, version: int, *, limit: int = 1000) -> tuple[Snapshot | None, list[Row]]:
        async def read(tx: Transaction) -> tuple[Snapshot | None, list[Row]]:
            head = await tx.one("head", named(key))
            if head is None:
                return None, []
            snapshot = shapes.snapshot(await tx.all("snapshot", {"log": head["log"]}))
            usable = snapshot if snapshot is not None and snapshot.version == version else None
            after = usable.seq if usable is not None else 0
            return usable, shapes.rows(await tx.all("read", {"log": head["log"], "after": after, "limit": limit}))

        return await self._readers.run(read, (None, []))

    async def find(self, key: SessionKey, event_ids: list[str]) -> dict[str, Row]:
        return await self._readers.of_log(key, "find", {"ids": event_ids}, shapes.rows_by_id)

    async def history(self, key: SessionKey, query: HistoryQuery) -> list[HistoryEntry]:
        name = shapes.ordered("history", descending=query.descending)
        return await self._readers.of_log(key, name, shapes.history_values(key, query), shapes.entries)

    async def head(self, key: SessionKey) -> int:
        found = await self._readers.fetch("head", named(key), list)
        if not found:
            raise NotFound(f"Session {key.session} was not found.")
        return found[0]["head"]

    async def heads(self, keys: Sequence[SessionKey]) -> dict[SessionKey, int]:
        asked = {"workspaces": [key.workspace for key in keys], "sessions": [key.session for key in keys]}
        found = await self._readers.fetch("heads", asked, list)
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
        job = Append(Kind.CLIENT, key, events, if_head=if_head, wake=wake, patch=patch)
        return (await self._writer.append(job)).head

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
        owner = worker if wake else None
        job = Append(Kind.CLIENT, key, events, if_head=if_head, wake=wake, worker=owner, patch=patch, keep=keep)
        done = await self._writer.append(job)
        if owner is None or not done.claimed:
            return done.head, None
        return done.head, Lease(key, owner, done.epoch, done.head, done.writer_head)

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
        job = Append(
            Kind.OWNED,
            lease.key,
            events,
            if_head=if_head,
            release=release,
            epoch=lease.epoch,
            writer_head=lease.writer_head,
            patch=patch,
            snapshot=snapshot,
        )
        done = await self._writer.append(job)
        return Lease(lease.key, lease.worker, lease.epoch, done.head, done.writer_head)

    async def claim(self, worker: str, *, limit: int, key: SessionKey | None = None) -> list[Lease]:
        if limit < 1:
            return []
        if key is not None:
            return leases.leases(worker, await self._writer.run(partial(leases.claim_one, worker=worker, key=key)))
        return leases.leases(worker, await self._writer.run(partial(leases.claim, worker=worker, limit=limit)))

    async def release(self, lease: Lease, *, if_head: int) -> bool:
        try:
            await self._writer.append(
                Append(Kind.RELEASE, lease.key, [], if_head=if_head, release=True, epoch=lease.epoch)
            )
        except HeadMoved:
            return False
        return True

    async def beat(self, worker: str) -> bool:
        return await self._writer.run(partial(leases.beat, worker=worker))

    async def beats(self) -> dict[str, int]:
        return await self._readers.fetch("beats", {}, lambda found: {row["worker"]: row["beats"] for row in found})

    async def bury(self, worker: str) -> int:
        return await self._writer.run(partial(leases.bury, worker=worker, writer=self._writer.name))

    async def surrender(self, key: SessionKey, worker: str, *, epoch: int | None = None) -> None:
        await self._writer.run(partial(leases.surrender, key=key, worker=worker, epoch=epoch, writer=self._writer.name))

    async def owned(self, worker: str) -> list[SessionKey]:
        found = await self._readers.fetch("owned", {"worker": worker}, list)
        return [SessionKey(workspace, session) for workspace, session in found]

    async def attendance(self, key: SessionKey) -> Attendance | None:
        return await self._readers.fetch("attendance", named(key), shapes.attendance)

    async def unattended(self, *, limit: int) -> list[SessionKey]:
        found = await self._readers.fetch("unattended", {"limit": limit}, list)
        return [SessionKey(workspace, session) for workspace, session in found]

    async def runnable(self) -> int:
        return (await self._readers.fetch("runnable", {}, list))[0]["waiting"]

    async def snapshot(self, key: SessionKey) -> Snapshot | None:
        return await self._readers.of_log(key, "snapshot", {}, shapes.snapshot)
