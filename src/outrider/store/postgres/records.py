"""The durable records on PostgreSQL: sessions and stored answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Literal

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
from outrider.store.postgres import sessions
from outrider.store.postgres.jobs import Append, Kind, NotMade
from outrider.store.postgres.readers import Readers
from outrider.store.postgres.writer import Writer
from outrider.store.shapes import named
from outrider.store.steps import Steps


class PostgresRecords:
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
        key, owner = SessionKey(record.workspace, record.id), worker if wake else None
        job = Append(Kind.CREATE, key, events, wake=wake, worker=owner, keep=keep, record=record, files=files)
        job.stands_on = stands_on
        try:
            done = await self._writer.append(job)
        except NotMade:
            await self._writer.walk(partial(_say_why, record.workspace, keep, stands_on))
            raise
        if owner is None or not done.claimed:
            return None
        return Lease(key, owner, done.epoch, done.head, done.writer_head)

    async def session(self, key: SessionKey) -> SessionRecord | None:
        return next(iter(await self._readers.fetch("session", named(key), shapes.sessions)), None)

    async def sessions(self, workspace: str, page: Page, where: SessionFilter) -> list[SessionRecord]:
        parts = [
            await self._readers.fetch(name, values, shapes.sessions)
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
        key = SessionKey(record.workspace, record.id)
        job = Append(Kind.UPDATE, key, events, if_head=if_head, record=record, columns=columns, files=files, keep=keep)
        job.patch, job.wake = patch, wake
        await self._writer.append(job)

    async def delete_session(self, key: SessionKey, *, if_head: int, opened_by: str = "", at: str = "") -> None:
        job = partial(sessions.delete_session, key=key, if_head=if_head, opened_by=opened_by, at=at)
        await self._writer.run(job, erases=key)

    async def living(self, sessions: Collection[str]) -> set[str]:
        values = {"ids": list(sessions)}
        return await self._readers.fetch("living", values, lambda found: {row["id"] for row in found})

    async def places(self, sessions: Collection[str]) -> dict[str, str]:
        values = {"ids": list(sessions)}
        return await self._readers.fetch("places", values, lambda found: {row[0]: row[1] for row in found})

    async def has_sessions(self) -> bool:
        return await self._readers.fetch("has_sessions", {}, bool)

    async def uses_skill(self, workspace: str, environment_id: str, skill: str) -> bool:
        values = {"workspace": workspace, "environment_id": environment_id, "named": f'"skill_id":"{skill}"'}
        return await self._readers.fetch("uses_skill", values, bool)

    async def answer(self, workspace: str, idempotency: str, *, not_before: str) -> StoredAnswer | None:
        values = {"workspace": workspace, "idempotency": idempotency, "not_before": not_before}
        return await self._readers.fetch("answer", values, lambda found: StoredAnswer(*found[0]) if found else None)


def _say_why(workspace: str, keep: KeptAnswer | None, stands_on: Sequence[Footing]) -> Steps[None]:
    """In the order of every store. Raises what `create_session` says, unless all is well meanwhile."""
    yield from check_unanswered(workspace, keep)
    yield from check_footings(workspace, stands_on)
