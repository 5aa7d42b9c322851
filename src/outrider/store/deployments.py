"""Deployments and their runs, on every store."""

from __future__ import annotations

from functools import partial
from typing import Any

from outrider.errors import Conflict, InvalidRequest
from outrider.ports.deployments import MOST_SCHEDULED, DeploymentFilter, DeploymentRecord, RunFilter, RunRecord
from outrider.ports.records import Page
from outrider.ports.vaults import Change
from outrider.store import shapes
from outrider.store.steps import Recorded, Steps, first, rows, run
from outrider.store.vaults import note

NO_SESSION = 204
"""The status of the answer that stands where a failed run's session would be."""


class StoredDeployments(Recorded):
    """Implements `Deployments`."""

    async def create_deployment(self, record: DeploymentRecord) -> None:
        await self._walks.walk(partial(_create, record))

    async def deployment(self, workspace: str, deployment: str) -> DeploymentRecord | None:
        values = {"workspace": workspace, "id": deployment}
        return next(iter(await self._reads.one("deployment", values, _deployments)), None)

    async def deployments(self, workspace: str, page: Page, where: DeploymentFilter) -> list[DeploymentRecord]:
        values = {**shapes.page_values(workspace, page), "agent_id": where.agent_id, "is_paused": where.paused}
        name = shapes.ordered("deployments", descending=page.descending)
        return await self._reads.fetch(name, values, _deployments)

    async def update_deployment(self, record: DeploymentRecord, *, if_revision: int, change: str) -> None:
        await self._walks.walk(partial(_update, record, if_revision, change))

    async def deployments_due(self, now: str, *, limit: int) -> list[DeploymentRecord]:
        return await self._reads.fetch("deployments_due", {"now": now, "limit": limit}, _deployments)

    async def fire(self, run: RunRecord, *, due: str, next_at: str | None) -> bool:
        return await self._walks.walk(partial(_fire, run, due, next_at))

    async def skip(self, record: DeploymentRecord, *, next_at: str | None) -> None:
        names = {"workspace": record.workspace, "id": record.id, "due": record.next_at, "next_at": next_at}
        await self._walks.walk(partial(run, "advance_deployment", names))

    async def add_run(self, run: RunRecord) -> None:
        await self._walks.walk(partial(_add_run, run))

    async def run_asked(self, workspace: str, asked: str, *, not_before: str) -> RunRecord | None:
        values = {"workspace": workspace, "asked": asked, "not_before": not_before}
        return next(iter(await self._reads.one("run_asked", values, _runs)), None)

    async def pending_runs(self, *, limit: int) -> list[RunRecord]:
        return await self._reads.fetch("pending_runs", {"limit": limit}, _runs)

    async def run(self, workspace: str, run: str) -> RunRecord | None:
        return next(iter(await self._reads.one("run", {"workspace": workspace, "id": run}, _runs)), None)

    async def runs(
        self, workspace: str, where: RunFilter, *, after: tuple[str, str] | None, limit: int
    ) -> list[RunRecord]:
        time, id = after or (shapes.HIGHEST_TEXT, "")
        values = {
            "workspace": workspace,
            "after_time": time,
            "after_id": id,
            "deployment": where.deployment,
            "outcome": None if where.failed is None else "failed" if where.failed else "succeeded",
            "trigger": where.trigger,
            "limit": limit,
            **shapes.time_bounds(where.created),
        }
        return await self._reads.fetch("runs", values, _runs)

    async def succeed(self, run: RunRecord, *, at: str) -> None:
        await self._walks.walk(partial(_succeed, run, at))

    async def fail(self, run: RunRecord, error: bytes, *, at: str, pause: bytes | None) -> bool:
        return await self._walks.walk(partial(_fail, run, error, at, pause))


def _deployments(found: list[Any]) -> list[DeploymentRecord]:
    return [DeploymentRecord(*row) for row in found]


def _runs(found: list[Any]) -> list[RunRecord]:
    return [RunRecord(*row) for row in found]


def _create(record: DeploymentRecord) -> Steps[None]:
    yield from _check_room(record)
    yield from run("insert_deployment", shapes.fields(record))
    yield from note(Change(record.workspace, "deployment.created", record.id, record.created_at))


def _check_room(record: DeploymentRecord) -> Steps[None]:
    if record.next_at is None:
        return
    found = yield from first("scheduled_deployments", {"workspace": record.workspace, "id": record.id})
    if found is not None and found[0] >= MOST_SCHEDULED:
        raise InvalidRequest(f"schedule: the workspace has {MOST_SCHEDULED} scheduled deployments, the most it may.")


def _update(record: DeploymentRecord, if_revision: int, change: str) -> Steps[None]:
    yield from _check_room(record)
    if (yield from run("update_deployment", {**shapes.fields(record), "if_revision": if_revision})) != 1:
        raise Conflict(f"Deployment {record.id} is archived, or was changed at the same time.")
    yield from note(Change(record.workspace, change, record.id, record.updated_at))


def archive_with_agent(workspace: str, agent: str, at: str) -> Steps[None]:
    """An archived agent's deployments are archived with it."""
    for (deployment,) in (yield from rows("deployments_of_agent", {"workspace": workspace, "agent_id": agent})):
        if (yield from run("archive_deployment", {"workspace": workspace, "id": deployment, "at": at})) == 1:
            yield from note(Change(workspace, "deployment.archived", deployment, at))


def _fire(record: RunRecord, due: str, next_at: str | None) -> Steps[bool]:
    names = {"workspace": record.workspace, "id": record.deployment, "due": due, "next_at": next_at}
    if (yield from run("advance_deployment", names)) != 1:
        return False
    if (yield from run("insert_run", shapes.fields(record))) != 1:
        return False
    yield from note(Change(record.workspace, "deployment_run.started", record.id, record.created_at))
    return True


def _add_run(record: RunRecord) -> Steps[None]:
    yield from run("insert_run", shapes.fields(record))


def _succeed(record: RunRecord, at: str) -> Steps[None]:
    names = {"workspace": record.workspace, "id": record.id, "outcome": "succeeded", "error": None}
    if (yield from run("end_run", names)) != 1 or record.trigger != "schedule":
        return
    of = {"workspace": record.workspace, "id": record.deployment, "at": record.created_at}
    yield from run("note_run", of)
    yield from note(Change(record.workspace, "deployment_run.succeeded", record.id, at))


def _fail(record: RunRecord, error: bytes, at: str, pause: bytes | None) -> Steps[bool]:
    """The answer under the run's name is what a session of this run would be kept with, so that there is one of the
    two; whoever has the name's lock is alone with it."""
    answer = {"workspace": record.workspace, "idempotency": record.id}
    yield from rows("hold_answer", answer)
    if (yield from first("answer", {**answer, "not_before": ""})) is not None:
        return False
    names = {"workspace": record.workspace, "id": record.id, "outcome": "failed", "error": error}
    if (yield from run("end_run", names)) != 1:
        return False
    yield from run("put_answer", {**answer, "at": at, "status": NO_SESSION, "body": b"", "retries": 0})
    if record.trigger == "schedule":
        yield from note(Change(record.workspace, "deployment_run.failed", record.id, at))
    if pause is not None:
        yield from _pause(record, at, pause)
    return True


def _pause(record: RunRecord, at: str, reason: bytes) -> Steps[None]:
    of = {"workspace": record.workspace, "id": record.deployment, "at": at, "paused": reason}
    if (yield from run("pause_deployment", of)) == 1:
        yield from note(Change(record.workspace, "deployment.paused", record.deployment, at))
