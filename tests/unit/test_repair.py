"""Each fault of a session is planted in the store, found, and mended by the log's own rules; a session in order is left
as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import pytest
from harness_room import KEY, Room, WrittenModel, reply

from outrider.api.repair import Report, inspect, mend
from outrider.errors import Fenced
from outrider.ports.log import Lease, NewEvent, SessionPatch, Snapshot
from outrider.session import state as states
from outrider.session.events import EventFactory
from outrider.session.fold import fold
from outrider.testing.invariants import check
from outrider.testing.memory_log import MemoryStore

pytestmark = pytest.mark.anyio
TEXT = [{"type": "text", "text": "hello"}]


class Shared(MemoryStore):
    def __init__(self, **given: Any) -> None:
        super().__init__(shared=True, **given)


async def room_at_rest(store: type[MemoryStore] = MemoryStore) -> Room:
    """A session after one turn."""
    room = Room(WrittenModel(reply("one"), reply("two"), reply("three")), store=store)
    await room.open()
    await room.say("go")
    async with room.worker():
        await room.until("session.status_idle")
    assert await room.store.attendance(KEY) is None
    return room


def factory(room: Room) -> EventFactory:
    return EventFactory("sthr_1", "a", room.ids, room.clock)


async def owned(room: Room, worker: str = "planted") -> Lease:
    await room.store.append_client(KEY, [], if_head=None, wake=True)
    (lease,) = await room.store.claim(worker, limit=1, key=KEY)
    return lease


async def plant(room: Room, *rows: NewEvent, snapshot: Snapshot | None = None) -> None:
    """Rows of an owner that let go of the session as if all were well."""
    lease = await owned(room)
    await room.store.append_owned(lease, list(rows), snapshot=snapshot, if_head=lease.head, release=True)


async def kinds(room: Room, driving: Callable[[], Collection[str]] = tuple) -> list[str]:
    report = await inspect(replace(room.services(), driving=driving), KEY)
    assert report.left is None
    return [fault.kind for fault in report.found]


async def mended(room: Room, driving: Callable[[], Collection[str]] = tuple) -> Report:
    report = await mend(replace(room.services(), driving=driving), KEY)
    assert report.left == [], report
    return report


async def everything(room: Room) -> tuple[Any, ...]:
    counters = await room.store.counters(KEY)
    return await room.rows(), await room.store.session(KEY), await room.store.snapshot(KEY), counters


async def record_is_the_fold(room: Room) -> None:
    record = await room.store.session(KEY)
    assert record is not None
    assert record.status == fold(await room.rows()).status
    assert await kinds(room) == []


async def test_a_session_in_order_shows_nothing_and_is_not_touched() -> None:
    room = await room_at_rest()
    before = await everything(room)
    assert await kinds(room) == []
    assert (await mended(room)).found == []
    assert await everything(room) == before


async def test_a_session_at_work_that_nobody_attends_is_woken() -> None:
    room = await room_at_rest()
    await room.say("again")
    room.store._kept[KEY].since = None  # pyright: ignore[reportPrivateUsage] (the fault: its wake is gone)
    assert await kinds(room) == ["unattended"]
    async with room.worker() as worker:
        await mended(room, worker.driving)
        await room.until("session.status_idle", 2)
    assert check(await room.rows()) == []


async def test_a_session_that_nobody_claims_is_shown() -> None:
    room = await room_at_rest()
    await room.say("again")
    assert await kinds(room) == ["unclaimed"]


@pytest.mark.parametrize("store", [MemoryStore, Shared])
async def test_a_silent_owner_is_buried_and_what_it_left_open_is_closed_by_the_next(store: type[MemoryStore]) -> None:
    room = await room_at_rest(store)
    await room.say("again")
    (lease,) = await room.store.claim("dead", limit=1, key=KEY)
    start = factory(room).public("span.model_request_start")
    lease = await room.store.append_owned(lease, [start])
    assert await kinds(room) == ["owner-silent", "request-open"]
    await mend(room.services(), KEY)
    with pytest.raises(Fenced):
        await room.store.append_owned(lease, factory(room).running())
    async with room.worker():
        await room.until("session.status_idle", 2)
    assert check(await room.rows()) == []


async def test_an_owner_that_beats_is_left_alone() -> None:
    room = await room_at_rest(Shared)
    await room.say("again")
    assert await room.store.claim("alive", limit=1, key=KEY)

    async def beat() -> None:
        while True:
            await room.store.beat("alive")
            await asyncio.sleep(0.05)

    beating = asyncio.create_task(beat())
    before = await everything(room)
    assert await kinds(room) == []
    assert (await mended(room)).found == []
    assert await everything(room) == before
    beating.cancel()


async def test_what_a_session_at_rest_left_open_is_ended() -> None:
    room = await room_at_rest()
    make = factory(room)
    use = make.public("agent.tool_use", {"name": "bash", "input": {}, "evaluated_permission": "allow"})
    usage = states.usage_object(fold(await room.rows()), make.now())
    idle = make.idle({"type": "end_turn"}, usage)
    await plant(room, *make.running(), make.public("span.model_request_start"), use, *idle)
    found = await kinds(room)
    assert found[:2] == ["call-open", "request-open"]
    assert found[2:] in ([], ["record-differs"])  # its seconds, if they count for a thousandth
    await mended(room)
    rows = await room.rows()
    assert check(rows) == []
    (result,) = await room.bodies("agent.tool_result")
    assert (result["tool_use_id"], result["is_error"]) == (use.id, True)
    assert "interrupted" in result["content"][0]["text"]
    assert rows[-1].epoch > max(row.epoch for row in rows[:-10])
    await record_is_the_fold(room)


async def test_a_message_left_in_the_queue_is_taken_up() -> None:
    room = await room_at_rest()
    waiting = factory(room).waiting("user.message", {"content": TEXT})
    await room.store.append_client(KEY, [waiting], if_head=None, wake=False)
    assert await kinds(room) == ["queue-left"]
    async with room.worker() as worker:
        await mended(room, worker.driving)
        await room.until("session.status_idle", 2)
    assert check(await room.rows()) == []
    await record_is_the_fold(room)


@pytest.mark.parametrize("damage", ["torn", "other", "ahead"])
async def test_a_snapshot_that_is_not_the_fold_of_the_log_is_made_anew(damage: str) -> None:
    room = await room_at_rest()
    rows = await room.rows()
    state = fold(rows)
    wrong = states.dump(fold(rows[:3])) if damage == "other" else states.dump(state)
    body = b"[" if damage == "torn" else wrong
    seq = len(rows) + 7 if damage == "ahead" else len(rows)
    await plant(room, snapshot=Snapshot(seq, states.VERSION, body))
    assert await kinds(room) == ["snapshot-differs"]
    await mended(room)
    assert await room.store.snapshot(KEY) == Snapshot(len(rows), states.VERSION, states.dump(state))
    assert await room.rows() == rows


@pytest.mark.parametrize(
    "patch",
    [
        SessionPatch(status="terminated"),
        SessionPatch(usage=b'{"input_tokens":99}'),
        SessionPatch(stats=b'{"active_seconds":99.0,"running_since":null}'),
    ],
    ids=["status", "usage", "stats"],
)
async def test_a_record_that_is_not_the_fold_of_the_log_is_written_anew(patch: SessionPatch) -> None:
    room = await room_at_rest()
    rows = await room.rows()
    await room.store.append_client(KEY, [], if_head=None, patch=patch, wake=False)
    assert await kinds(room) == ["record-differs"]
    await mended(room)
    assert await room.rows() == rows
    await record_is_the_fold(room)


async def test_a_log_that_can_not_be_read_is_said_and_left() -> None:
    room = await room_at_rest()
    await plant(room, factory(room).public("agent.tool_use"))
    before = await everything(room)
    report = await mend(room.services(), KEY)
    assert [fault.kind for fault in report.found] == ["log-unreadable"]
    assert report.left == report.found
    assert await everything(room) == before


async def test_an_owner_with_a_wrong_snapshot_is_fenced_off_and_the_session_goes_on() -> None:
    room = await room_at_rest()
    await room.say("again")
    (lease,) = await room.store.claim("alive", limit=1, key=KEY)
    lease = await room.store.append_owned(lease, [], snapshot=Snapshot(3, states.VERSION, b"["), if_head=lease.head)
    assert await kinds(room, lambda: [KEY.session]) == ["snapshot-differs"]
    await mend(replace(room.services(), driving=lambda: [KEY.session]), KEY)
    with pytest.raises(Fenced):
        await room.store.append_owned(lease, factory(room).running())
    async with room.worker():
        await room.until("session.status_idle", 2)
    assert check(await room.rows()) == []
