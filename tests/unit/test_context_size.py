"""A context that outgrows the model's window, or that the model declines: what stays in view, and that a session always
goes on."""

from __future__ import annotations

from typing import Any

import pytest
from harness_room import Room, WrittenModel, reply, use
from session_sim import AGENT

from outrider.harness.context import build_request
from outrider.ports.model import ModelProfile, ModelReply
from outrider.ports.sandbox import ToolCall, ToolOutcome, text_outcome
from outrider.session import size
from outrider.session.state import Context
from outrider.testing.memory_sandbox import MemorySandboxes

pytestmark = pytest.mark.anyio

WINDOW = 10_000
DECLINED = ModelReply([{"type": "text", "text": "I can't"}], "refusal", {"type": "refusal"}, {"output_tokens": 3})


def text(message: dict[str, Any]) -> str:
    return str(message["content"])


async def test_a_tool_result_beyond_the_window_is_summarised_before_the_model_is_asked_again() -> None:
    async def hand(_call: ToolCall) -> ToolOutcome:
        return text_outcome("begin " + "x" * 8 * WINDOW + " end")

    model = WrittenModel(reply(use("bash", command="x")), reply("a summary"), reply("done"))
    room = Room(model, MemorySandboxes(hand), window=WINDOW)
    await room.open()
    async with room.worker():
        await room.say("go")
        await room.until("session.status_idle")
    asked = [call.body["messages"] for call in model.calls]
    assert [size.of_messages(messages) < WINDOW for messages in asked] == [True, True, True]
    assert "begin xxx" in str(asked[1])
    assert "xxx end" in str(asked[1])
    assert "a summary" in str(asked[2])
    assert await room.bodies("session.error") == []


async def test_a_single_message_beyond_the_window_does_not_end_the_session() -> None:
    model = WrittenModel(reply("a summary"), reply("done"))
    room = Room(model, window=WINDOW)
    await room.open()
    async with room.worker():
        await room.say("y" * 8 * WINDOW)
        await room.until("session.status_idle")
    assert all(size.of_messages(call.body["messages"]) < WINDOW for call in model.calls)
    assert await room.bodies("session.error") == []


def profile(**given: Any) -> ModelProfile:
    return ModelProfile("e", "m", window=WINDOW, **given)


def test_a_request_for_a_summary_fits_the_window_however_many_messages_there_are() -> None:
    messages: list[dict[str, Any]] = []
    for number in range(800):
        call = {"type": "tool_use", "id": f"t{number}", "name": "bash", "input": {"command": "c" * 200}}
        result = {"type": "tool_result", "tool_use_id": f"t{number}", "content": [{"type": "text", "text": "r" * 200}]}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    messages.insert(0, {"role": "user", "content": [{"type": "text", "text": "the task"}]})
    asked = build_request(Context(AGENT, messages=messages), profile(), purpose="compaction")["messages"]
    assert size.of_messages(asked) < WINDOW
    assert asked[0]["role"] == "user"
    assert not any(block["type"] == "tool_result" for block in asked[0]["content"])
    assert "t799" in str(asked)


def test_images_and_long_inputs_are_left_out_of_an_overlong_request_for_a_summary() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 400}}
    call = {"type": "tool_use", "id": "t1", "name": "write", "input": {"file_path": "f", "content": "z" * 8 * WINDOW}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [image]}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "look"}, *[image] * 5]},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    before = str(messages)
    asked = build_request(Context(AGENT, messages=messages), profile(), purpose="compaction")["messages"]
    assert size.of_messages(asked) < WINDOW
    assert "AAAA" not in str(asked)
    assert "look" in text(asked[0])
    assert asked[1]["content"][0]["input"]["file_path"] == "f"
    assert str(messages) == before


