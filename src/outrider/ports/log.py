"""The durable session log: append-only rows, one owner, fenced appends. Implementations: `store/`, `testing/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

PAGE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session within its workspace: no query names one without the other."""

    workspace: str
    session: str


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A row to append. `body` is the wire JSON, encoded once; `processed_at` is None for a client event that waits.

    `processes` is set on an internal `event.processed` row only: the id of the waiting event that it takes up.
    """

    id: str
    type: str
    body: bytes
    thread: str
    public: bool = True
    processed_at: str | None = None
    processes: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A stored event. `seq` is gapless from 1 within a session; `epoch` is 0 for rows written by the API."""

    seq: int
    id: str
    type: str
    body: bytes
    thread: str
    public: bool
    epoch: int
    processed_at: str | None
    processes: str | None = None


def is_last(rows: Sequence[Row], limit: int) -> bool:
    """Whether a page that was asked for with this limit is the log's last: it is neither full nor cut for its size."""
    return len(rows) < limit and sum(len(row.body) for row in rows) < PAGE_BYTES


@dataclass(frozen=True, slots=True)
class SessionPatch:
    """What an append changes in the session's own record, in the same transaction. None leaves a column as it is.

    `usage` and `stats` are JSON as bytes; `status` is the API's word for the session's status.
    """

    status: str | None = None
    usage: bytes | None = None
    stats: bytes | None = None
    updated_at: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The folded state after row `seq`; it can be rebuilt from the log. `version` names the fold that made it."""

    seq: int
    version: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to try to append as the owner of `key`; the epoch decides whether the bytes exist."""

    key: SessionKey
    worker: str
    epoch: int
    head: int
    writer_head: int


@dataclass(frozen=True, slots=True)
class Attendance:
    """A session that is to be worked on: by its owner, or (None) as soon as somebody claims it."""

    owner: str | None


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which part of a session's public history to read, in processing order (waiting events last).

    `after` is a position from an earlier page (exclusive). Time bounds are RFC 3339 strings compared with
    `processed_at`. `thread` None means the session's primary view.
    """

    limit: int
    descending: bool = False
    after: int | None = None
    types: tuple[str, ...] = ()
    thread: str | None = None
    created: dict[str, str] = field(default_factory=dict[str, str])  # keys: gt, gte, lt, lte


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A public event with its place in the history. `position` only goes into cursors: it is opaque elsewhere."""

    position: int
    row: Row
    processed_at: str | None


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A POST's committed answer, kept so that a retry of the same request gets it again. `retries` counts the answers
    under its name that were given to retries."""

    status: int
    body: bytes
    retries: int = 0


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer to store together with what it answers; `at` is RFC 3339. `retry`: it is given to one.

    What it belongs to is refused (AlreadyAnswered, nothing written) if by then an answer under this name stands there:
    one of `if_none_since` (RFC 3339) or later, or one given to a retry when there had been only `if_retries` of these.
    `about`: ids of what it says something of, wholes before their parts. It goes with any of these.
    """

    name: str
    at: str
    answer: StoredAnswer
    retry: bool = False
    if_none_since: str | None = None
    if_retries: int | None = None
    about: tuple[str, ...] = ()


