"""The work queues of self-hosted environments: items that workers take, hold by heartbeats, and end. Kept by the store.

An item stands for a session that needs somebody to run its tools; a session has at most one that isn't stopped. Who
holds an item is said by what is compared inside each change (the round in which it was handed out, the count of its
heartbeats, the heartbeat that a holder expects), never by a clock: times are for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from outrider.ports.log import SessionKey
from outrider.ports.records import Page

NO_HEARTBEAT = "NO_HEARTBEAT"
MOST_TRIES = 5
"""How many items in a row may be stopped without any progress of their session, before nobody is asked for any more."""

WorkState = Literal["queued", "polled", "starting", "active", "stopping", "stopped"]
"""As the API's, but that an item which a worker was given and has not acknowledged is `polled`, not `queued`."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """`round` counts how often it was handed out, `beats` its heartbeats, of which `heartbeat` is the latest and
    `expected` what that one was to follow; `ttl` is in seconds, `metadata` JSON."""

    workspace: str
    environment: str
    id: str
    session: str
    state: WorkState
    round: int
    beats: int
    ttl: int
    tries: int
    metadata: str
    created_at: str
    queued_at: str
    acknowledged_at: str | None = None
    started_at: str | None = None
    heartbeat: str | None = None
    expected: str | None = None
    stop_requested_at: str | None = None
    stopped_at: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """An item that somebody was given, as it stands: whoever sees it unchanged for long enough may take it away.
    `stood` is for how many seconds it did so at least, as somebody who saw it has noted."""

    id: str
    round: int
    beats: int
    state: WorkState
    ttl: int
    stood: int = 0


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Items that wait, and that were polled and not acknowledged; since when the oldest of both waits."""

    depth: int
    pending: int
    oldest_queued_at: str | None
    workers_polling: int


Verdict = Literal["beat", "repeat", "refused", "stopped"]


def verdict(item: WorkItem, expected: str | None, *, retry: bool) -> Verdict:
    """What a heartbeat that expects this one is to an item: to be recorded, known already, refused, or too late."""
    if item.state == "stopped":
        return "stopped"
    if item.state == "stopping":
        return "beat"
    if item.state in ("queued", "polled"):
        return "refused"
    if expected is None or expected == (item.heartbeat or NO_HEARTBEAT):
        return "beat"
    return "repeat" if retry and expected == item.expected else "refused"


def next_heartbeat(item: WorkItem, at: str) -> str:
    """Another one than the one before, whatever the clock says."""
    return f"{at.removesuffix('Z')}{(item.beats + 1) % 1000:03d}Z"


class Enlists(Protocol):
    """What a harness asks of the queues."""

    async def enlist(self, key: SessionKey, environment: str) -> None:
        """See that somebody is asked to run the session's tools: unless there is an item already, there is one now."""
        ...


class NobodyEnlisted:
    """For harnesses without self-hosted environments."""

    async def enlist(self, key: SessionKey, environment: str) -> None:
        return None


class WorkQueues(Protocol):
    """Every call names the workspace and the environment; what belongs to another is NotFound or None. A token is the
    digest of an item's session token: it is good from the call that hands the item out until the item is stopped,
    handed out anew or put back; then the count of `Access.access_revision` grows with it, in one transaction."""

    async def enlist_work(self, key: SessionKey, environment: str, *, id: str, at: str, ttl: int) -> bool:
        """Queue an item `id` for the session unless it has one that isn't stopped; whether it was queued. Nothing is
        queued for a session that is gone."""
        ...

    async def hand_out_work(
        self, workspace: str, environment: str, *, token: str, at: str, stale: list[tuple[str, int]], taker: str
    ) -> WorkItem | None:
        """The item that waited longest, now polled under this token, which ends with the key `taker`. Of those in
        `stale` (id, round), handed out in that round and not acknowledged since, the first is given again before.
        Items of sessions that need nobody any more are stopped on the way."""
        ...

    async def acknowledge_work(self, workspace: str, environment: str, id: str, *, at: str) -> WorkItem:
        """A polled item is starting from here on; any other stays as it is. Raises NotFound."""
        ...

    async def beat_work(
        self, workspace: str, environment: str, id: str, *, expected: str | None, ttl: int | None, at: str, retry: bool
    ) -> tuple[Verdict, WorkItem]:
        """Record a heartbeat if its `verdict` says so. `ttl` None keeps it; `retry`: it may be the latest one, sent
        again. Raises NotFound."""
        ...

    async def stop_work(
        self, workspace: str, environment: str, id: str, *, force: bool, at: str, successor: str
    ) -> WorkItem:
        """Stop it, at once with `force` or when nobody beats for it, else by way of `stopping`. A session that still
        needs somebody gets the item `successor`. Raises NotFound."""
        ...

    async def lapse_work(self, workspace: str, environment: str, held: Held, *, at: str, successor: str) -> bool:
        """Its holder is gone: if it still stands as `held` says, it is queued anew when its session needs somebody,
        else stopped. Whether it stood so; one that went with its session did not."""
        ...

    async def held_work(self, workspace: str, environment: str) -> list[Held]:
        """All that were handed out and are not stopped."""
        ...

    async def all_held_work(self) -> list[tuple[str, str, Held]]:
        """The same of all workspaces and environments, which it names."""
        ...

    async def note_standing(self, workspace: str, environment: str, held: Held) -> None:
        """Note for how long it has stood, if it still stands as it was seen and nobody has noted more."""
        ...

    async def work(self, workspace: str, environment: str, id: str) -> WorkItem | None: ...
    async def works(self, workspace: str, environment: str, page: Page) -> list[WorkItem]: ...
    async def update_work(self, workspace: str, environment: str, id: str, *, before: str, metadata: str) -> bool:
        """Write new metadata if the old one is still `before`."""
        ...

    async def note_poller(self, workspace: str, environment: str, worker: str, *, at: str, forget: str) -> None:
        """This worker polled; those that were last seen before `forget` are forgotten."""
        ...

    async def work_stats(self, workspace: str, environment: str, *, polled_since: str) -> QueueStats: ...
