"""What the conformance suites of the store ports share: the store on trial, and short ways to fill it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from outrider.errors import OutriderError
from outrider.ports.log import EventLog, Lease, NewEvent, Row, SessionKey
from outrider.ports.records import SessionRecord
from outrider.ports.store import StorePorts

THREAD = "sthr_primary"


@dataclass
class Trial:
    """A fresh store, and what it has announced so far: make it with `on_commit=trial.commit, on_delete=...`."""

    commits: list[tuple[SessionKey, list[Row]]] = field(default_factory=list[tuple[SessionKey, list[Row]]])
    deletions: list[SessionKey] = field(default_factory=list[SessionKey])
    opened: StorePorts | None = None

    def commit(self, key: SessionKey, rows: list[Row]) -> None:
        self.commits.append((key, rows))

    def delete(self, key: SessionKey) -> None:
        self.deletions.append(key)

    @property
    def store(self) -> StorePorts:
        assert self.opened is not None
        return self.opened

    async def session(self, name: str = "sesn_1", *, workspace: str = "wrkspc_a", wake: bool = False) -> SessionKey:
        """A new session with an empty log."""
        await self.store.create_session(record(name, workspace=workspace), [], wake=wake)
        return SessionKey(workspace, name)

    async def owned(self, name: str = "sesn_1", *, workspace: str = "wrkspc_a", worker: str = "worker_1") -> Lease:
        """A new session and its first lease."""
        key = await self.session(name, workspace=workspace, wake=True)
        (lease,) = await self.store.claim(worker, limit=1, key=key)
        return lease


Contract = Callable[[Trial], Awaitable[None]]


def record(
    name: str,
    *,
    workspace: str = "wrkspc_a",
    created_at: str = "2026-01-01T00:00:00.000000Z",
    status: str = "idle",
    agent_id: str = "agent_1",
    agent_version: int = 1,
    environment_id: str = "env_1",
    archived_at: str | None = None,
    details: bytes = b'{"title":null}',
) -> SessionRecord:
    return SessionRecord(
        workspace=workspace,
        id=name,
        thread=THREAD,
        agent_id=agent_id,
        agent_version=agent_version,
        environment_id=environment_id,
        status=status,
        created_at=created_at,
        updated_at=created_at,
        archived_at=archived_at,
        agent=b'{"name":"a"}',
        details=details,
        usage=b"{}",
        stats=b"{}",
    )


def event(
    name: str, *, kind: str = "agent.message", at: str = "2026-01-01T00:00:00.000000Z", thread: str = THREAD
) -> NewEvent:
    """A public event that is processed as it is written."""
    return NewEvent(name, kind, b'{"id":"%s"}' % name.encode(), thread, processed_at=at)


def waiting(name: str, *, kind: str = "user.message", thread: str = THREAD) -> NewEvent:
    """A client's event that is taken up later."""
    return NewEvent(name, kind, b'{"id":"%s"}' % name.encode(), thread)


def processed(name: str, of: str, *, at: str = "2026-01-01T00:00:09.000000Z") -> NewEvent:
    """The internal row that takes a waiting event up."""
    return NewEvent(name, "event.processed", b"{}", THREAD, public=False, processed_at=at, processes=of)


def internal(name: str) -> NewEvent:
    return NewEvent(name, "tool.intent", b"{}", THREAD, public=False, processed_at="2026-01-01T00:00:00.000000Z")


async def bury_all(store: EventLog) -> int:
    """As a new process does where it is the only one: whoever owned sessions is gone. Returns how many they were."""
    return sum([await store.bury(worker) for worker in await store.beats()])


async def refused(kind: type[OutriderError], call: Awaitable[object]) -> None:
    """The call must raise exactly this error."""
    raised: OutriderError | None = None
    try:
        await call
    except OutriderError as error:
        raised = error
    if type(raised) is not kind:
        raise AssertionError(f"{kind.__name__} was expected, not {raised!r}")
