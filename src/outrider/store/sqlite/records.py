"""The durable records on SQLite: sessions and stored answers."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Literal

from outrider.ports.copies import NO_CHANGES, FileChanges
from outrider.ports.log import KeptAnswer, Lease, NewEvent, SessionKey, SessionPatch
from outrider.ports.records import (
    Footing,
    Page,
    SessionFilter,
    SessionRecord,
    StoredAnswer,
)
from outrider.store import shapes
from outrider.store.answers import check_unanswered
from outrider.store.footings import check_footings
from outrider.store.shapes import named
from outrider.store.sqlite import leases, sessions
from outrider.store.sqlite.readers import Readers
from outrider.store.sqlite.transaction import Transaction, json_lists
from outrider.store.sqlite.writer import Writer


class SqliteRecords:
    """Implements `Records` together with `StoredCatalog` and `StoredAnswers`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

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
        def job(tx: Transaction) -> Lease | None:
            tx.walk(check_unanswered(record.workspace, keep))
            tx.walk(check_footings(record.workspace, stands_on))
            sessions.create_session(tx, record=record, events=events, wake=wake, files=files)
            return leases.settle(tx, SessionKey(record.workspace, record.id), worker if wake else None, keep)

        return await self._writer.run(job)

    async def session(self, key: SessionKey) -> SessionRecord | None:
        return next(iter(await self._readers.one("session", named(key), shapes.sessions)), None)

    async def sessions(self, workspace: str, page: Page, where: SessionFilter) -> list[SessionRecord]:
        parts = [
            await self._readers.fetch(name, json_lists(values), shapes.sessions)
            for name, values in shapes.session_queries(workspace, page, where)
        ]
        return shapes.joined(parts, page)

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
        more: Any = {"files": files, "patch": patch, "wake": wake}

        def job(tx: Transaction) -> None:
            sessions.update_session(tx, record, events, if_head=if_head, columns=columns, **more)
            leases.settle(tx, SessionKey(record.workspace, record.id), None, keep)

        await self._writer.run(job)

    async def delete_session(self, key: SessionKey, *, if_head: int, opened_by: str = "", at: str = "") -> None:
        job = partial(sessions.delete_session, key=key, if_head=if_head, opened_by=opened_by, at=at)
        await self._writer.run(job)

    async def living(self, sessions: Collection[str]) -> set[str]:
        values = {"ids": json.dumps(list(sessions))}
        return await self._readers.fetch("living", values, lambda found: {row[0] for row in found})

    async def places(self, sessions: Collection[str]) -> dict[str, str]:
        values = {"ids": json.dumps(list(sessions))}
        return await self._readers.fetch("places", values, lambda found: {row[0]: row[1] for row in found})

    async def has_sessions(self) -> bool:
        return await self._readers.one("has_sessions", {}, bool)

    async def uses_skill(self, workspace: str, environment_id: str, skill: str) -> bool:
        values = {"workspace": workspace, "environment_id": environment_id, "named": f'"skill_id":"{skill}"'}
        return await self._readers.fetch("uses_skill", values, bool)

    async def answer(self, workspace: str, idempotency: str, *, not_before: str) -> StoredAnswer | None:
        values = {"workspace": workspace, "idempotency": idempotency, "not_before": not_before}
        return await self._readers.one("answer", values, lambda found: StoredAnswer(*found[0]) if found else None)
