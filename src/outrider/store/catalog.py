"""Agents with their versions, and environments, on every store."""

from __future__ import annotations

from functools import partial

from outrider.errors import Conflict, NotFound
from outrider.ports.records import AgentRecord, EnvironmentRecord, Footing, Page
from outrider.ports.vaults import Change
from outrider.resources.footings import absent
from outrider.resources.webhooks import became, changed_at
from outrider.store import shapes
from outrider.store.answers import erase_about
from outrider.store.deployments import archive_with_agent
from outrider.store.footings import hold_ending
from outrider.store.steps import Recorded, Steps, erase, first, run
from outrider.store.vaults import note


class StoredCatalog(Recorded):
    """Implements the part of `Records` that writes no log."""

    async def put_agent(self, record: AgentRecord, *, if_version: int | None) -> None:
        await self._walks.walk(partial(_put_agent, record, if_version))

    async def agent(self, workspace: str, agent_id: str, version: int | None = None) -> AgentRecord | None:
        values = {"workspace": workspace, "id": agent_id, "version": version}
        return next(iter(await self._reads.one("agent", values, shapes.agents)), None)

    async def agents(self, workspace: str, page: Page) -> list[AgentRecord]:
        name = shapes.ordered("agents", descending=page.descending)
        return await self._reads.fetch(name, shapes.page_values(workspace, page), shapes.agents)

    async def agent_versions(
        self, workspace: str, agent_id: str, *, before: int | None, limit: int
    ) -> list[AgentRecord]:
        values = {"workspace": workspace, "id": agent_id, "before": before, "limit": limit}
        return await self._reads.fetch("agent_versions", values, shapes.agents)

    async def archive_agent(self, workspace: str, agent_id: str, at: str) -> None:
        await self._walks.walk(partial(_archive_agent, workspace, agent_id, at))

    async def put_environment(self, record: EnvironmentRecord, *, if_body: bytes | None = None) -> None:
        await self._walks.walk(partial(_put_environment, record, if_body))

    async def environment(self, workspace: str, environment_id: str) -> EnvironmentRecord | None:
        values = {"workspace": workspace, "id": environment_id}
        return next(iter(await self._reads.one("environment", values, shapes.environments)), None)

    async def environments(self, workspace: str, page: Page) -> list[EnvironmentRecord]:
        name = shapes.ordered("environments", descending=page.descending)
        return await self._reads.fetch(name, shapes.page_values(workspace, page), shapes.environments)

    async def delete_environment(self, workspace: str, environment_id: str, *, at: str = "") -> None:
        await self._walks.walk(partial(_delete_environment, workspace, environment_id, at))


def _put_agent(record: AgentRecord, if_version: int | None) -> Steps[None]:
    values = {**shapes.fields(record), "if_version": if_version}
    if (yield from run("insert_agent" if if_version is None else "advance_agent", values)) != 1:
        yield from _refuse(record, if_version)
    yield from run("insert_agent_version", values)
    kind = "agent.created" if if_version is None else "agent.updated"
    yield from note(Change(record.workspace, kind, record.id, changed_at(record)))


def _refuse(record: AgentRecord, if_version: int | None) -> Steps[None]:
    latest = yield from first("agent", {"workspace": record.workspace, "id": record.id, "version": None})
    if latest is None:
        raise NotFound(f"Agent {record.id} was not found.")
    if if_version is None:
        raise Conflict(f"Agent {record.id} exists already.")
    if latest[4] is not None:
        raise Conflict(f"Agent {record.id} was archived meanwhile.")
    raise Conflict(f"Agent {record.id} is at version {latest[2]}, not {if_version}.")


def _archive_agent(workspace: str, agent_id: str, at: str) -> Steps[None]:
    yield from hold_ending(workspace, Footing("agent", agent_id))
    if (yield from run("archive_agent", {"workspace": workspace, "id": agent_id, "at": at})) == 1:
        yield from note(Change(workspace, "agent.archived", agent_id, at))
    elif (yield from first("agent", {"workspace": workspace, "id": agent_id, "version": None})) is None:
        raise NotFound(f"Agent {agent_id} was not found.")
    yield from archive_with_agent(workspace, agent_id, at)


def _put_environment(record: EnvironmentRecord, if_body: bytes | None) -> Steps[None]:
    values = shapes.fields(record)
    if if_body is None:
        stored = yield from run("insert_environment", values)
    else:
        if record.archived_at is not None:
            yield from hold_ending(record.workspace, Footing("environment", record.id))
        stored = yield from run("update_environment", {**values, "if_body": if_body})
    if stored != 1:
        yield from _refuse_environment(record, new=if_body is None)
    yield from note(Change(record.workspace, became(record, new=if_body is None), record.id, changed_at(record)))


def _refuse_environment(record: EnvironmentRecord, *, new: bool) -> Steps[None]:
    if new:
        raise Conflict(f"Environment {record.id} exists already.")
    if (yield from first("environment", {"workspace": record.workspace, "id": record.id})) is None:
        raise absent(Footing("environment", record.id))
    raise Conflict(f"Environment {record.id} is archived, or was changed at the same time.")


def _delete_environment(workspace: str, environment_id: str, at: str) -> Steps[None]:
    """Once it is held nobody makes a session on it any more, and one that was being made is there."""
    values = {"workspace": workspace, "id": environment_id}
    yield from _check_unused(values)  # so that who makes many is not waited for, to hear the same
    yield from hold_ending(workspace, Footing("environment", environment_id))
    if (yield from erase("delete_environment", values)) != 1:
        raise absent(Footing("environment", environment_id))
    yield from _check_unused(values)
    yield from erase_about(workspace, environment_id)
    yield from note(Change(workspace, "environment.deleted", environment_id, at))
    yield from run("erase_pollers", values)


def _check_unused(values: dict[str, str]) -> Steps[None]:
    if (yield from first("environment_in_use", values)) is not None:
        raise Conflict(f"Environment {values['id']} is in use by a session.")
