"""The hot jobs as data, and how a batch of them becomes the arrays that `commit_jobs` takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from outrider.errors import AlreadyAnswered, Conflict, Fenced, HeadMoved, Internal, NotFound
from outrider.ports.copies import NO_CHANGES, FileChanges
from outrider.ports.log import KeptAnswer, NewEvent, Row, SessionKey, SessionPatch, Snapshot
from outrider.ports.records import Footing, SessionRecord

NO_PATCH = SessionPatch()


class Kind(IntEnum):
    """What `commit_jobs` calls kinds."""

    CLIENT = 1
    OWNED = 2
    RELEASE = 3
    CREATE = 4
    UPDATE = 5


class Verdict(IntEnum):
    """What `commit_jobs` answers for a job."""

    DONE = 0
    REPEATED = 1
    UNKNOWN = 2
    HEAD_MOVED = 3
    OTHER_OWNER = 4
    WRITTEN_SINCE = 5
    STORED_IN_PART = 6
    EXISTS = 7
    TWICE = 8
    ANSWERED = 9


@dataclass(slots=True, eq=False)
class Append:
    """One job on one session."""

    kind: Kind
    key: SessionKey
    events: list[NewEvent]
    if_head: int | None = None
    wake: bool = False
    release: bool = False
    epoch: int | None = None
    writer_head: int | None = None
    worker: str | None = None
    patch: SessionPatch | None = None
    snapshot: Snapshot | None = None
    keep: KeptAnswer | None = None
    record: SessionRecord | None = None
    columns: str = "all"
    stands_on: Sequence[Footing] = ()  # what a new session must have under it, not archived
    files: FileChanges = NO_CHANGES

    @property
    def alone(self) -> bool:
        """Whether it is more than the one statement that a batch is."""
        return self.files is not NO_CHANGES and self.files != NO_CHANGES


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job, and the log's counters after it."""

    verdict: Verdict
    head: int
    writer_head: int
    epoch: int
    claimed: bool


class NotMade(Internal):
    """A new session was left out of its batch; which of its footings is to blame has to be looked up."""


def settled(job: Append, outcome: Outcome) -> Outcome:
    """The outcome of a job that is done, now or before. Raises what the port says for any other."""
    session, verdict = job.key.session, outcome.verdict
    if verdict in (Verdict.DONE, Verdict.REPEATED):
        return outcome
    if verdict is Verdict.HEAD_MOVED:
        raise HeadMoved(f"The log's head is {outcome.head}, not {job.if_head}.")
    if verdict is Verdict.UNKNOWN:
        if job.kind in (Kind.OWNED, Kind.RELEASE):
            raise Fenced(f"Session {session} has another owner.")
        if job.kind is not Kind.CREATE:
            raise NotFound(f"Session {session} was not found.")
        raise NotMade(f"Session {session} was not made: something that it stands on was not there, or archived.")
    raise _refusal(session, verdict)


def _refusal(session: str, verdict: Verdict) -> Fenced | AlreadyAnswered | Conflict:
    if verdict is Verdict.ANSWERED:
        return AlreadyAnswered("The request was answered meanwhile.")
    if verdict is Verdict.OTHER_OWNER:
        return Fenced(f"Session {session} has another owner.")
    if verdict is Verdict.WRITTEN_SINCE:
        return Fenced(f"Session {session} was written to by its owner since.")
    if verdict is Verdict.EXISTS:
        return Conflict(f"Session {session} exists already.")
    if verdict is Verdict.TWICE:
        return Conflict("Something with this id is stored already.")
    return Conflict("Some of these events are stored already, but not all.")


def outcomes(found: Any) -> list[Outcome]:
    """From the arrays that `commit_jobs` answers."""
    return [Outcome(Verdict(v), h, w, e, c) for v, h, w, e, c in zip(*found, strict=True)]


def rows(job: Append, outcome: Outcome) -> list[Row]:
    """What a job that was done has added to its log."""
    epoch = (job.epoch or 0) if job.kind is Kind.OWNED else 0
    return [
        Row(seq, e.id, e.type, e.body, e.thread, e.public, epoch, e.processed_at, e.processes)
        for seq, e in enumerate(job.events, outcome.head - len(job.events) + 1)
    ]


