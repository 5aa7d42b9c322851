"""The durable records on PostgreSQL: agents, environments, sessions, stored answers."""

from __future__ import annotations

from functools import partial
from typing import Literal

from outrider.ports.log import KeptAnswer, Lease, NewEvent, SessionKey
from outrider.ports.records import (
    AgentRecord,
    EnvironmentRecord,
    Page,
    SessionFilter,
    SessionRecord,
    StoredAnswer,
)
from outrider.store import shapes
from outrider.store.postgres import catalog
from outrider.store.postgres.jobs import Append, Kind
from outrider.store.postgres.readers import Readers
from outrider.store.postgres.writer import Writer
from outrider.store.shapes import named


class PostgresRecords:
    """Implements `Records`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def put_agent(self, record: AgentRecord, *, if_version: int | None) -> None:
        await self._writer.run(partial(catalog.put_agent, record=record, if_version=if_version))

    async def agent(self, workspace: str, agent_id: str, version: int | None = None) -> AgentRecord | None:
        values = {"workspace": workspace, "id": agent_id, "version": version}
        return next(iter(await self._readers.fetch("agent", values, shapes.agents)), None)

    async def agents(self, workspace: str, page: Page) -> list[AgentRecord]:
        name = shapes.ordered("agents", descending=page.descending)
        return await self._readers.fetch(name, shapes.page_values(workspace, page), shapes.agents)

    async def agent_versions(
        self, workspace: str, agent_id: str, *, before: int | None, limit: int
    ) -> list[AgentRecord]:
        values = {"workspace": workspace, "id": agent_id, "before": before, "limit": limit}
        return await self._readers.fetch("agent_versions", values, shapes.agents)

    async def archive_agent(self, workspace: str, agent_id: str, at: str) -> None:
        await self._writer.run(partial(catalog.archive_agent, workspace=workspace, agent_id=agent_id, at=at))

    async def put_environment(self, record: EnvironmentRecord) -> None:
        await self._writer.run(partial(catalog.put_environment, record=record))

    async def environment(self, workspace: str, environment_id: str) -> EnvironmentRecord | None:
        values = {"workspace": workspace, "id": environment_id}
        return next(iter(await self._readers.fetch("environment", values, shapes.environments)), None)

    async def environments(self, workspace: str, page: Page) -> list[EnvironmentRecord]:
        name = shapes.ordered("environments", descending=page.descending)
        return await self._readers.fetch(name, shapes.page_values(workspace, page), shapes.environments)

    async def delete_environment(self, workspace: str, environment_id: str) -> None:
        job = partial(catalog.delete_environment, workspace=workspace, environment_id=environment_id)
        await self._writer.run(job)

    async def create_session(
        self,
        record: SessionRecord,
        events: list[NewEvent],
        *,
        wake: bool,
        worker: str | None = None,
        keep: KeptAnswer | None = None,
    ) -> Lease | None:
        key, owner = SessionKey(record.workspace, record.id), worker if wake else None
        job = Append(Kind.CREATE, key, events, wake=wake, worker=owner, keep=keep, record=record)
        done = await self._writer.append(job)
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
    ) -> None:
        key = SessionKey(record.workspace, record.id)
        await self._writer.append(Append(Kind.UPDATE, key, events, if_head=if_head, record=record, columns=columns))

    async def delete_session(self, key: SessionKey, *, if_head: int, opened_by: str = "") -> None:
        job = partial(catalog.delete_session, key=key, if_head=if_head, opened_by=opened_by)
        await self._writer.run(job, erases=key)

    async def session_ids(self) -> set[str]:
        return await self._readers.fetch("session_ids", {}, lambda found: {row["id"] for row in found})

    async def answer(self, workspace: str, idempotency: str, *, not_before: str) -> StoredAnswer | None:
        values = {"workspace": workspace, "idempotency": idempotency, "not_before": not_before}
        return await self._readers.fetch("answer", values, lambda found: StoredAnswer(*found[0]) if found else None)

    async def put_answer(self, workspace: str, idempotency: str, at: str, answer: StoredAnswer) -> None:
        job = partial(catalog.put_answer, workspace=workspace, idempotency=idempotency, at=at, answer=answer)
        await self._writer.run(job)

    async def forget_answers(self, before: str) -> None:
        await self._writer.run(partial(catalog.forget_answers, before=before))
