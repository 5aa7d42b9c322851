"""Deployments and their runs in memory, for tests and trials."""

from __future__ import annotations

from dataclasses import replace

from outrider.errors import Conflict, InvalidRequest
from outrider.ports.deployments import MOST_SCHEDULED, DeploymentFilter, DeploymentRecord, RunFilter, RunRecord
from outrider.ports.records import Page, SessionRecord, StoredAnswer
from outrider.ports.vaults import Change
from outrider.testing.memory_memories import MemoryMemories
from outrider.testing.paging import newest_first, one_page, one_stretch

Place = tuple[str, str]


class MemoryDeployments(MemoryMemories):
    """Implements `Deployments`; their changes stand beside those of vaults."""

    def __init__(self) -> None:
        super().__init__()
        self._deployments: dict[Place, DeploymentRecord] = {}
        self._runs: dict[Place, RunRecord] = {}

    async def create_deployment(self, record: DeploymentRecord) -> None:
        self._check_room(record)
        self._deployments[record.workspace, record.id] = record
        await self.add_change(Change(record.workspace, "deployment.created", record.id, record.created_at))

    def _check_room(self, record: DeploymentRecord) -> None:
        others = [r for r in self._deployments.values() if r.workspace == record.workspace and r.id != record.id]
        if record.next_at is not None and sum(r.next_at is not None for r in others) >= MOST_SCHEDULED:
            raise InvalidRequest("schedule: the workspace has as many scheduled deployments as it may.")

    async def deployment(self, workspace: str, deployment: str) -> DeploymentRecord | None:
        return self._deployments.get((workspace, deployment))

    async def deployments(self, workspace: str, page: Page, where: DeploymentFilter) -> list[DeploymentRecord]:
        def wanted(record: DeploymentRecord) -> bool:
            return (
                record.workspace == workspace
                and where.agent_id in (None, record.agent_id)
                and where.paused in (None, record.paused is not None)
            )

        return one_page((r for r in self._deployments.values() if wanted(r)), page)

    async def update_deployment(self, record: DeploymentRecord, *, if_revision: int, change: str) -> None:
        self._check_room(record)
        current = self._deployments.get((record.workspace, record.id))
        if current is None or current.archived_at is not None or current.revision != if_revision:
            raise Conflict(f"Deployment {record.id} is archived, or was changed at the same time.")
        self._put_deployment(replace(record, last_run_at=current.last_run_at))
        await self.add_change(Change(record.workspace, change, record.id, record.updated_at))

    def _put_deployment(self, record: DeploymentRecord) -> None:
        self._deployments[record.workspace, record.id] = record

    async def _archive_with_agent(self, workspace: str, agent: str, at: str) -> None:
        for record in sorted(self._deployments.values(), key=lambda r: r.id):
            if (record.workspace, record.agent_id, record.archived_at) == (workspace, agent, None):
                gone = {"archived_at": at, "updated_at": at, "paused": None, "next_at": None}
                self._put_deployment(replace(record, **gone, revision=record.revision + 1))
                await self.add_change(Change(workspace, "deployment.archived", record.id, at))

    async def deployments_due(self, now: str, *, limit: int) -> list[DeploymentRecord]:
        found = [(r.next_at, r.id, r) for r in self._deployments.values() if r.next_at is not None and r.next_at <= now]
        return [record for _, _, record in sorted(found, key=lambda one: one[:2])][:limit]

    def _advance(self, workspace: str, deployment: str, due: str | None, next_at: str | None) -> bool:
        record = self._deployments.get((workspace, deployment))
        if record is None or due is None or record.next_at != due:
            return False
        self._put_deployment(replace(record, next_at=next_at, revision=record.revision + 1))
        return True

    async def fire(self, run: RunRecord, *, due: str, next_at: str | None) -> bool:
        if not self._advance(run.workspace, run.deployment, due, next_at):
            return False
        place = (run.workspace, run.deployment, run.scheduled_at)
        if any((r.workspace, r.deployment, r.scheduled_at) == place for r in self._runs.values()):
            return False
        self._runs[run.workspace, run.id] = run
        await self.add_change(Change(run.workspace, "deployment_run.started", run.id, run.created_at))
        return True

    async def skip(self, record: DeploymentRecord, *, next_at: str | None) -> None:
        self._advance(record.workspace, record.id, record.next_at, next_at)

    async def add_run(self, run: RunRecord) -> None:
        self._runs[run.workspace, run.id] = run

    async def run_asked(self, workspace: str, asked: str, *, not_before: str) -> RunRecord | None:
        found = [
            r
            for r in self._runs.values()
            if (r.workspace, r.asked) == (workspace, asked) and r.created_at >= not_before
        ]
        return next(iter(newest_first(found)), None)

    async def pending_runs(self, *, limit: int) -> list[RunRecord]:
        pending = [r for r in self._runs.values() if r.outcome == "pending"]
        return one_stretch(pending, Page(limit, descending=False))

    async def run(self, workspace: str, run: str) -> RunRecord | None:
        return self._runs.get((workspace, run))

    async def runs(
        self, workspace: str, where: RunFilter, *, after: tuple[str, str] | None, limit: int
    ) -> list[RunRecord]:
        def wanted(run: RunRecord) -> bool:
            return (
                run.workspace == workspace
                and run.outcome != "pending"
                and where.deployment in (None, run.deployment)
                and where.failed in (None, run.outcome == "failed")
                and where.trigger in (None, run.trigger)
            )

        page = Page(limit, after=after, created=dict(where.created))
        return one_stretch((r for r in self._runs.values() if wanted(r)), page)

    def _end(self, run: RunRecord, outcome: str, error: bytes | None) -> bool:
        current = self._runs.get((run.workspace, run.id))
        if current is None or current.outcome != "pending":
            return False
        self._runs[run.workspace, run.id] = replace(current, outcome=outcome, error=error)  # type: ignore[arg-type]
        return True

    def _made_by(self, session: SessionRecord, deployment: str) -> bool:
        of = (session.workspace, session.id, deployment)
        return any((r.workspace, r.session, r.deployment) == of for r in self._runs.values() if r.outcome != "failed")

    async def succeed(self, run: RunRecord, *, at: str) -> None:
        if not self._end(run, "succeeded", None) or run.trigger != "schedule":
            return
        record = self._deployments.get((run.workspace, run.deployment))
        if record is not None and (record.last_run_at or "") < run.created_at:
            self._put_deployment(replace(record, last_run_at=run.created_at, revision=record.revision + 1))
        await self.add_change(Change(run.workspace, "deployment_run.succeeded", run.id, at))

    async def fail(self, run: RunRecord, error: bytes, *, at: str, pause: bytes | None) -> bool:
        if (run.workspace, run.id) in self._answers or not self._end(run, "failed", error):
            return False
        self._answers[run.workspace, run.id] = (at, StoredAnswer(204, b""))
        if run.trigger == "schedule":
            await self.add_change(Change(run.workspace, "deployment_run.failed", run.id, at))
        record = self._deployments.get((run.workspace, run.deployment))
        if pause is not None and record is not None and record.paused is None and record.archived_at is None:
            self._put_deployment(
                replace(record, paused=pause, next_at=None, updated_at=at, revision=record.revision + 1)
            )
            await self.add_change(Change(run.workspace, "deployment.paused", run.deployment, at))
        return True