def statement(values: Mapping[str, Any]) -> str:
    """The query for these arrays: what new sessions stand on is held first of all."""
    return "commit_jobs" if values["footings"] is None else "commit_jobs_on_footings"


def arrays(batch: list[Append]) -> dict[str, Any]:
    """The values that the query `commit_jobs` names, but for writer, batch and care."""
    values: dict[str, Any] = {
        "kinds": [job.kind for job in batch],
        "workspaces": [job.key.workspace for job in batch],
        "sessions": [job.key.session for job in batch],
        "counts": [len(job.events) for job in batch],
        "doubled": _if_true([_doubled(job.events) for job in batch]),
        "wakes": _if_true([job.wake for job in batch]),
        "releases": _if_true([job.release for job in batch]),
        "epochs": _if_any([job.epoch for job in batch]),
        "writer_heads": _if_any([job.writer_head for job in batch]),
        "if_heads": _if_any([job.if_head for job in batch]),
        "workers": _if_any([job.worker for job in batch]),
    }
    numbered = list(enumerate(batch, 1))
    patches = [(n, job.patch) for n, job in numbered if job.patch is not None and job.patch != NO_PATCH]
    shots = [(n, job.snapshot) for n, job in numbered if job.snapshot is not None]
    kept = [(n, job.keep) for n, job in numbered if job.keep is not None]
    return (
        values
        | _events(numbered)
        | _columns(_FOOTINGS, ((n, kind, id) for n, job in numbered for kind, id in job.stands_on))
        | _columns(_PATCHES, ((n, p.status, p.usage, p.stats, p.updated_at) for n, p in patches))
        | _columns(_SNAPSHOTS, ((n, s.seq, s.version, s.body) for n, s in shots))
        | _columns(_ANSWERS, (_answer(n, k) for n, k in kept))
        | _columns(_RECORDS, (_record(n, job.record, job.columns) for n, job in numbered if job.record is not None))
    )


_EVENTS = ("event_jobs", "places", "ids", "types", "threads", "publics", "times", "processes", "bodies")
_FOOTINGS = ("footing_jobs", "footing_kinds", "footings")
_PATCHES = ("patch_jobs", "statuses", "usages", "stats", "updates")
_SNAPSHOTS = ("snapshot_jobs", "snapshot_seqs", "snapshot_versions", "snapshots")
_ANSWERS = (
    "answer_jobs", "answer_names", "answer_times", "answer_statuses", "answers",
    "answer_retries", "answered_since", "answered_retries",
)  # fmt: skip
_RECORDS = (
    "record_jobs", "record_columns", "record_threads", "agent_ids", "agent_versions", "environment_ids",
    "record_statuses", "created", "updated", "archived", "agents", "details", "record_usages", "record_stats",
)  # fmt: skip


def _answer(n: int, k: KeptAnswer) -> tuple[Any, ...]:
    return (n, k.name, k.at, k.answer.status, k.answer.body, int(k.retry), k.if_none_since, k.if_retries)


def _record(n: int, r: SessionRecord, columns: str) -> tuple[Any, ...]:
    names = (n, columns, r.thread, r.agent_id, r.agent_version, r.environment_id)
    return (*names, r.status, r.created_at, r.updated_at, r.archived_at, r.agent, r.details, r.usage, r.stats)


def _events(numbered: list[tuple[int, Append]]) -> dict[str, Any]:
    listed = [(n, place, e) for n, job in numbered for place, e in enumerate(job.events, 1)]
    found = _columns(
        _EVENTS,
        ((n, place, e.id, e.type, e.thread, e.public, e.processed_at, e.processes, e.body) for n, place, e in listed),
    )
    found["processes"] = _if_any([e.processes for _, _, e in listed])
    found["any_waits"] = any(e.public and e.processed_at is None for _, _, e in listed)
    found["any_processes"] = found["processes"] is not None
    return found


def _columns(names: tuple[str, ...], lines: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    """Columns by name; None where there is no line, which costs the server nothing."""
    found = list(zip(*lines, strict=True))
    return dict(zip(names, found, strict=True)) if found else dict.fromkeys(names)


def _if_true(values: list[bool]) -> list[bool] | None:
    return values if any(values) else None


def _if_any(values: list[Any]) -> list[Any] | None:
    return values if any(value is not None for value in values) else None


def _doubled(events: list[NewEvent]) -> bool:
    return len(events) > 1 and len({event.id for event in events}) < len(events)
