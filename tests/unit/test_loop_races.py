"""The loop while others act between its decisions and their appends: clients, deletions, other owners, failures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from harness_room import KEY, WAIT, MeddledStore, Room, WrittenModel, reply, use

from outrider.api.answers import keep_nothing
from outrider.api.endpoint import Call
from outrider.api.routes import sessions as routes
from outrider.config import Limits
from outrider.errors import InvalidRequest, ModelFailure, Overloaded, SandboxUnavailable
from outrider.harness.worker import Worker
from outrider.ports.access import ApiKey
from outrider.ports.log import Lease, NewEvent, SessionKey
from outrider.ports.model import Delta, ModelReply
from outrider.ports.sandbox import ToolCall, ToolOutcome
from outrider.session import events
from outrider.session.events import EventFactory
from outrider.session.feed import Subscription
from outrider.testing.memory_log import MemoryStore
from outrider.testing.memory_sandbox import MemorySandboxes

pytestmark = pytest.mark.anyio


def meddled(room: Room) -> MeddledStore:
    assert isinstance(room.store, MeddledStore)
    return room.store


async def hang(_call: Any, _on_delta: Any) -> ModelReply:
    await asyncio.Event().wait()
    raise AssertionError


async def archive(room: Room) -> None:
    record = await room.store.session(KEY)
    assert record is not None
    assert record.status == "idle"
    now = room.clock.now()
    rows = EventFactory("sthr_1", "worker", room.ids, room.clock).terminated()
    head = await room.store.head(KEY)
    ended = replace(record, status="terminated", archived_at=now)
    await room.store.update_session(ended, rows, if_head=head, columns="archive")


async def at_rest(room: Room, worker: Worker) -> None:
    """Until no session is driven any more, each of which rings when it ends."""
    async with asyncio.timeout(WAIT):
        while worker.running:
            await room.doorbell.wait(WAIT)


async def test_messages_that_come_with_each_request_start_cost_no_attempt_and_none_is_dropped() -> None:
    limits = Limits(model_attempts=2, backoff_first=0.001, backoff_most=0.002)
    room = Room(WrittenModel(*[reply(f"answer {n}") for n in range(9)]), limits=limits, store=MeddledStore)
    await room.open()
    told: list[str] = []

    async def meddle() -> None:
        if len(told) < 4:
            told.append(f"more {len(told)}")
            await room.say(told[-1])
            meddled(room).before["span.model_request_start"] = meddle

    meddled(room).before["span.model_request_start"] = meddle
    async with room.worker():
        await room.say("hi")
        await room.until("session.status_idle")
    assert len(told) == 4
    assert await room.bodies("session.error") == []
    assert [end["is_error"] for end in await room.bodies("span.model_request_end")] == [False] * len(room.model.calls)
    prompt = str(room.model.calls[-1].body["messages"])
    assert all(text in prompt for text in told)


async def test_a_session_archived_between_two_turns_stays_terminated() -> None:
    room = Room(WrittenModel(hang, reply("too late")), store=MeddledStore)
    await room.open()
    async with room.worker() as worker:
        await room.say("talk")
        await room.until("model.request")
        meddled(room).before["session.status_running"] = lambda: archive(room)
        await room.send({"type": "user.interrupt"}, {"type": "user.message", "content": events.text_blocks("next")})
        await room.until("session.status_terminated")
        await at_rest(room, worker)
    assert (await room.rows())[-1].type == "session.status_terminated"
    record = await room.store.session(KEY)
    assert record is not None
    assert record.status == "terminated"
    assert len(room.model.calls) == 1


async def test_an_interrupted_call_has_the_documented_result_though_a_message_came_between() -> None:
    started = asyncio.Event()

    async def hand(_call: ToolCall) -> ToolOutcome:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    room = Room(WrittenModel(reply(use("bash", command="sleep")), hang), MemorySandboxes(hand), store=MeddledStore)
    await room.open()
    async with room.worker():
        await room.say("go")
        async with asyncio.timeout(WAIT):
            await started.wait()
        meddled(room).before["session.status_idle"] = lambda: room.say("late")
        await room.send({"type": "user.interrupt"})
        await room.until("model.request", 2)
    (result,) = await room.bodies("agent.tool_result")
    assert result["content"][0]["text"] == events.INTERRUPTED_TEXT


async def test_an_interrupt_met_by_a_new_owner_stops_the_call_that_the_dead_one_left_running() -> None:
    started, killed = asyncio.Event(), asyncio.Event()

    async def hand(_call: ToolCall) -> ToolOutcome:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            killed.set()
        raise AssertionError

    room = Room(WrittenModel(reply(use("bash", command="sleep"))), MemorySandboxes(hand))
    await room.open()
    async with room.worker("w1"):
        await room.say("go")
        async with asyncio.timeout(WAIT):
            await started.wait()
    await room.send({"type": "user.interrupt"})
    async with room.worker("w2"):
        await room.until("session.status_idle")
        async with asyncio.timeout(WAIT):
            await killed.wait()
    (result,) = await room.bodies("agent.tool_result")
    assert result["content"][0]["text"] == events.INTERRUPTED_TEXT


async def test_an_interrupt_that_comes_with_the_last_failure_ends_the_turn_once() -> None:
    wrong = ModelFailure("invalid key", kind="model_request_failed_error", retryable=False)
    room = Room(WrittenModel(wrong), store=MeddledStore)
    await room.open()
    async with room.worker() as worker:
        meddled(room).before["session.status_idle"] = lambda: room.send({"type": "user.interrupt"})
        await room.say("hi")
        await room.until("session.status_idle")
        await at_rest(room, worker)
    assert [row.type for row in await room.rows()].count("session.status_idle") == 1


async def test_a_session_deleted_before_its_claim_was_looked_at_is_let_go_quietly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = Room(WrittenModel())
    await room.open()
    await room.say("hi")
    async with room.worker() as worker:
        (lease,) = await room.store.claim("w1", limit=1)
        await room.store.delete_session(KEY, if_head=await room.store.head(KEY))
        with caplog.at_level(logging.ERROR):
            worker.take(lease)
            await at_rest(room, worker)
    assert caplog.records == []


async def test_a_refused_reply_leaves_no_call_behind() -> None:
    declined = ModelReply([{"type": "text", "text": "well"}, use("bash", command="rm")], "refusal", None, {})
    room = Room(WrittenModel(declined, reply("sure")))
    await room.open()
    async with room.worker():
        await room.say("bad")
        await room.until("session.status_idle")
        await room.say("good")
        await room.until("session.status_idle", 2)
    assert not room.sandboxes.runs
    assert "tool_result" not in str(room.model.calls[1].body["messages"])


async def test_a_call_that_the_models_window_cut_off_is_no_call() -> None:
    cut = reply("so", use("bash", command="half a com"), stop="model_context_window_exceeded")
    room = Room(WrittenModel(cut, reply("on")))
    await room.open()
    async with room.worker():
        await room.say("write")
        await room.until("session.status_idle")
    assert not room.sandboxes.runs


async def seen_until(stream: Subscription, kind: str) -> list[dict[str, Any]]:
    """The stream's frames up to the first of this type."""
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(WAIT):
        async for frame in stream.frames():
            if frame is not None:
                seen.append(events.decode(frame))
                if seen[-1]["type"] == kind:
                    return seen
    raise AssertionError(f"the stream ended without {kind}")


