"""A store in memory behind the ports `log` and `records`, for tests and trials: obviously right rather than fast.

Each call runs without giving way, so calls are atomic. Nothing survives the process.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from outrider.errors import Conflict, Fenced, HeadMoved, LogCold, NotFound
from outrider.ports.cold import Counters, Segment
from outrider.ports.copies import NO_CHANGES, FileChanges
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
from outrider.ports.records import Footing, SessionRecord
from outrider.ports.vaults import Change
from outrider.testing.memory_placements import MemoryPlacements
from outrider.testing.memory_records import Kept, MemoryRecords
from outrider.testing.paging import within

WAITING = 2**52  # positions of waiting events start here


class MemoryStore(MemoryRecords, MemoryPlacements):
    """Implements `EventLog`, `Records`, `VaultRecords`, `MemoryStores`, `FileRecords`, `Deployments`, `Dreams`,
    `Placements`, `Access` and `WorkQueues`; `on_commit` and `on_delete` are called before the call that caused them
    returns."""

    def __init__(
        self,
        *,
        on_commit: Callable[[SessionKey, list[Row]], None] | None = None,
        on_delete: Callable[[SessionKey], None] | None = None,
        default_workspace: str = "wrkspc_default",
        shared: bool = False,
    ) -> None:
        MemoryRecords.__init__(self)
        MemoryPlacements.__init__(self)
        self.shared = shared
        self._beats: dict[str, int] = {}
        self._buried: set[str] = set()
        self.begin(default_workspace, "2026-01-01T00:00:00.000000Z")
        self._on_commit = on_commit
        self._on_delete = on_delete
        self._turns: dict[str, int] = {}
        self._served = 0

    def branch(
        self,
        *,
        on_commit: Callable[[SessionKey, list[Row]], None] | None = None,
        on_delete: Callable[[SessionKey], None] | None = None,
    ) -> MemoryStore:
        """The same data as another process would see it, which is told of its own commits only."""
        other = copy.copy(self)
        other._on_commit, other._on_delete = on_commit, on_delete
        return other

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def read(self, key: SessionKey, *, after: int = 0, limit: int = 1000) -> list[Row]:
        return self._rows(key)[after : after + limit]

    async def resume(self, key: SessionKey, version: int, *, limit: int = 1000) -> tuple[Snapshot | None, list[Row]]:
        snapshot = await self.snapshot(key)
        usable = snapshot if snapshot is not None and snapshot.version == version else None
        return usable, await self.read(key, after=usable.seq if usable else 0, limit=limit)

    async def find(self, key: SessionKey, event_ids: list[str]) -> dict[str, Row]:
        return {row.id: row for row in self._rows(key) if row.id in event_ids}

    async def history(self, key: SessionKey, query: HistoryQuery) -> list[HistoryEntry]:
        if key not in self._kept:
            return []
        thread = query.thread if query.thread is not None else self._kept[key].record.thread

        def wanted(entry: HistoryEntry) -> bool:
            return (
                entry.row.thread == thread
                and (not query.types or entry.row.type in query.types)
                and (not query.created or _was_within(entry, query))
                and (query.after is None or _beyond(entry.position, query))
            )

        found = sorted(filter(wanted, self._entries(key)), key=lambda e: e.position, reverse=query.descending)
        return found[: query.limit]

    async def head(self, key: SessionKey) -> int:
        return self._known(key).head

    async def heads(self, keys: Sequence[SessionKey]) -> dict[SessionKey, int]:
        return {key: len(self._kept[key].rows) for key in keys if key in self._kept}

    async def append_client(
        self,
        key: SessionKey,
        events: list[NewEvent],
        *,
        if_head: int | None,
        patch: SessionPatch | None = None,
        wake: bool,
    ) -> int:
        kept = self._warm(key)
        if _stored(kept, events):
            return len(kept.rows)
        _unmoved(kept, if_head)
        self._enter(key, kept, events, epoch=0)
        _patch(kept, patch)
        if wake:
            self._wake(kept)
        return len(kept.rows)

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
        if not _stored(self._warm(key), events):
            self._check_unanswered(key.workspace, keep)
        head = await self.append_client(key, events, if_head=if_head, patch=patch, wake=wake)
        return head, await self._settle(key, worker if wake else None, keep)

    async def _settle(self, key: SessionKey, worker: str | None, keep: KeptAnswer | None) -> Lease | None:
        if keep is not None:
            self._keep(key.workspace, keep)
        alone = self._waiting(None) == [key]
        return next(iter(await self.claim(worker, limit=1)), None) if worker is not None and alone else None

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
        kept = self._owned(lease)
        if kept.writer_head != lease.writer_head:
            if _stored(kept, events):
                return _lease(lease.key, kept, lease.worker)
            raise Fenced(f"Session {lease.key.session} was written to by its owner since.")
        _unmoved(kept, if_head)
        self._enter(lease.key, kept, events, epoch=lease.epoch)
        kept.writer_head = len(kept.rows) if events else kept.writer_head
        _patch(kept, patch)
        kept.snapshot = snapshot or kept.snapshot
        if release:
            kept.since = kept.worker = None
        return _lease(lease.key, kept, lease.worker)

    async def claim(self, worker: str, *, limit: int, key: SessionKey | None = None) -> list[Lease]:
        leases: list[Lease] = []
        while len(leases) < limit and (waiting := self._waiting(key)):
            chosen = min(waiting, key=lambda k: self._place(k))
            if key is None:
                self._served += 1
                self._turns[chosen.workspace] = self._served
            kept = self._kept[chosen]
            kept.worker = worker
            kept.epoch += 1
            leases.append(_lease(chosen, kept, worker))
        return leases

    async def release(self, lease: Lease, *, if_head: int) -> bool:
        kept = self._owned(lease)
        if len(kept.rows) != if_head:
            return False
        kept.since = kept.worker = None
        return True

    async def beat(self, worker: str) -> bool:
        if worker in self._buried:
            return False
        self._beats[worker] = self._beats.get(worker, 0) + 1
        return True

    async def beats(self) -> dict[str, int]:
        owners = {kept.worker: 0 for kept in self._kept.values() if kept.worker is not None}
        return owners | self._beats

    async def bury(self, worker: str) -> int:
        self._beats.pop(worker, None)
        self._buried.add(worker)
        lost = [kept for kept in self._kept.values() if kept.worker == worker]
        for kept in lost:
            kept.worker = None
            kept.epoch += 1
        return len(lost)

    async def surrender(self, key: SessionKey, worker: str, *, epoch: int | None = None) -> None:
        kept = self._kept.get(key)
        if kept is not None and kept.worker == worker and epoch in (None, kept.epoch):
            kept.worker = None

    async def owned(self, worker: str) -> list[SessionKey]:
        return [key for key, kept in self._kept.items() if kept.worker == worker]

    async def attendance(self, key: SessionKey) -> Attendance | None:
        kept = self._kept.get(key)
        return None if kept is None or kept.since is None else Attendance(kept.worker)

    async def unattended(self, *, limit: int) -> list[SessionKey]:
        at_work = [
            key for key, kept in self._kept.items()
            if kept.record.status in ("running", "rescheduling") and kept.record.archived_at is None
        ]  # fmt: skip
        return [key for key in at_work if self._kept[key].since is None][:limit]

    async def runnable(self) -> int:
        return len(self._waiting(None))

    async def snapshot(self, key: SessionKey) -> Snapshot | None:
        return self._kept[key].snapshot if key in self._kept else None

    async def create_session(
        self,
        record: SessionRecord,
        events: list[NewEvent],
        *,
        wake: bool,
        worker: str | None = None,
        keep: KeptAnswer | None = None,
        files: FileChanges = NO_CHANGES,
        stands_on: Sequence[Footing] = (),
    ) -> Lease | None:
        key = SessionKey(record.workspace, record.id)
        self._check_unanswered(key.workspace, keep)
        await self._check_footings(record.workspace, stands_on)
        if key in self._kept:
            raise Conflict(f"Session {record.id} exists already.")
        self._change_files(key, files)
        kept = Kept(record)
        self._enter(key, kept, events, epoch=0)
        self._kept[key] = kept
        if wake:
            self._wake(kept)
        return await self._settle(key, worker if wake else None, keep)

    async def update_session(
        self,
        record: SessionRecord,
        events: list[NewEvent],
        *,
        if_head: int,
        columns: Literal["details", "archive"],
        files: FileChanges = NO_CHANGES,
        keep: KeptAnswer | None = None,
        patch: SessionPatch | None = None,
        wake: bool = False,
    ) -> None:
        key = SessionKey(record.workspace, record.id)
        kept = self._warm(key)
        _unmoved(kept, if_head)
        self._change_files(key, files)
        self._enter(key, kept, events, epoch=0)
        if columns == "archive" and record.archived_at is not None and kept.record.archived_at is None:
            self._note_untold(Change(key.workspace, "session.archived", key.session, record.archived_at))
        names = ("details", "agent") if columns == "details" else ("archived_at", "status")
        kept.record = replace(kept.record, **{name: getattr(record, name) for name in (*names, "updated_at")})
        if keep is not None:
            self._keep(record.workspace, keep)
        _patch(kept, patch)
        if wake:
            self._wake(kept)

    async def delete_session(self, key: SessionKey, *, if_head: int, opened_by: str = "", at: str = "") -> None:
        _unmoved(self._known(key), if_head)
        del self._kept[key]
        self._erase_answers(key, opened_by)
        self._erase_files(key)
        self._erase_attachments(key)
        await self.add_change(Change(key.workspace, "session.deleted", key.session, at))
        self._erase_work(key)
        if self._on_delete is not None:
            self._on_delete(key)

    async def counters(self, key: SessionKey) -> Counters | None:
        kept = self._kept.get(key)
        return Counters(kept.head, kept.writer_head, kept.epoch, kept.segment) if kept else None

    async def freeze(self, key: SessionKey, segment: Segment, *, if_head: int, epoch: int) -> bool:
        kept = self._kept.get(key)
        if kept is None or kept.segment is not None or kept.since is not None:
            return False
        if (kept.head, kept.epoch) != (if_head, epoch):
            return False
        kept.segment, kept.cold_head, kept.rows = segment, kept.head, []
        kept.epoch += 1
        if kept.snapshot is not None and kept.snapshot.seq < if_head:
            kept.snapshot = None
        return True

    async def thaw(self, key: SessionKey, segment: Segment, rows: list[Row]) -> bool:
        kept = self._kept.get(key)
        if kept is None or kept.segment != segment:
            return False
        kept.segment, kept.rows = None, list(rows)
        return True

    async def resting(self, before: str, limit: int, *, cold_too: bool = False) -> list[SessionKey]:
        found = [
            (kept.record.updated_at, key.workspace, key.session)
            for key, kept in self._kept.items()
            if kept.record.updated_at < before and kept.record.status in ("idle", "terminated")
            if (cold_too or kept.segment is None) and kept.since is None and kept.head > 0
        ]
        return [SessionKey(workspace, session) for _, workspace, session in sorted(found)[:limit]]

    def _known(self, key: SessionKey) -> Kept:
        if key not in self._kept:
            raise NotFound(f"Session {key.session} was not found.")
        return self._kept[key]

    def _warm(self, key: SessionKey) -> Kept:
        kept = self._known(key)
        if kept.segment is not None:
            raise LogCold(f"The log of session {key.session} is cold.")
        return kept

    def _owned(self, lease: Lease) -> Kept:
        kept = self._kept.get(lease.key)
        if kept is None or kept.epoch != lease.epoch:
            raise Fenced(f"Session {lease.key.session} has another owner.")
        return kept

    def _rows(self, key: SessionKey) -> list[Row]:
        return self._kept[key].rows if key in self._kept else []

    def _enter(self, key: SessionKey, kept: Kept, events: list[NewEvent], *, epoch: int) -> None:
        known = {row.id for row in kept.rows}
        if len(known | {e.id for e in events}) != len(known) + len(events):
            raise Conflict("Something with this id is stored already.")
        rows = [
            Row(seq, e.id, e.type, e.body, e.thread, e.public, epoch, e.processed_at, e.processes)
            for seq, e in enumerate(events, len(kept.rows) + 1)
        ]
        kept.rows.extend(rows)
        self._tell(key, rows)
        if rows and self._on_commit is not None:
            self._on_commit(key, rows)

    def _entries(self, key: SessionKey) -> list[HistoryEntry]:
        entries: dict[str, HistoryEntry] = {}
        for row in self._rows(key):
            if row.public:
                position = row.seq if row.processed_at is not None else WAITING + row.seq
                entries[row.id] = HistoryEntry(position, row, row.processed_at)
            elif row.processes in entries and entries[row.processes].processed_at is None:
                entries[row.processes] = HistoryEntry(row.seq, entries[row.processes].row, row.processed_at)
        return list(entries.values())

    def _wake(self, kept: Kept) -> None:
        if kept.since is None:
            kept.since = 1 + max((other.since or 0 for other in self._kept.values()), default=0)

    def _waiting(self, key: SessionKey | None) -> list[SessionKey]:
        waiting = [k for k, kept in self._kept.items() if kept.since is not None and kept.worker is None]
        return [k for k in waiting if key is None or k == key]

    def _place(self, key: SessionKey) -> tuple[int, str, int]:
        """Workspaces by their last turn, then sessions by the length of their wait."""
        return self._turns.get(key.workspace, 0), key.workspace, self._kept[key].since or 0


def _lease(key: SessionKey, kept: Kept, worker: str) -> Lease:
    return Lease(key, worker, kept.epoch, len(kept.rows), kept.writer_head)


def _unmoved(kept: Kept, if_head: int | None) -> None:
    if if_head is not None and if_head != kept.head:
        raise HeadMoved(f"The log's head is {kept.head}, not {if_head}.")


def _stored(kept: Kept, events: list[NewEvent]) -> bool:
    ids = {event.id for event in events}
    stored = ids & {row.id for row in kept.rows}
    if stored and stored != ids:
        raise Conflict("Some of these events are stored already, but not all.")
    return bool(stored)


def _patch(kept: Kept, patch: SessionPatch | None) -> None:
    for name in SessionPatch.__slots__ if patch else ():
        if getattr(patch, name) is not None:
            kept.record = replace(kept.record, **{name: getattr(patch, name)})


def _was_within(entry: HistoryEntry, query: HistoryQuery) -> bool:
    return entry.processed_at is not None and within(entry.processed_at, query.created)


def _beyond(position: int, query: HistoryQuery) -> bool:
    assert query.after is not None
    return position < query.after if query.descending else position > query.after
