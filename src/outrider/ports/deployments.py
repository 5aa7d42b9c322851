"""Durable records of deployments and their runs. A run is a row before its session is made: whoever goes on with it
makes that one session or none, and a scheduled time of a deployment has one run, whoever tries.

`pending` runs have no outcome yet, and clients are not shown them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from outrider.ports.records import Page

MOST_SCHEDULED = 1_000
"""Deployments of one workspace that fire by themselves."""
Trigger = Literal["schedule", "manual"]
Outcome = Literal["pending", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """`body` is JSON of the client-set fields, `paused` of the reason for a pause, None without one; `next_at` is when
    it fires next, None where it doesn't; `last_run_at` when its schedule last made a session; `revision` counts the
    changes."""

    workspace: str
    id: str
    agent_id: str
    revision: int
    created_at: str
    updated_at: str
    archived_at: str | None
    paused: bytes | None
    next_at: str | None
    last_run_at: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class RunRecord:
    """`session` is the id of the session that it makes, or was to make; `error` is JSON. `asked` names the request that
    a manual run was asked for by."""

    workspace: str
    id: str
    deployment: str
    trigger: Trigger
    scheduled_at: str | None
    created_at: str
    agent_id: str
    agent_version: int
    session: str
    outcome: Outcome = "pending"
    error: bytes | None = None
    asked: str | None = None


@dataclass(frozen=True, slots=True)
class DeploymentFilter:
    """Of a list of deployments; what is None is no condition."""

    agent_id: str | None = None
    paused: bool | None = None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Of a list of runs; what is None is no condition. `created` bounds their times as `Page.created` does."""

    deployment: str | None = None
    failed: bool | None = None
    trigger: str | None = None
    created: Mapping[str, str] = field(default_factory=dict[str, str])


class Deployments(Protocol):
    """Every change writes its `Change` rows in its own transaction. Another workspace's id behaves like an unknown one
    (NotFound or None)."""

    async def create_deployment(self, record: DeploymentRecord) -> None:
        """Raises InvalidRequest when it has a `next_at` and the workspace is full of such."""
        ...

    async def deployment(self, workspace: str, deployment: str) -> DeploymentRecord | None: ...
    async def deployments(self, workspace: str, page: Page, where: DeploymentFilter) -> list[DeploymentRecord]: ...
    async def update_deployment(self, record: DeploymentRecord, *, if_revision: int, change: str) -> None:
        """Write all but `last_run_at`, and note the change of this type. Raises Conflict when it is archived or was
        changed since then, InvalidRequest as `create_deployment`."""
        ...

    async def deployments_due(self, now: str, *, limit: int) -> list[DeploymentRecord]:
        """Of all workspaces, those whose `next_at` has come, longest ago first."""
        ...

    async def fire(self, run: RunRecord, *, due: str, next_at: str | None) -> bool:
        """Add the run and go on to the next time, if the deployment still waits for `due`. False: it does not, or there
        is a run for that time already."""
        ...

    async def skip(self, record: DeploymentRecord, *, next_at: str | None) -> None:
        """Go on to the next time without a run, if the deployment still waits for its `next_at`."""
        ...

    async def add_run(self, run: RunRecord) -> None:
        """A manual one."""
        ...

    async def run_asked(self, workspace: str, asked: str, *, not_before: str) -> RunRecord | None:
        """The last manual run that was asked for by this request, at or after then."""
        ...

    async def pending_runs(self, *, limit: int) -> list[RunRecord]:
        """Of all workspaces, oldest first."""
        ...

    async def run(self, workspace: str, run: str) -> RunRecord | None:
        """Pending or not."""
        ...

    async def runs(
        self, workspace: str, where: RunFilter, *, after: tuple[str, str] | None, limit: int
    ) -> list[RunRecord]:
        """Those with an outcome, newest first."""
        ...

    async def succeed(self, run: RunRecord, *, at: str) -> None:
        """Its session is made. Once; a second call changes nothing."""
        ...

    async def fail(self, run: RunRecord, error: bytes, *, at: str, pause: bytes | None) -> bool:
        """It made no session and will make none, also if somebody else is about to: a session is kept as the answer
        named by its run. `pause` is the reason for which the deployment is paused with it. False: there is a session,
        or an outcome, already."""
        ...