async def test_an_empty_text_in_front_of_a_call_announces_nothing_and_lends_it_no_id() -> None:
    async def answer(_call: Any, on_delta: Callable[[Delta], None]) -> ModelReply:
        on_delta(Delta("start", 0, "text"))
        on_delta(Delta("start", 1, "tool_use"))
        return reply("", use("bash", command="x"))

    room = Room(WrittenModel(answer, reply("done")))
    await room.open()
    stream = await room.feed.subscribe(KEY, previews=frozenset({"agent.message"}))
    async with room.worker():
        await room.say("go")
        seen = await seen_until(stream, "agent.tool_use")
    stream.close()
    assert [event for event in seen if event["type"] == "event_start"] == []


async def test_texts_after_an_empty_one_are_previewed_where_they_stand_in_the_message() -> None:
    async def answer(_call: Any, on_delta: Callable[[Delta], None]) -> ModelReply:
        on_delta(Delta("start", 0, "text"))
        on_delta(Delta("start", 1, "text"))
        on_delta(Delta("text", 1, "text", "hel"))
        return reply("", "hello")

    room = Room(WrittenModel(answer))
    await room.open()
    stream = await room.feed.subscribe(KEY, previews=frozenset({"agent.message"}))
    async with room.worker():
        await room.say("go")
        seen = await seen_until(stream, "agent.message")
    stream.close()
    (delta,) = [event["delta"] for event in seen if event["type"] == "event_delta"]
    assert seen[-1]["content"][delta["index"]]["text"] == "hello"


