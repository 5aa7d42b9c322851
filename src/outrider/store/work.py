"""The work queues of self-hosted environments, on every store."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import msgspec

from outrider.errors import NotFound, Overloaded
from outrider.ports.log import SessionKey
from outrider.ports.records import Page
from outrider.ports.work import (
    MOST_TRIES,
    Held,
    QueueStats,
    Verdict,
    WorkItem,
    next_heartbeat,
    verdict,
)
from outrider.store import shapes
from outrider.store.answers import erase_about_work
from outrider.store.steps import Recorded, Steps, first, rows, run

MOST_DROPPED = 100  # items of sessions that need nobody, on the way of one poll
TURNS = 20  # of a heartbeat that others overtake
STOPPING_TTL = 60  # a holder that beats at all does so within this time
TERMINATED = "terminated"

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class StoredWork(Recorded):
    """Implements `WorkQueues`."""

    async def enlist_work(self, key: SessionKey, environment: str, *, id: str, at: str, ttl: int) -> bool:
        values = shapes.named(key, environment=environment, id=id, at=at, ttl=ttl, tries=0)
        return await self._walks.walk(partial(_enlist, values))

    async def hand_out_work(
        self, workspace: str, environment: str, *, token: str, at: str, stale: list[tuple[str, int]], taker: str
    ) -> WorkItem | None:
        names = {"workspace": workspace, "environment": environment, "token": token, "at": at, "taker": taker}
        found = await self._walks.walk(partial(_hand_out, names, stale))
        return None if found is None else WorkItem(*found)

    async def acknowledge_work(self, workspace: str, environment: str, id: str, *, at: str) -> WorkItem:
        names = {"workspace": workspace, "environment": environment, "id": id, "at": at}
        return WorkItem(*await self._walks.walk(partial(_acknowledge, names)))

    async def beat_work(
        self, workspace: str, environment: str, id: str, *, expected: str | None, ttl: int | None, at: str, retry: bool
    ) -> tuple[Verdict, WorkItem]:
        names = {"workspace": workspace, "environment": environment, "id": id, "at": at}
        judged, row = await self._walks.walk(partial(_beat, names, expected, ttl, retry))
        return judged, WorkItem(*row)

    async def stop_work(
        self, workspace: str, environment: str, id: str, *, force: bool, at: str, successor: str
    ) -> WorkItem:
        names = {"workspace": workspace, "environment": environment, "id": id, "at": at}
        return WorkItem(*await self._walks.walk(partial(_stop, names, force, successor)))

    async def lapse_work(self, workspace: str, environment: str, held: Held, *, at: str, successor: str) -> bool:
        names = {"workspace": workspace, "environment": environment, "id": held.id, "at": at}
        return await self._walks.walk(partial(_lapse, names, held, successor))

    async def held_work(self, workspace: str, environment: str) -> list[Held]:
        names = {"workspace": workspace, "environment": environment}
        return await self._reads.fetch("held_work", names, lambda found: [Held(*row) for row in found])

    async def all_held_work(self) -> list[tuple[str, str, Held]]:
        return await self._reads.fetch("all_held_work", {}, _places)

    async def note_standing(self, workspace: str, environment: str, held: Held) -> None:
        names = {"workspace": workspace, "environment": environment, **asdict(held)}
        del names["ttl"]
        await self._walks.walk(partial(run, "note_standing", names))

    async def work(self, workspace: str, environment: str, id: str) -> WorkItem | None:
        names = {"workspace": workspace, "environment": environment, "id": id}
        return next(iter(await self._reads.one("work", names, _items)), None)

    async def works(self, workspace: str, environment: str, page: Page) -> list[WorkItem]:
        values = shapes.page_values(workspace, page) | {"environment": environment}
        return await self._reads.fetch("works_newest_first", values, _items)

    async def update_work(self, workspace: str, environment: str, id: str, *, before: str, metadata: str) -> bool:
        names = {"workspace": workspace, "environment": environment, "id": id, "before": before, "metadata": metadata}
        return await self._walks.walk(partial(run, "update_work", names)) == 1

    async def note_poller(self, workspace: str, environment: str, worker: str, *, at: str, forget: str) -> None:
        names = {"workspace": workspace, "environment": environment, "worker": worker, "at": at, "forget": forget}
        await self._walks.walk(partial(_note_poller, names))

    async def work_stats(self, workspace: str, environment: str, *, polled_since: str) -> QueueStats:
        names = {"workspace": workspace, "environment": environment, "since": polled_since}
        depth, pending, oldest = await self._reads.fetch("work_counts", names, lambda found: tuple(found[0]))
        polling = await self._reads.fetch("workers_polling", names, lambda found: found[0][0])
        return QueueStats(depth, pending, oldest, polling)


def _places(found: list[Any]) -> list[tuple[str, str, Held]]:
    return [(workspace, environment, Held(*held)) for workspace, environment, *held in found]


def _items(found: list[Any]) -> list[WorkItem]:
    return [WorkItem(*row) for row in found]


def _enlist(values: dict[str, Any]) -> Steps[bool]:
    if (yield from run("hold_worked_session", values)) != 1:
        return False
    if (yield from run("hold_work_of_session", values)) > 0:
        return False
    return (yield from run("insert_work", values)) == 1


def _hand_out(names: dict[str, Any], stale: list[tuple[str, int]]) -> Steps[list[Any] | None]:
    for id, round in stale:
        again = names | {"id": id, "round": round}
        if (yield from run("hand_out_work_again", again)) == 1:
            yield from run("raise_access_revision", {})
            return (yield from _read(again))
    for _ in range(MOST_DROPPED):
        found = yield from first("waiting_work", names)
        if found is None:
            return None
        item = WorkItem(*found)
        named = names | {"id": item.id}
        if (yield from run("hand_out_work", named)) != 1:
            continue  # another poll was faster
        if (yield from _needs_somebody(item)):
            return (yield from _read(named))
        yield from run("end_work", named)
    return None


def _needs_somebody(item: WorkItem) -> Steps[bool]:
    """Looked at with the item held: whoever makes a session need somebody touches its item afterwards."""
    found = yield from first("worked_session", {"workspace": item.workspace, "session": item.session})
    if found is None or found[0] == TERMINATED:
        return False
    return bool(_decode(bytes(found[1])).get("needs_worker"))


def _read(names: dict[str, Any]) -> Steps[list[Any]]:
    found = yield from first("work", names)
    if found is None:
        raise NotFound(f"Work item {names['id']} not found.")
    return list(found)


def _acknowledge(names: dict[str, Any]) -> Steps[list[Any]]:
    yield from run("acknowledge_work", names)
    return (yield from _read(names))


def _beat(names: dict[str, Any], expected: str | None, ttl: int | None, retry: bool) -> Steps[list[Any]]:
    for _ in range(TURNS):
        row = yield from _read(names)
        item = WorkItem(*row)
        judged = verdict(item, expected, retry=retry)
        if judged != "beat":
            return [judged, row]
        values = {
            **names,
            "state": "stopping" if item.state == "stopping" else "active",
            "heartbeat": next_heartbeat(item, names["at"]),
            "expected": expected,
            "ttl": item.ttl if ttl is None else ttl,
            "round": item.round,
            "beats": item.beats,
        }
        if (yield from run("beat_work", values)) == 1:
            return [judged, (yield from _read(names))]
    raise Overloaded("The work item is changing too fast; try again.", retry_after=1)


def _stop(names: dict[str, Any], force: bool, successor: str) -> Steps[list[Any]]:
    yield from _hold_session(names)
    yield from run("hold_work", names)
    item = WorkItem(*(yield from _read(names)))
    if item.state == "stopped" or (item.state == "stopping" and not force):
        return (yield from _read(names))
    if item.state == "active" and not force:
        yield from run("ask_work_to_stop", names | {"ttl": min(item.ttl, STOPPING_TTL)})
    else:
        yield from _end(item, names, successor)
    return (yield from _read(names))


def _hold_session(names: dict[str, Any]) -> Steps[None]:
    """Before its item, as everybody does: a session that is erased meanwhile gets no new one. Its item goes with it."""
    found = yield from first("work", names)
    if found is not None:
        item = WorkItem(*found)
        yield from run("hold_worked_session", {"workspace": item.workspace, "session": item.session})


def _end(item: WorkItem, names: dict[str, Any], successor: str) -> Steps[None]:
    yield from run("end_work", names)
    yield from run("raise_access_revision", {})
    if item.tries < MOST_TRIES and (yield from _needs_somebody(item)):
        values = {**names, "id": successor, "session": item.session, "ttl": item.ttl, "tries": item.tries + 1}
        yield from run("insert_work", values)


def _lapse(names: dict[str, Any], held: Held, successor: str) -> Steps[bool]:
    seen = names | {"round": held.round, "beats": held.beats}
    yield from _hold_session(names)
    if (yield from run("hold_held_work", seen)) != 1:
        return False
    item = WorkItem(*(yield from _read(names)))
    if item.state != "stopping" and (yield from _needs_somebody(item)):
        yield from run("put_work_back", names)
        yield from run("raise_access_revision", {})
    else:
        yield from _end(item, names, successor)
    return True


def _note_poller(names: dict[str, Any]) -> Steps[None]:
    yield from run("note_poller", names)
    yield from run("forget_pollers", names)


def erase_work(key: SessionKey) -> Steps[None]:
    """All items of a session that is erased, their tokens, and what is kept for retries of requests about them."""
    yield from run("hold_all_work_of_session", shapes.named(key))
    found = yield from rows("held_tokens", shapes.named(key))
    yield from erase_about_work(key)
    yield from run("erase_work_of_session", shapes.named(key))
    if found:
        yield from run("raise_access_revision", {})
