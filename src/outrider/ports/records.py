"""Durable records beside the log: agents with versions, environments, sessions, stored answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from outrider.ports.copies import NO_CHANGES, FileChanges
from outrider.ports.log import KeptAnswer, Lease, NewEvent, SessionKey, SessionPatch
from outrider.ports.log import StoredAnswer as StoredAnswer


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a list sorted by (created_at, id). `after` is the (created_at, id) of a neighbour, exclusive."""

    limit: int
    descending: bool = True
    after: tuple[str, str] | None = None
    include_archived: bool = False
    created: dict[str, str] = field(default_factory=dict[str, str])  # keys: gt, gte, lt, lte


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """One version of an agent. `body` is the whole wire object as JSON, but for `archived_at`."""

    workspace: str
    id: str
    version: int
    created_at: str
    archived_at: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class EnvironmentRecord:
    """`body` is the whole wire object as JSON, but for `archived_at`."""

    workspace: str
    id: str
    created_at: str
    archived_at: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session's own record. `agent` is the resolved snapshot (wire JSON); `details` is JSON of the client-set
    fields (title, metadata, vault_ids ...); `status`, `usage` and `stats` are projections of the log."""

    workspace: str
    id: str
    thread: str
    agent_id: str
    agent_version: int
    environment_id: str
    status: str
    created_at: str
    updated_at: str
    archived_at: str | None
    agent: bytes
    details: bytes
    usage: bytes
    stats: bytes


class Footing(NamedTuple):
    """Something that a new session stands on."""

    kind: Literal["environment", "agent", "vault"]
    id: str


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Conditions of the sessions list; None or empty means any."""

    agent_id: str | None = None
    agent_version: int | None = None
    statuses: tuple[str, ...] = ()
    memory_store: str | None = None
    deployment_id: str | None = None


class Records(Protocol):
    """Every call names the workspace; another workspace's id behaves like an unknown one (NotFound or None)."""

    async def put_agent(self, record: AgentRecord, *, if_version: int | None) -> None:
        """Store a new version and make it the latest. `if_version` is the latest one expected (None: a new agent);
        raises Conflict when another was stored meanwhile, or the agent was archived."""
        ...

    async def agent(self, workspace: str, agent_id: str, version: int | None = None) -> AgentRecord | None: ...
    async def agents(self, workspace: str, page: Page) -> list[AgentRecord]: ...
    async def agent_versions(
        self, workspace: str, agent_id: str, *, before: int | None, limit: int
    ) -> list[AgentRecord]: ...
    async def archive_agent(self, workspace: str, agent_id: str, at: str) -> None:
        """Set `archived_at` once; a second call changes nothing."""
        ...

    async def put_environment(self, record: EnvironmentRecord, *, if_body: bytes | None = None) -> None:
        """Store its new state. `if_body` is the stored one that is expected (None: a new environment); raises Conflict
        when another was stored meanwhile, or the environment was archived, and NotFound when it was deleted."""
        ...

    async def environment(self, workspace: str, environment_id: str) -> EnvironmentRecord | None: ...
    async def environments(self, workspace: str, page: Page) -> list[EnvironmentRecord]: ...
    async def delete_environment(self, workspace: str, environment_id: str, *, at: str = "") -> None:
        """`at` is what webhooks say of it. Raises Conflict while a session refers to it."""
        ...

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
        """Record, log, first events and files in one transaction; `worker` and `keep` as in `EventLog.take_in`.
        `stands_on`: only if each of these is there, and not archived, in that same transaction. Raises AlreadyAnswered
        as `keep` says, and for the first that is not so NotFound, EnvironmentArchived or InvalidRequest."""
        ...

    async def session(self, key: SessionKey) -> SessionRecord | None: ...
    async def sessions(self, workspace: str, page: Page, where: SessionFilter) -> list[SessionRecord]: ...
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
        """Write `details` and `agent` ("details"), or `archived_at` and `status` ("archive"), with `updated_at`, append
        the events, change the files and store the answer, in one transaction; `patch` and `wake` as in
        `EventLog.append_client`. Raises HeadMoved when the log's head is not `if_head`."""
        ...

    async def delete_session(self, key: SessionKey, *, if_head: int, opened_by: str = "", at: str = "") -> None:
        """Erase record, log, history and snapshot, and what is kept for retries: the answers whose names begin with
        the session's id and a slash, and the one named `opened_by`. `at` is what webhooks say of it. Raises HeadMoved
        when the log's head is not `if_head`."""
        ...

    async def living(self, sessions: Collection[str]) -> set[str]:
        """Which of these ids are of stored sessions, whatever their workspaces: for sweeping what belongs to none.
        Those of settled dreams are left out: what they had outside the store is erased though their logs stay."""
        ...

    async def has_sessions(self) -> bool:
        """Whether any session is stored."""
        ...

    async def uses_skill(self, workspace: str, environment_id: str, skill: str) -> bool:
        """Whether the agent of any session in this environment has the skill."""
        ...

    async def answer(self, workspace: str, idempotency: str, *, not_before: str) -> StoredAnswer | None:
        """The answer stored under this key at or after `not_before` (RFC 3339)."""
        ...

    async def put_answer(self, workspace: str, keep: KeptAnswer) -> None:
        """Store it, unless something that it is about is gone by then: whatever deletes such a thing erases what is
        stored about it in the same transaction. (Redacting a version of a memory counts as deleting it.)"""
        ...

    async def forget_answers(self, before: str) -> None: ...