def update_call(room: Room, **body: Any) -> Call:
    key = ApiKey("key_1", KEY.workspace, "", "", "admin", "")
    return Call(room.services(), key, {"session_id": KEY.session}, "", msgspec.json.encode(body), keep_nothing)


async def test_two_updates_at_once_both_count() -> None:
    room = Room(WrittenModel(), store=MeddledStore)
    await room.open()
    await set_details(room)

    async def other() -> None:
        await routes.update(update_call(room, metadata={"b": "2"}))

    meddled(room).after_record = other
    await routes.update(update_call(room, metadata={"a": "1"}))
    record = await room.store.session(KEY)
    assert record is not None
    assert msgspec.json.decode(record.details)["metadata"] == {"a": "1", "b": "2"}


async def set_details(room: Room) -> None:
    record = await room.store.session(KEY)
    assert record is not None
    stored = replace(record, details=b'{"title":null,"metadata":{}}')
    await room.store.update_session(stored, [], if_head=await room.store.head(KEY), columns="details")


async def test_a_session_whose_log_can_not_be_read_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outrider.harness.worker.PAUSE_SECONDS", 0.001)
    room = Room(WrittenModel(reply("hello")))
    await room.open()
    bad = SessionKey(KEY.workspace, "sesn_bad")
    record = await room.store.session(KEY)
    assert record is not None
    rows = [NewEvent("sevt_bad", "agent.tool_use", b"{}", "sthr_bad", processed_at=room.clock.now())]
    await room.store.create_session(replace(record, id=bad.session), rows, wake=True)
    async with room.worker() as worker:
        async with asyncio.timeout(WAIT):
            for _ in range(3):  # driven, given up as far as that goes, and left to the next claim
                await room.doorbell.wait(WAIT)
        await room.say("hi")
        await room.until("session.status_idle")
        assert worker.claimant() is not None


async def test_a_store_that_is_locked_for_a_moment_does_not_end_the_claims() -> None:
    class Locked(MemoryStore):
        times = 2

        async def claim(self, worker: str, *, limit: int, key: SessionKey | None = None) -> list[Lease]:
            self.times -= 1
            if self.times >= 0:
                raise Overloaded("The log is locked by another process.")
            return await super().claim(worker, limit=limit, key=key)

    room = Room(WrittenModel(reply("hello")), store=Locked)
    await room.open()
    async with room.worker():
        await room.say("hi")
        room.doorbell.ring()
        await room.until("session.status_idle")


async def test_a_store_that_is_locked_for_long_costs_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outrider.harness.worker.PAUSE_SECONDS", 0.001)
    room = Room(WrittenModel(*[reply("hello")] * 2), store=MeddledStore)
    await room.open()
    failed: list[str] = []

    async def locked() -> None:
        if len(failed) < 6:
            failed.append("again")
            meddled(room).before["span.model_request_start"] = locked
            raise Overloaded("The log is locked by another process.")

    meddled(room).before["span.model_request_start"] = locked
    async with room.worker():
        await room.say("hi")
        await room.until("session.status_idle")
    assert len(failed) == 6
    assert await room.bodies("session.error") == []


async def test_a_session_claimed_again_while_its_last_driver_still_ends_counts_as_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("outrider.harness.loop.TOOL_STOP_SECONDS", 0.0)
    ended, started = asyncio.Event(), asyncio.Event()

    class Slow(MemorySandboxes):
        async def execute(self, session: str, call: ToolCall, *, epoch: int, resume: bool = False) -> ToolOutcome:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                await ended.wait()
            raise AssertionError

    room = Room(WrittenModel(reply(use("bash", command="sleep")), hang), Slow())
    await room.open()
    async with room.worker() as worker:
        await room.say("go")
        async with asyncio.timeout(WAIT):
            await started.wait()
        await room.send({"type": "user.interrupt"})
        await room.until("session.status_idle")
        await room.say("again")
        await room.until("model.request", 2)
        assert worker.running == 2
        ended.set()
        async with asyncio.timeout(WAIT):
            while True:
                if worker.running < 2:
                    break
                await asyncio.sleep(0)
        assert worker.running == 1