async def test_the_message_that_is_to_be_answered_stays_beside_the_summary() -> None:
    model = WrittenModel(reply("w" * 20_000, input_tokens=9_000), reply("a summary"), reply("ok"))
    room = Room(model, window=WINDOW)
    await room.open()
    async with room.worker():
        await room.say("first question")
        await room.until("session.status_idle")
        await room.say("second question")
        await room.until("session.status_idle", 2)
    last = model.calls[2].body["messages"]
    assert [message["role"] for message in last] == ["user"]
    assert "a summary" in text(last[0])
    assert "second question" in text(last[0])
    assert "first question" not in text(last[0])


async def test_system_messages_outlive_a_summary() -> None:
    model = WrittenModel(reply("w" * 20_000, input_tokens=9_000), reply("a summary"), reply("ok"))
    room = Room(model, window=WINDOW, mid_conversation_system=True)
    await room.open()
    async with room.worker():
        await room.send(*spoken("first question", "Answer in rhymes."))
        await room.until("session.status_idle")
        await room.say("second question")
        await room.until("session.status_idle", 2)
    roles = [(message["role"], text(message)) for message in model.calls[2].body["messages"]]
    assert [role for role, _ in roles] == ["user", "system", "user"]
    assert "Answer in rhymes." in roles[1][1]


def spoken(said: str, system: str) -> list[dict[str, Any]]:
    return [
        {"type": kind, "content": [{"type": "text", "text": words}]}
        for kind, words in (("user.message", said), ("system.message", system))
    ]


async def test_a_declined_summary_replaces_nothing_and_is_asked_for_again() -> None:
    model = WrittenModel(reply("long", input_tokens=9_000), DECLINED, reply("a summary"), reply("ok"))
    room = Room(model, window=WINDOW)
    await room.open()
    async with room.worker():
        await room.say("first question")
        await room.until("session.status_idle")
        await room.say("second question")
        await room.until("session.status_idle", 2)
    assert "I can't" not in str(model.calls[3].body["messages"])
    assert "a summary" in str(model.calls[3].body["messages"])
    ends = await room.bodies("span.model_request_end")
    assert [(end["is_error"], end["model_usage"]["output_tokens"]) for end in ends][1] == (True, 3)


async def test_a_declined_message_leaves_the_view_and_what_went_before_stays() -> None:
    model = WrittenModel(reply("fine"), DECLINED, reply("sure"))
    room = Room(model)
    await room.open()
    async with room.worker():
        for count, said in enumerate(("a good question", "a bad question", "another question"), start=1):
            await room.say(said)
            await room.until("session.status_idle", count)
    seen = model.calls[2].body["messages"]
    assert [message["role"] for message in seen] == ["user", "assistant", "user"]
    assert "a good question" in text(seen[0])
    assert "another question" in text(seen[2])
    assert "a bad question" not in str(seen)


async def test_a_turn_declined_after_some_work_leaves_the_view_with_a_note() -> None:
    model = WrittenModel(reply("fine"), reply(use("bash", command="x")), DECLINED, reply("sure"))
    room = Room(model)
    await room.open()
    async with room.worker():
        for count, said in enumerate(("a good question", "a bad question", "another question"), start=1):
            await room.say(said)
            await room.until("session.status_idle", count)
    seen = model.calls[3].body["messages"]
    assert [message["role"] for message in seen] == ["user", "assistant", "user"]
    assert "declined" in text(seen[2])
    assert "another question" in text(seen[2])
    assert "a bad question" not in str(seen)
    assert "tool_use" not in str(seen)


async def test_system_messages_of_a_declined_turn_stay_in_force() -> None:
    room = Room(WrittenModel(DECLINED, reply("sure")), mid_conversation_system=True)
    await room.open()
    async with room.worker():
        await room.send(*spoken("a bad question", "Answer in rhymes."))
        await room.until("session.status_idle")
        await room.say("another question")
        await room.until("session.status_idle", 2)
    seen = room.model.calls[1].body["messages"]
    assert "a bad question" not in str(seen)
    assert "Answer in rhymes." in str(seen)
    assert seen[0]["role"] == "user"
