"""The loop over one session, driven by written replies: orders, retries, interrupts, takeovers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness_room import KEY, WAIT, Room, WrittenModel, reply, use
from session_sim import AGENT

from conformance.requirements import requirement
from outrider.config import Limits
from outrider.errors import ModelFailure
from outrider.ports.model import Delta, ModelReply
from outrider.ports.sandbox import ToolCall, ToolOutcome, text_outcome
from outrider.session import events
from outrider.testing.memory_sandbox import MemorySandboxes
from outrider.testing.store_trial import bury_all

pytestmark = pytest.mark.anyio

TURN = [
    "user.message",
    "session.status_running",
    "session.thread_status_running",
    "event.processed",
    "span.model_request_start",
    "model.request",
    "agent.message",
    "model.reply",
    "span.model_request_end",
    "session.thread_status_idle",
    "session.usage",
    "session.status_idle",
]


async def test_a_plain_turn_writes_its_rows_in_order() -> None:
    room = Room(WrittenModel(reply("hello")))
    await room.open()
    async with room.worker():
        await room.say("hi")
        rows = await room.until("session.status_idle")
    assert [row.type for row in rows[1:]] == TURN
    assert (await room.bodies("session.status_idle"))[0]["stop_reason"] == {"type": "end_turn"}
    assert room.model.calls[0].body["messages"][-1]["content"][0]["text"] == "hi"


async def test_tools_of_one_reply_run_side_by_side_and_the_next_request_waits_for_all() -> None:
    both = asyncio.Barrier(2)

    async def hand(call: ToolCall) -> ToolOutcome:
        await both.wait()
        return text_outcome(call.id)

    uses = [use("bash", "toolu_1", command="a"), use("read", "toolu_2", file_path="b")]
    room = Room(WrittenModel(reply(*uses), reply("done")), MemorySandboxes(hand))
    await room.open()
    async with room.worker():
        await room.say("go")
        await room.until("session.status_idle")
    results = room.model.calls[1].body["messages"][-1]["content"]
    assert [block["tool_use_id"] for block in results] == ["toolu_1", "toolu_2"]
    intents = [row.type for row in await room.rows()].index(events.INTENT)
    assert intents < [row.type for row in await room.rows()].index("agent.tool_result")


async def test_commands_of_one_shell_run_in_the_models_order() -> None:
    order: list[str] = []

    async def hand(call: ToolCall) -> ToolOutcome:
        order.append(f"begin {call.input['command']}")
        await asyncio.sleep(0)
        order.append(f"end {call.input['command']}")
        return text_outcome("")

    uses = [use("bash", f"toolu_{n}", command=str(n)) for n in range(3)]
    room = Room(WrittenModel(reply(*uses), reply("done")), MemorySandboxes(hand))
    await room.open()
    async with room.worker():
        await room.say("go")
        await room.until("session.status_idle")
    assert order == ["begin 0", "end 0", "begin 1", "end 1", "begin 2", "end 2"]


async def test_each_failed_attempt_is_logged_and_the_turn_goes_on() -> None:
    busy = ModelFailure("busy", kind="model_overloaded_error", retryable=True)
    room = Room(WrittenModel(busy, busy, reply("at last")))
    await room.open()
    async with room.worker():
        await room.say("hi")
        await room.until("session.status_idle")
    errors = await room.bodies("session.error")
    assert [error["error"]["retry_status"]["type"] for error in errors] == ["retrying", "retrying"]
    types = [row.type for row in await room.rows()]
    assert types.count("session.status_rescheduled") == 2
    assert types.count("session.status_running") == 3
    assert [body["is_error"] for body in await room.bodies("span.model_request_end")] == [True, True, False]


async def test_a_model_that_no_endpoint_serves_any_more_ends_the_turn_with_the_reason() -> None:
    room = Room(WrittenModel())
    await room.open(AGENT | {"model": {"id": "gone"}})
    async with room.worker():
        await room.say("hi")
        await room.until("session.status_idle")
    (error,) = await room.bodies("session.error")
    assert "no endpoint serves" in error["error"]["message"]


async def test_retries_run_out_and_the_queue_is_dropped() -> None:
    busy = ModelFailure("busy", kind="model_overloaded_error", retryable=True)
    limits = Limits(model_attempts=2, backoff_first=0.001, backoff_most=0.002)
    room = Room(WrittenModel(busy, busy, reply("fresh start")), limits=limits)
    await room.open()
    async with room.worker():
        await room.say("hi")
        await room.until("session.status_idle")
        assert (await room.bodies("session.error"))[-1]["error"]["retry_status"] == {"type": "exhausted"}
        assert (await room.bodies("session.status_idle"))[0]["stop_reason"] == {"type": "retries_exhausted"}
        await room.say("again")
        await room.until("session.status_idle", 2)
    assert (await room.bodies("agent.message"))[0]["content"][0]["text"] == "fresh start"


async def test_a_failure_that_no_retry_can_mend_ends_the_turn_at_once() -> None:
    wrong = ModelFailure("invalid key", kind="model_request_failed_error", retryable=False)
    room = Room(WrittenModel(wrong))
    await room.open()
    async with room.worker():
        await room.say("hi")
        await room.until("session.status_idle")
    assert [e["error"]["message"] for e in await room.bodies("session.error")] == ["invalid key"]


async def hang(_call: Any, on_delta: Any) -> ModelReply:
    on_delta(Delta("start", 0, "text"))
    on_delta(Delta("text", 0, text="I was about to"))
    await asyncio.Event().wait()
    raise AssertionError


async def test_an_interrupt_stops_a_reply_under_way_and_the_next_message_works() -> None:
    room = Room(WrittenModel(hang, reply("new topic")))
    await room.open()
    async with room.worker():
        await room.say("talk")
        await room.until("model.request")
        await room.send({"type": "user.interrupt"}, {"type": "user.message", "content": events.text_blocks("stop")})
        await room.until("session.status_idle", 2)
    types = [row.type for row in await room.rows()]
    assert types.count("agent.message") == 1
    assert types.index("span.model_request_end") < types.index("session.status_idle")
    assert room.model.calls[1].body["messages"][0]["content"][1]["text"] == "stop"


async def test_an_interrupt_stops_a_running_tool_with_the_documented_result() -> None:
    started = asyncio.Event()

    async def hand(_call: ToolCall) -> ToolOutcome:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    room = Room(WrittenModel(reply(use("bash", command="sleep"))), MemorySandboxes(hand))
    await room.open()
    async with room.worker():
        await room.say("go")
        async with asyncio.timeout(WAIT):
            await started.wait()
        await room.send({"type": "user.interrupt"})
        await room.until("session.status_idle")
    result = (await room.bodies("agent.tool_result"))[0]
    assert result["content"][0]["text"] == events.INTERRUPTED_TEXT
    assert result["is_error"]


async def test_messages_sent_meanwhile_are_taken_up_together_when_the_turn_would_end() -> None:
    gate = asyncio.Event()

    async def slow(_call: Any, _on_delta: Any) -> ModelReply:
        await gate.wait()
        return reply("first answer")

    room = Room(WrittenModel(slow, reply("second answer")))
    await room.open()
    async with room.worker():
        await room.say("one")
        await room.until("model.request")
        await room.say("two")
        await room.say("three")
        gate.set()
        await room.until("session.status_idle")
    assert [row.type for row in await room.rows()].count("session.status_idle") == 1
    content = room.model.calls[1].body["messages"][-1]["content"]
    assert [block["text"] for block in content] == ["two", "three"]


async def test_asked_and_custom_calls_wait_without_a_lease_and_go_on_when_answered() -> None:
    uses = [use("write", "toolu_1", file_path="a", content="b"), use("lookup", "toolu_2", key="k")]
    room = Room(WrittenModel(reply(*uses), reply("thanks")))
    await room.open()
    async with room.worker():
        await room.say("go")
        await room.until("session.status_idle")
        ask, custom = (await room.bodies("session.status_idle"))[0]["stop_reason"]["event_ids"]
        assert await bury_all(room.store) == 0
        found = {"type": "user.custom_tool_result", "custom_tool_use_id": custom, "content": events.text_blocks("v")}
        await room.send(found)
        again = (await room.bodies("session.status_idle"))[1]["stop_reason"]
        assert again == {"type": "requires_action", "event_ids": [ask]}
        await room.send({"type": "user.tool_confirmation", "tool_use_id": ask, "result": "allow"})
        await room.until("session.status_idle", 3)
    assert (await room.bodies("session.status_idle"))[2]["stop_reason"] == {"type": "end_turn"}
    assert list(room.sandboxes.runs.values()) == [1]


async def test_a_new_owner_closes_the_open_request_and_asks_again_under_new_ids() -> None:
    room = Room(WrittenModel(hang, reply("recovered")))
    await room.open()
    async with room.worker("w1"):
        await room.say("hi")
        await room.until("model.request")
    async with room.worker("w2"):
        await room.until("session.status_idle")
    starts = [body["id"] for body in await room.bodies("span.model_request_start")]
    ends = await room.bodies("span.model_request_end")
    assert [end["model_request_start_id"] for end in ends] == starts
    assert [end["is_error"] for end in ends] == [True, False]


async def test_a_new_owner_attaches_to_the_running_call_and_never_runs_it_again() -> None:
    gate, started = asyncio.Event(), asyncio.Event()

    async def hand(_call: ToolCall) -> ToolOutcome:
        started.set()
        await gate.wait()
        return text_outcome("the one run's output")

    room = Room(WrittenModel(reply(use("bash", command="x")), reply("ok")), MemorySandboxes(hand))
    await room.open()
    async with room.worker("w1"):
        await room.say("go")
        async with asyncio.timeout(WAIT):
            await started.wait()
    async with room.worker("w2"):
        gate.set()
        await room.until("session.status_idle")
    assert list(room.sandboxes.runs.values()) == [1]
    assert (await room.bodies("agent.tool_result"))[0]["content"][0]["text"] == "the one run's output"


async def test_a_lost_sandbox_gives_an_interrupted_result_and_no_second_run() -> None:
    started = asyncio.Event()

    async def hand(_call: ToolCall) -> ToolOutcome:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    room = Room(WrittenModel(reply(use("bash", command="x")), reply("ok")), MemorySandboxes(hand))
    await room.open()
    async with room.worker("w1"):
        await room.say("go")
        async with asyncio.timeout(WAIT):
            await started.wait()
    room.sandboxes.forget()
    async with room.worker("w2"):
        await room.until("session.status_idle")
    assert list(room.sandboxes.runs.values()) == [1]
    assert (await room.bodies("agent.tool_result"))[0]["content"][0]["text"] == events.CALL_LOST_TEXT


async def test_a_reply_cut_by_the_length_limit_is_continued_and_a_cut_call_is_dropped() -> None:
    cut = reply("part one", use("bash", command="half a com"), stop="max_tokens")
    room = Room(WrittenModel(cut, reply("part two")))
    await room.open()
    async with room.worker():
        await room.say("write")
        await room.until("session.status_idle")
    assert [row.type for row in await room.rows()].count("agent.tool_use") == 0
    roles = [message["role"] for message in room.model.calls[1].body["messages"]]
    assert roles == ["user", "assistant", "user"]


async def test_a_paused_turn_is_sent_back_as_it_is() -> None:
    room = Room(WrittenModel(reply("searching", stop="pause_turn"), reply("found")))
    await room.open()
    async with room.worker():
        await room.say("search")
        await room.until("session.status_idle")
    assert room.model.calls[1].body["messages"][-1]["role"] == "assistant"


async def test_a_refusal_ends_the_turn_with_its_details_and_is_not_shown_to_the_model_again() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "no"}
    declined = ModelReply([{"type": "text", "text": "I can't"}], "refusal", details, {"output_tokens": 3})
    room = Room(WrittenModel(declined, reply("sure")))
    await room.open()
    async with room.worker():
        await room.say("bad")
        await room.until("session.status_idle")
        await room.say("good")
        await room.until("session.status_idle", 2)
    idle = (await room.bodies("session.status_idle"))[0]
    assert idle["stop_reason"] == {"type": "refusal"}
    assert idle["stop_details"] == details
    assert [message["role"] for message in room.model.calls[1].body["messages"]] == ["user"]


async def test_the_round_limit_ends_the_turn() -> None:
    calls = [reply(use("bash", f"toolu_{n}", command="x")) for n in range(4)]
    room = Room(WrittenModel(*calls), limits=Limits(tool_rounds=3))
    await room.open()
    async with room.worker():
        await room.say("loop")
        await room.until("session.status_idle")
    assert (await room.bodies("session.error"))[0]["error"]["type"] == "tool_use_limit_reached_error"
    assert len(room.model.calls) == 3


async def test_near_the_window_the_older_part_is_summarised_and_the_log_stays_whole() -> None:
    room = Room(WrittenModel(reply("long", input_tokens=900), reply("a summary"), reply("short")), window=1_000)
    await room.open()
    async with room.worker():
        await room.say("first question")
        await room.until("session.status_idle")
        await room.say("second question")
        await room.until("session.status_idle", 2)
    types = [row.type for row in await room.rows()]
    assert types.count("agent.thread_context_compacted") == types.count(events.SUMMARY) == 1
    text = str(room.model.calls[2].body["messages"])
    assert "a summary" in text
    assert "first question" not in text
    assert any(b"first question" in row.body for row in await room.rows())


async def test_thinking_blocks_go_back_unchanged_and_show_no_text() -> None:
    thought = {"type": "thinking", "thinking": "secret plan", "signature": "c2ln"}
    room = Room(WrittenModel(reply(thought, use("bash", command="x")), reply("ok")))
    await room.open()
    async with room.worker():
        await room.say("go")
        await room.until("session.status_idle")
    assert room.model.calls[1].body["messages"][1]["content"][0] == thought
    assert not any(row.public and b"secret plan" in row.body for row in await room.rows())


async def test_one_cache_mark_stands_after_the_system_and_one_at_the_end() -> None:
    room = Room(WrittenModel(reply(use("bash", command="x")), reply("ok")))
    await room.open()
    async with room.worker():
        await room.say("go")
        await room.until("session.status_idle")
    for call in room.model.calls:
        assert str(call.body).count("cache_control") == 2
        assert "cache_control" in call.body["system"][-1]
        assert "cache_control" in call.body["messages"][-1]["content"][-1]
    first, second = room.model.calls
    assert first.body["system"] == second.body["system"]
    assert first.body["tools"] == second.body["tools"]


@requirement("emitted:error:unknown_error")
async def test_a_driver_that_fails_again_and_again_gives_the_turn_up_with_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("outrider.harness.worker.PAUSE_SECONDS", 0.0)
    broken = [TypeError("a bug")] * 3
    room = Room(WrittenModel(*broken, reply("works again")))
    await room.open()
    async with room.worker():
        await room.say("hi")
        await room.until("session.status_idle")
        assert (await room.bodies("session.error"))[-1]["error"]["type"] == "unknown_error"
        await room.say("hi again")
        await room.until("session.status_idle", 2)
    assert (await room.store.session(KEY)).status == "idle"  # pyright: ignore[reportOptionalMemberAccess]