async def test_an_interrupt_ends_the_turn_though_the_sandbox_can_not_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("outrider.harness.loop.TOOL_STOP_SECONDS", 0.0)
    started = asyncio.Event()

    class Unreachable(MemorySandboxes):
        async def interrupt(self, session: str, call_id: str, *, epoch: int) -> None:
            raise SandboxUnavailable("its storage failed")

    async def hand(_call: ToolCall) -> ToolOutcome:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    sandboxes = Unreachable(hand)
    room = Room(WrittenModel(reply(use("bash", command="sleep"))), sandboxes)
    await room.open()
    async with room.worker():
        await room.say("go")
        async with asyncio.timeout(WAIT):
            await started.wait()
        await room.send({"type": "user.interrupt"})
        await room.until("session.status_idle")
    await sandboxes.close()
    assert await room.bodies("session.error") == []
    assert (await room.bodies("session.status_idle"))[0]["stop_reason"] == {"type": "end_turn"}


@pytest.mark.parametrize("given", [{}, {"input": ""}])
async def test_a_call_without_an_input_has_an_empty_one(given: dict[str, Any]) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "lookup", **given}
    room = Room(WrittenModel(reply(call), reply("thanks")))
    await room.open()
    async with room.worker():
        await room.say("go")
        await room.until("session.status_idle")
        (asked,) = await room.bodies("agent.custom_tool_use")
        answer = {"type": "user.custom_tool_result", "custom_tool_use_id": asked["id"]}
        await room.send(answer)
        await room.until("session.status_idle", 2)
    assert asked["input"] == {}
    assert room.model.calls[1].body["messages"][1]["content"][0]["input"] == {}


async def test_an_agent_is_not_changed_when_a_message_sets_the_session_running_meanwhile() -> None:
    room = Room(WrittenModel(), store=MeddledStore)
    await room.open()
    await set_details(room)
    meddled(room).after_record = lambda: room.say("hi")
    with pytest.raises(InvalidRequest, match="only when idle"):
        await routes.update(update_call(room, agent={"tools": []}))
    assert await room.bodies("session.updated") == []


async def test_a_turn_that_is_given_up_leaves_no_call_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outrider.harness.worker.PAUSE_SECONDS", 0.0)
    killed = asyncio.Event()

    class Broken(MemorySandboxes):
        async def execute(self, session: str, call: ToolCall, *, epoch: int, resume: bool = False) -> ToolOutcome:
            if call.name == "read":
                await started.wait()
                raise TypeError("a bug")
            return await super().execute(session, call, epoch=epoch, resume=resume)

    async def hand(_call: ToolCall) -> ToolOutcome:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            killed.set()
        raise AssertionError

    started = asyncio.Event()
    uses = [use("bash", "toolu_1", command="sleep"), use("read", "toolu_2", file_path="f")]
    room = Room(WrittenModel(reply(*uses)), Broken(hand))
    await room.open()
    async with room.worker():
        await room.say("go")
        await room.until("session.status_idle")
        async with asyncio.timeout(WAIT):
            await killed.wait()
    assert (await room.bodies("session.error"))[0]["error"]["type"] == "unknown_error"


async def test_a_worker_drains_at_once_though_a_message_came_beside_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outrider.harness.worker.DRAIN_SECONDS", 10 * WAIT)
    started = asyncio.Event()

    async def hand(_call: ToolCall) -> ToolOutcome:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    room = Room(WrittenModel(reply(use("bash", command="sleep"))), MemorySandboxes(hand), store=MeddledStore)
    await room.open()
    meddled(room).before["model.reply"] = lambda: room.say("more")
    async with room.worker() as worker:
        await room.say("go")
        async with asyncio.timeout(WAIT):
            await started.wait()
            await worker.drain()
    assert await room.store.runnable() == 1
    await room.sandboxes.close()
