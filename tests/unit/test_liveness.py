"""Who is thought dead: never the living, whatever stood still, and the dead within their time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from harness_room import KEY, WAIT, Room, WrittenModel, reply
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.errors import Overloaded
from outrider.harness import liveness
from outrider.harness.liveness import BEAT_SECONDS, DEAD_AFTER, GAP_AFTER, RETRY_SECONDS, SWEEP_SECONDS, Observer
from outrider.harness.worker import Worker
from outrider.ports.model import Delta, ModelCall, ModelReply
from outrider.testing.memory_log import MemoryStore

LOOKS = st.lists(st.floats(0.05, 0.6), min_size=30, max_size=60)


def test_a_worker_that_stops_is_buried_in_time_and_one_that_beats_is_not() -> None:
    observer, now, dead_at = Observer(), 0.0, None
    while dead_at is None and now < 20:
        beats = {"me": int(now / BEAT_SECONDS), "alive": int(now / BEAT_SECONDS), "dead": min(4, int(now))}
        found = observer.observe("me", now, now, beats)
        assert found in ([], ["dead"])
        dead_at = now if found else None
        now += SWEEP_SECONDS
    assert dead_at is not None
    assert 4 + DEAD_AFTER <= dead_at <= 4 + DEAD_AFTER + 2 * SWEEP_SECONDS


@settings(deadline=None)
@given(LOOKS, st.integers(5, 25), st.floats(GAP_AFTER, 60.0), st.floats(0.0, 0.3))
def test_an_observer_that_stood_still_buries_none_of_the_living(
    pauses: list[float], at: int, frozen: float, slow: float
) -> None:
    """The others beat on, the observer's own looks come late and then take their time."""
    observer, now = Observer(), 0.0
    for number, pause in enumerate(pauses):
        asked = now
        now += slow
        beats = {"me": int(now / BEAT_SECONDS), "other": int(asked / BEAT_SECONDS)}
        assert observer.observe("me", asked, now, beats) == []
        now += frozen if number == at else pause


@settings(deadline=None)
@given(LOOKS, st.integers(5, 25), st.floats(0.5, 30.0), st.floats(0.0, 1.0))
def test_a_store_that_stood_still_makes_nobody_dead(pauses: list[float], at: int, outage: float, phase: float) -> None:
    """Reads are answered all the time, but nobody's beat is stored for a while; afterwards ours is among the first."""
    observer, now, begins = Observer(), 0.0, sum(pauses[:at])
    for pause in pauses + [0.4] * 80:
        stored = begins if begins < now < begins + outage else now
        others = begins if begins < now < begins + outage + RETRY_SECONDS else now
        beats = {"me": int(stored / BEAT_SECONDS), "other": int(others / BEAT_SECONDS + phase)}
        assert observer.observe("me", now, now, beats) == []
        now += pause


@settings(deadline=None)
@given(LOOKS, st.integers(0, 10))
def test_whoever_stays_silent_is_buried_while_we_are_awake(pauses: list[float], stops: int) -> None:
    observer, now, last = Observer(), 0.0, None
    for pause in pauses + [0.4] * 40:
        beats = {"me": int(now / BEAT_SECONDS), "dead": min(stops, int(now / BEAT_SECONDS))}
        if observer.observe("me", now, now, beats):
            last = now
            break
        now += pause
    assert last is not None
    assert last >= stops + DEAD_AFTER - BEAT_SECONDS


def test_a_worker_that_comes_back_to_life_or_is_gone_is_forgotten() -> None:
    observer = Observer()
    for tenth in range(60):
        observer.observe("me", tenth / 2, tenth / 2, {"me": tenth, "other": 7} if tenth < 4 else {"me": tenth})
    assert observer.observe("me", 30.0, 30.0, {"me": 61, "other": 7}) == []


# -- with a worker


