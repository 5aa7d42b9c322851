"""A store with room beside it: large bodies and cold logs lie in the blob store, and callers see whole logs.

The layer adds nothing to what has neither: a small append is handed on as it is, and a page is looked at for marks.
Rows that are written as a session is made stay in the store whatever their size: nothing fences them yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, TypeVar, cast

from outrider.errors import BlobDamaged, LogCold, NotFound, Overloaded
from outrider.ports.blobs import BlobPrefix, Blobs
from outrider.ports.cold import ColdLogs
from outrider.ports.copies import NO_CHANGES, FileChanges
from outrider.ports.files import FileRecords, all_of
from outrider.ports.log import (
    EventLog,
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
from outrider.ports.records import Page, Records, SessionRecord
from outrider.store.bodies import Bodies, Fence, any_outside, fitting
from outrider.store.cold import Freezer

T = TypeVar("T")
EVERY = Page(limit=1_000_000)
log = logging.getLogger("outrider.store")


class Deepened(EventLog, Records, FileRecords, ColdLogs, Protocol):
    """What the layer needs of a store."""


S = TypeVar("S", bound=Deepened)


def deepen(store: S, bodies: Bodies, freezer: Freezer, blobs: Blobs) -> S:
    """The store behind the layer; it has all the store's methods. `store` must tell `bodies.committed` of commits."""
    return cast(S, DeepStore(store, bodies, freezer, blobs))