class EventLog(Protocol):
    """Append-only logs, one per session.

    Promised: rows of one session are gapless and appear in `seq` order; an append is all or nothing and durable when
    the call returns; an owner's append by an older epoch writes nothing; appending events whose ids are all stored
    already succeeds without writing again (so that an unknown outcome can be retried). Not promised: any order
    between sessions, and that a lease's holder is alive.
    """

    async def read(self, key: SessionKey, *, after: int = 0, limit: int = 1000) -> list[Row]:
        """Rows with `seq` > `after`, oldest first, at most `limit`, internal ones included."""
        ...

    async def resume(self, key: SessionKey, version: int, *, limit: int = 1000) -> tuple[Snapshot | None, list[Row]]:
        """Where to go on: the snapshot if the fold `version` made it, and the first rows after it, in one read."""
        ...

    async def find(self, key: SessionKey, event_ids: list[str]) -> dict[str, Row]:
        """The rows that have these event ids; ids that are not stored are left out."""
        ...

    async def history(self, key: SessionKey, query: HistoryQuery) -> list[HistoryEntry]:
        """Public events in processing order: one entry an event, with the time it was processed. Like `read`, a page
        may end early."""
        ...

    async def head(self, key: SessionKey) -> int:
        """The highest `seq`; 0 for an empty log. Raises NotFound for an unknown session."""
        ...

    async def heads(self, keys: Sequence[SessionKey]) -> dict[SessionKey, int]:
        """The heads of many logs at once; sessions that are not there are left out."""
        ...

    async def append_client(
        self,
        key: SessionKey,
        events: list[NewEvent],
        *,
        if_head: int | None,
        patch: SessionPatch | None = None,
        wake: bool,
    ) -> int:
        """Append on behalf of a client, whoever owns the session; never moves the owner's writer head.

        With `if_head`, raises HeadMoved (nothing written) unless it is the log's head. `wake` marks the session
        runnable in the same transaction. Returns the new head. Raises NotFound for an unknown session.
        """
        ...

    async def take_in(
        self,
        key: SessionKey,
        events: list[NewEvent],
        *,
        if_head: int,
        patch: SessionPatch | None,
        wake: bool,
        worker: str | None = None,
        keep: KeptAnswer | None = None,
    ) -> tuple[int, Lease | None]:
        """`append_client` with what belongs to it, in one transaction: the answer is kept, and a woken session that
        nobody owns is claimed for `worker` unless others wait already. Returns the new head and that lease.

        Raises AlreadyAnswered as `keep` says, before HeadMoved.
        """
        ...

    async def append_owned(
        self,
        lease: Lease,
        events: list[NewEvent],
        *,
        patch: SessionPatch | None = None,
        snapshot: Snapshot | None = None,
        if_head: int | None = None,
        release: bool = False,
    ) -> Lease:
        """Append as the owner and return the lease with its new head and writer head.

        Raises Fenced when the epoch or the writer head is not the stored one. With `if_head`, raises HeadMoved when
        the log has grown past it. `release` gives the lease up in the same transaction (only together with
        `if_head`, so that no event can slip in between: the lost-wake rule).
        """
        ...

    async def claim(self, worker: str, *, limit: int, key: SessionKey | None = None) -> list[Lease]:
        """Take up to `limit` runnable sessions that nobody owns (or that one), each under a new, higher epoch.

        Workspaces take turns, the longest waiting session of each first.
        """
        ...

    async def release(self, lease: Lease, *, if_head: int) -> bool:
        """Give the lease up if the log's head is still `if_head`; else keep it and return False. Raises Fenced."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes may own sessions of this store: only then must workers beat and be watched."""
        ...

    async def beat(self, worker: str) -> bool:
        """Add one to the worker's counter; the first call registers it. False, for ever, once it has been buried:
        then it owns nothing any more, and goes on under a new id."""
        ...

    async def beats(self) -> dict[str, int]:
        """The counter of every registered worker; one that owns sessions without being registered (or after it was
        buried) is in it too, with 0."""
        ...

    async def bury(self, worker: str) -> int:
        """Forget a dead worker for good; returns how many sessions it owned.

        They become runnable, in the place that they had, and their epochs rise in the same transaction: an owner that
        was only frozen is refused at its next append, even before anybody has claimed.
        """
        ...

    async def surrender(self, key: SessionKey, worker: str, *, epoch: int | None = None) -> None:
        """Make one session runnable again if `worker` owns it; for an owner that has lost its place in the log, which
        says its `epoch`: what its worker has claimed anew since is not its own."""
        ...

    async def owned(self, worker: str) -> list[SessionKey]:
        """The sessions that this worker owns, as the store sees it."""
        ...

    async def attendance(self, key: SessionKey) -> Attendance | None:
        """Who attends to one session; None if nobody owns it and it waits for nobody."""
        ...

    async def unattended(self, *, limit: int) -> list[SessionKey]:
        """Sessions whose record says that they work, though nobody owns them and they wait for nobody: there are none
        unless a wake was lost. `append_client` with no events and `wake` brings one back."""
        ...

    async def runnable(self) -> int:
        """How many sessions wait for an owner."""
        ...

    async def snapshot(self, key: SessionKey) -> Snapshot | None:
        """The latest stored snapshot, if there is one."""
        ...