class SharedStore(MemoryStore):
    """As if other processes shared it; a test may cut it off."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given, shared=True)
        self.cut = False

    async def beat(self, worker: str) -> bool:
        if self.cut:
            raise Overloaded("The store is out of reach.")
        return await super().beat(worker)


class Slow:
    """A model that answers when it is let."""

    def __init__(self) -> None:
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def __call__(self, _call: ModelCall, _on_delta: Callable[[Delta], None]) -> ModelReply:
        self.asked.set()
        await self.let.wait()
        return reply("late")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same times, ten times faster."""
    for name in ("BEAT_SECONDS", "SWEEP_SECONDS", "DEAD_AFTER", "BLIND_AFTER", "GAP_AFTER", "RETRY_SECONDS"):
        monkeypatch.setattr(liveness, name, getattr(liveness, name) / 10)


@asynccontextmanager
async def at_the_model(room: Room, slow: Slow) -> AsyncGenerator[Worker]:
    await room.open()
    async with room.worker() as worker:
        await room.say("go")
        await asyncio.wait_for(slow.asked.wait(), WAIT)
        yield worker


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_buried_worker_drops_its_sessions_and_goes_on_under_a_new_id() -> None:
    slow = Slow()
    room = Room(WrittenModel(slow, reply("again")), store=SharedStore)
    async with at_the_model(room, slow) as worker:
        await room.store.bury("w1")
        await room.until("session.status_idle")
        assert worker.id != "w1"
        ends = await room.bodies("span.model_request_end")
        assert [end["is_error"] for end in ends] == [True, False]
        assert len(room.model.calls) == 2
        assert set(await room.store.beats()) == {worker.id}


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_worker_that_can_not_reach_the_store_does_not_go_on_as_an_owner() -> None:
    slow = Slow()
    room = Room(WrittenModel(slow, reply("again")), store=SharedStore)
    async with at_the_model(room, slow) as worker:
        store = room.store
        assert isinstance(store, SharedStore)
        store.cut = True
        await room.until("session.status_idle")
        assert worker.id != "w1"
        assert [end["is_error"] for end in await room.bodies("span.model_request_end")] == [True, False]


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_worker_buries_one_that_fell_silent_and_takes_its_session_over() -> None:
    room = Room(WrittenModel(reply("here")), store=SharedStore)
    await room.open()
    await room.say("go")
    await room.store.beat("gone")
    (lease,) = await room.store.claim("gone", limit=1)
    async with room.worker("w2"):
        await room.until("session.status_idle")
    assert not await room.store.beat("gone")
    assert max(row.epoch for row in await room.rows()) > lease.epoch + 1
    assert (await room.store.claim("w3", limit=1, key=KEY)) == []


@pytest.mark.anyio
async def test_a_worker_buries_its_predecessor_at_once_and_nobody_elsewhere() -> None:
    room = Room(WrittenModel(reply("here")), store=SharedStore)
    await room.open()
    await room.say("go")
    await room.store.beat("elsewhere/1")
    await room.store.claim("here/1", limit=1)
    async with room.worker("here/2"):
        assert "elsewhere/1" in await room.store.beats()
        assert not await room.store.beat("here/1")
        await room.until("session.status_idle")


# -- a worker that ends in order


@pytest.mark.anyio
async def test_a_draining_worker_writes_down_what_the_model_is_saying_and_hands_the_session_over() -> None:
    slow = Slow()
    room = Room(WrittenModel(slow, reply("two")), store=SharedStore)
    async with at_the_model(room, slow) as worker:
        await room.send({"type": "user.message", "content": [{"type": "text", "text": "and then"}]})
        draining = asyncio.create_task(worker.drain())
        slow.let.set()
        await asyncio.wait_for(draining, WAIT)
        assert worker.claimant() is None
        assert len(await room.bodies("agent.message")) == 1
        assert len(room.model.calls) == 1, "no new step was begun"
        assert await room.store.runnable() == 1, "another owner can go on at once"
    async with room.worker("w2"):
        await room.until("agent.message", 2)


@pytest.mark.anyio
async def test_a_draining_worker_waits_no_longer_than_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outrider.harness.worker.DRAIN_SECONDS", 0.1)
    slow = Slow()
    room = Room(WrittenModel(slow), store=SharedStore)
    async with at_the_model(room, slow) as worker:
        await asyncio.wait_for(worker.drain(), 3)
    assert await room.store.runnable() == 1
    assert await room.store.beats() == {}