class DeepStore:
    """Overrides each method that takes or gives bodies; hands the others on."""

    def __init__(self, store: Deepened, bodies: Bodies, freezer: Freezer, blobs: Blobs) -> None:
        self._store = store
        self._bodies = bodies
        self._freezer = freezer
        self._blobs = blobs
        self._appends: set[asyncio.Task[Any]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    # -- reading

    async def read(self, key: SessionKey, *, after: int = 0, limit: int = 1000) -> list[Row]:
        rows = await self._store.read(key, after=after, limit=limit)
        if not rows and await self._freezer.thaw(key, after=after):
            rows = await self._store.read(key, after=after, limit=limit)
        return await self._page(key, rows) if any_outside(rows) else rows

    async def resume(self, key: SessionKey, version: int, *, limit: int = 1000) -> tuple[Snapshot | None, list[Row]]:
        """A cold log's snapshot is at its head: with one there is nothing to bring back."""
        snapshot, rows = await self._store.resume(key, version, limit=limit)
        if snapshot is None and not rows and await self._freezer.thaw(key):
            snapshot, rows = await self._store.resume(key, version, limit=limit)
        return snapshot, await self._page(key, rows) if any_outside(rows) else rows

    async def find(self, key: SessionKey, event_ids: list[str]) -> dict[str, Row]:
        found = await self._store.find(key, event_ids)
        if not found and event_ids and await self._freezer.thaw(key):
            found = await self._store.find(key, event_ids)
        if not any_outside(list(found.values())):
            return found
        return {row.id: row for row in await self._whole(key, list(found.values()))}

    async def history(self, key: SessionKey, query: HistoryQuery) -> list[HistoryEntry]:
        entries = await self._store.history(key, query)
        if not entries and await self._freezer.thaw(key):
            entries = await self._store.history(key, query)
        rows = [entry.row for entry in entries]
        if not any_outside(rows):
            return entries
        page = await self._page(key, rows)
        return [replace(entry, row=row) for entry, row in zip(entries, page, strict=False)]

    async def _page(self, key: SessionKey, rows: Sequence[Row]) -> list[Row]:
        return await self._whole(key, rows[: fitting(rows)])

    async def _whole(self, key: SessionKey, rows: Sequence[Row]) -> list[Row]:
        try:
            return await self._bodies.whole(key, rows)
        except BlobDamaged:
            if await self._store.counters(key) is None:
                raise NotFound(f"Session {key.session} was not found.") from None  # deleted while it was read
            raise

    # -- writing

    def append_client(
        self,
        key: SessionKey,
        events: list[NewEvent],
        *,
        if_head: int | None,
        patch: SessionPatch | None = None,
        wake: bool,
    ) -> Coroutine[Any, Any, int]:
        def write(events: list[NewEvent]) -> Awaitable[int]:
            return self._store.append_client(key, events, if_head=if_head, patch=patch, wake=wake)

        return self._append(key, events, None if if_head is None else Fence(if_head), write)

    def take_in(
        self,
        key: SessionKey,
        events: list[NewEvent],
        *,
        if_head: int,
        patch: SessionPatch | None,
        wake: bool,
        worker: str | None = None,
        keep: KeptAnswer | None = None,
    ) -> Coroutine[Any, Any, tuple[int, Lease | None]]:
        def write(events: list[NewEvent]) -> Awaitable[tuple[int, Lease | None]]:
            return self._store.take_in(key, events, if_head=if_head, patch=patch, wake=wake, worker=worker, keep=keep)

        return self._append(key, events, Fence(if_head), write)

    def append_owned(
        self,
        lease: Lease,
        events: list[NewEvent],
        *,
        patch: SessionPatch | None = None,
        snapshot: Snapshot | None = None,
        if_head: int | None = None,
        release: bool = False,
    ) -> Coroutine[Any, Any, Lease]:
        def write(events: list[NewEvent]) -> Coroutine[Any, Any, Lease]:
            return self._store.append_owned(
                lease, events, patch=patch, snapshot=snapshot, if_head=if_head, release=release
            )

        if not self._bodies.any_large(events):
            return write(events)
        return self._append(lease.key, events, Fence(None, lease.epoch, lease.writer_head), write)

    def update_session(
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
    ) -> Coroutine[Any, Any, None]:
        more: dict[str, Any] = {"files": files, "keep": keep, "patch": patch, "wake": wake}

        def write(events: list[NewEvent]) -> Awaitable[None]:
            return self._store.update_session(record, events, if_head=if_head, columns=columns, **more)

        return self._append(SessionKey(record.workspace, record.id), events, Fence(if_head), write)

    async def delete_session(self, key: SessionKey, *, if_head: int, opened_by: str = "", at: str = "") -> None:
        files = await self._store.files(key.workspace, EVERY, session=key.session)
        await self._store.delete_session(key, if_head=if_head, opened_by=opened_by, at=at)
        try:
            await self._blobs.delete_all(BlobPrefix(key.workspace, key.session))
            for blob in {record.blob for record in files if record.blob is not None}:
                if not await self._store.owns_bytes(key.workspace, blob):
                    await self._blobs.delete_all(all_of(key.workspace, blob))
        except Overloaded as error:  # the session is gone all the same
            log.warning("session %s: its blobs are left to the next sweep: %s", key.session, error.message)

    async def _append(
        self,
        key: SessionKey,
        events: list[NewEvent],
        fence: Fence | None,
        write: Callable[[list[NewEvent]], Awaitable[T]],
    ) -> T:
        """Append, once more if the log was cold. Without a fence bodies stay in their rows."""
        try:
            if fence is not None and self._bodies.any_large(events):
                return await self._append_large(key, events, fence, write)
            return await write(events)
        except LogCold:
            await self._freezer.thaw(key)
            return await self._append(key, events, fence, write)

    async def _append_large(
        self, key: SessionKey, events: list[NewEvent], fence: Fence, write: Callable[[list[NewEvent]], Awaitable[T]]
    ) -> T:
        """Not taken back by a cancelled caller: the rows may be committed, and are announced with their bodies."""

        async def append() -> T:
            try:
                return await write(await self._bodies.put(key, events, fence))
            finally:
                self._bodies.forget(key, events)

        task = asyncio.ensure_future(append())
        self._appends.add(task)
        task.add_done_callback(self._appended)
        return await asyncio.shield(task)

    def _appended(self, task: asyncio.Task[Any]) -> None:
        self._appends.discard(task)
        if not task.cancelled():
            task.exception()  # known to its caller, if that is still there
