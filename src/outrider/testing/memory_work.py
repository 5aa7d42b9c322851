"""Work queues in memory, for tests and trials."""

from __future__ import annotations

import json
from dataclasses import replace

from outrider.errors import NotFound
from outrider.ports.access import ApiKey
from outrider.ports.log import SessionKey
from outrider.ports.records import Page
from outrider.ports.work import MOST_TRIES, Held, QueueStats, Verdict, WorkItem, next_heartbeat, verdict
from outrider.testing.memory_access import MemoryAccess
from outrider.testing.memory_answers import MemoryAnswers
from outrider.testing.memory_sessions import KnowsSessions
from outrider.testing.paging import one_stretch

STOPPING_TTL = 60
HELD = ("polled", "starting", "active", "stopping")


class MemoryWork(MemoryAccess, MemoryAnswers, KnowsSessions):
    """Implements `WorkQueues`; tokens are found as keys are."""

    def __init__(self) -> None:
        super().__init__()
        self._work: dict[str, WorkItem] = {}
        self._tokens: dict[str, str] = {}
        self._takers: dict[str, str] = {}
        self._pollers: dict[tuple[str, str, str], str] = {}
        self._stood: dict[Held, int] = {}

    async def key_by_digest(self, digest: str) -> ApiKey | None:
        item = self._work.get(self._tokens.get(digest, ""))
        if item is None:
            return await super().key_by_digest(digest)
        taker = await self.key(item.workspace, self._takers[digest])
        if taker is not None and taker.revoked_at is not None:
            return None
        name = f"{item.id}.{item.round}"
        more = {"environment": item.environment, "session": item.session, "work": item.id}
        return ApiKey(name, item.workspace, digest, "work", "session", item.created_at, **more)

    async def enlist_work(self, key: SessionKey, environment: str, *, id: str, at: str, ttl: int) -> bool:
        if self._worked(key) is None:
            return False
        live = self._live_work(key)
        if live is not None:
            self._work[live.id] = replace(live, tries=0)
            return False
        self._queue_work(key, environment, id, at, ttl, tries=0)
        return True

    def _queue_work(self, key: SessionKey, environment: str, id: str, at: str, ttl: int, *, tries: int) -> None:
        self._work[id] = WorkItem(
            key.workspace, environment, id, key.session, "queued", 0, 0, ttl, tries, "{}", created_at=at, queued_at=at
        )

    def _live_work(self, key: SessionKey) -> WorkItem | None:
        mine = (item for item in self._work.values() if (item.workspace, item.session) == (key.workspace, key.session))
        return next((item for item in mine if item.state != "stopped"), None)

    async def hand_out_work(
        self, workspace: str, environment: str, *, token: str, at: str, stale: list[tuple[str, int]], taker: str
    ) -> WorkItem | None:
        self._takers[token] = taker
        for id, round in stale:
            item = await self.work(workspace, environment, id)
            if item is not None and (item.state, item.round) == ("polled", round):
                self._take_token(id)
                return self._hand_work(item, token)
        waiting = [item for item in self._work_of(workspace, environment) if item.state == "queued"]
        for item in sorted(waiting, key=lambda one: (one.queued_at, one.id)):
            if self._needs_somebody(item):
                return self._hand_work(item, token)
            self._work[item.id] = replace(item, state="stopped", stopped_at=at)
        return None

    def _hand_work(self, item: WorkItem, token: str) -> WorkItem:
        self._work[item.id] = given = replace(item, state="polled", round=item.round + 1)
        self._tokens[token] = item.id
        return given

    def _take_token(self, id: str) -> None:
        for token in [token for token, owner in self._tokens.items() if owner == id]:
            del self._tokens[token]
        self._revisions["access"] += 1

    def _needs_somebody(self, item: WorkItem) -> bool:
        record = self._worked(SessionKey(item.workspace, item.session))
        return (
            record is not None and record.status != "terminated" and bool(json.loads(record.stats).get("needs_worker"))
        )

    def _work_of(self, workspace: str, environment: str) -> list[WorkItem]:
        return [one for one in self._work.values() if (one.workspace, one.environment) == (workspace, environment)]

    async def acknowledge_work(self, workspace: str, environment: str, id: str, *, at: str) -> WorkItem:
        item = self._work_item(workspace, environment, id)
        if item.state == "polled":
            item = self._work[id] = replace(item, state="starting", acknowledged_at=at)
        return item

    def _work_item(self, workspace: str, environment: str, id: str) -> WorkItem:
        item = self._work.get(id)
        if item is None or (item.workspace, item.environment) != (workspace, environment):
            raise NotFound(f"Work item {id} not found.")
        return item

    async def beat_work(
        self, workspace: str, environment: str, id: str, *, expected: str | None, ttl: int | None, at: str, retry: bool
    ) -> tuple[Verdict, WorkItem]:
        item = self._work_item(workspace, environment, id)
        judged = verdict(item, expected, retry=retry)
        if judged == "beat":
            item = self._work[id] = replace(
                item,
                state="stopping" if item.state == "stopping" else "active",
                beats=item.beats + 1,
                heartbeat=next_heartbeat(item, at),
                expected=expected,
                ttl=item.ttl if ttl is None else ttl,
                started_at=item.started_at or at,
            )
        return judged, item

    async def stop_work(
        self, workspace: str, environment: str, id: str, *, force: bool, at: str, successor: str
    ) -> WorkItem:
        item = self._work_item(workspace, environment, id)
        if item.state == "active" and not force:
            asked = item.stop_requested_at or at
            self._work[id] = replace(item, state="stopping", stop_requested_at=asked, ttl=min(item.ttl, STOPPING_TTL))
        elif item.state != "stopped" and (item.state != "stopping" or force):
            self._end_work(item, at, successor)
        return self._work[id]

    def _end_work(self, item: WorkItem, at: str, successor: str) -> None:
        self._work[item.id] = replace(item, state="stopped", stopped_at=at)
        self._take_token(item.id)
        if item.tries < MOST_TRIES and self._needs_somebody(item):
            key = SessionKey(item.workspace, item.session)
            self._queue_work(key, item.environment, successor, at, item.ttl, tries=item.tries + 1)

    async def lapse_work(self, workspace: str, environment: str, held: Held, *, at: str, successor: str) -> bool:
        item = await self.work(workspace, environment, held.id)
        if item is None or (item.round, item.beats) != (held.round, held.beats) or item.state not in HELD:
            return False
        if item.state != "stopping" and self._needs_somebody(item):
            anew = {"acknowledged_at": None, "started_at": None, "heartbeat": None, "expected": None}
            self._work[item.id] = replace(item, state="queued", queued_at=at, **anew)
            self._take_token(item.id)
        else:
            self._end_work(item, at, successor)
        return True

    async def held_work(self, workspace: str, environment: str) -> list[Held]:
        held = [one for one in self._work_of(workspace, environment) if one.state in HELD]
        held.sort(key=lambda one: (one.queued_at, one.id))
        return [self._held(one) for one in held]

    def _held(self, item: WorkItem) -> Held:
        held = Held(item.id, item.round, item.beats, item.state, item.ttl)
        return replace(held, stood=self._stood.get(held, 0))

    async def all_held_work(self) -> list[tuple[str, str, Held]]:
        places = sorted({(one.workspace, one.environment) for one in self._work.values()})
        return [(*place, held) for place in places for held in await self.held_work(*place)]

    async def note_standing(self, workspace: str, environment: str, held: Held) -> None:
        for now in await self.held_work(workspace, environment):
            seen = replace(now, stood=0)
            if seen == replace(held, stood=0) and now.stood < held.stood:
                self._stood[seen] = held.stood

    async def work(self, workspace: str, environment: str, id: str) -> WorkItem | None:
        item = self._work.get(id)
        mine = item is not None and (item.workspace, item.environment) == (workspace, environment)
        return item if mine else None

    async def works(self, workspace: str, environment: str, page: Page) -> list[WorkItem]:
        return one_stretch(self._work_of(workspace, environment), page)

    async def update_work(self, workspace: str, environment: str, id: str, *, before: str, metadata: str) -> bool:
        item = await self.work(workspace, environment, id)
        if item is None or item.metadata != before:
            return False
        self._work[id] = replace(item, metadata=metadata)
        return True

    async def note_poller(self, workspace: str, environment: str, worker: str, *, at: str, forget: str) -> None:
        self._pollers[workspace, environment, worker] = at
        self._forget_pollers(workspace, environment, forget)

    async def work_stats(self, workspace: str, environment: str, *, polled_since: str) -> QueueStats:
        mine = self._work_of(workspace, environment)
        counts = [sum(one.state == state for one in mine) for state in ("queued", "polled")]
        oldest = min((one.queued_at for one in mine if one.state in ("queued", "polled")), default=None)
        seen = [at for place, at in self._pollers.items() if place[:2] == (workspace, environment)]
        return QueueStats(counts[0], counts[1], oldest, sum(at >= polled_since for at in seen))

    def _erase_work(self, key: SessionKey) -> None:
        for item in list(self._work.values()):
            if (item.workspace, item.session) == (key.workspace, key.session):
                if item.id in self._tokens.values():
                    self._take_token(item.id)
                del self._work[item.id]
                self._erase_about(key.workspace, item.id)

    def _forget_pollers(self, workspace: str, environment: str, before: str) -> None:
        for place, seen in list(self._pollers.items()):
            if place[:2] == (workspace, environment) and seen < before:
                del self._pollers[place]
