"""What clients send: which events are taken, in what form they are kept, and what reaches the model."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import CUSTOM, Play
from live_server import Stage
from pydantic import BaseModel
from session_talk import confirm, message, result
from turns import every, kinds, only, refused, said, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import Barrier, Text, ToolUse, Turn

INTERRUPT: dict[str, Any] = {"type": "user.interrupt"}
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n not really an image").decode()
PDF = base64.b64encode(b"%PDF-1.4 not really a document").decode()
TEXT: dict[str, Any] = {"type": "text", "text": "Some text."}
IMAGE: dict[str, Any] = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
IMAGE_BY_URL: dict[str, Any] = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
DOCUMENTS: list[dict[str, Any]] = [
    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Plain."}, "title": "A title"},
    {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}, "context": "A context"},
]
SEARCH_RESULT: dict[str, Any] = {
    "type": "search_result",
    "source": "https://example.com/page",
    "title": "A page",
    "content": [{"type": "text", "text": "Found."}],
    "citations": {"enabled": True},
}

REFUSED_CONTENT: dict[str, Any] = {
    "search result": [SEARCH_RESULT],
    "redacted": [{"type": "redacted"}],
    "bare string": "a bare string",
    "empty": [],
    "blank": [{"type": "text", "text": " \n"}],
    "other image": [{"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": PIXEL}}],
    "unknown key": [{"type": "text", "text": "fine", "colour": "red"}],
}


def system(text: str) -> dict[str, Any]:
    return {"type": "system.message", "content": [{"type": "text", "text": text}]}


def without_nulls(blocks: list[Any]) -> list[dict[str, Any]]:
    """Blocks as sent: what the server fills in with null, and the mark for the prompt's cache, left out."""
    plain: list[dict[str, Any]] = [
        block.model_dump(exclude_none=True) if isinstance(block, BaseModel) else block for block in blocks
    ]
    return [{k: v for k, v in block.items() if v is not None and k != "cache_control"} for block in plain]


@requirement("events:send", "events:send:echoed", "events:send:in-order", "emitted:common")
def test_sent_events_are_answered_streamed_and_kept_under_one_id(play: Play) -> None:
    talk = play(Turn("Hi."))
    with talk.stream() as reader:
        sent = talk.send(message("one"), message("two"))
        reader.idle()
    assert [(event.type, text_of(event)) for event in sent] == [("user.message", "one"), ("user.message", "two")]
    ids = [event.id for event in sent]
    assert [event.id for event in every(talk.history(), "user.message")] == ids
    assert set(ids) == {event.id for event in every(reader.events, "user.message")}
    for event in talk.history():
        assert event.id.startswith("sevt_")
        assert event.processed_at is not None


@requirement("events:send:at-once", "events:send:while-running", "events:message:starts", "events:message:queued")
@requirement("ordering:processed-at:queued", "ordering:history:nulls-last", "status:idle-to-running")
def test_a_message_is_taken_at_once_and_waits_while_the_session_works(
    play: Play, stage: Stage, model_name: str
) -> None:
    barrier = f"busy-{model_name}"
    talk = play(Turn(Text(Barrier(barrier), "One.")), Turn("Two."))
    talk.say("first")
    assert talk.status() == "running"
    stage.arrived(barrier)
    waiting = [talk.say(text)[0] for text in ("second", "third")]
    assert [event.processed_at for event in waiting] == [None, None]
    history = talk.history()
    assert [event.id for event in history[-2:]] == [event.id for event in waiting]
    assert [event.processed_at is None for event in history] == [False] * (len(history) - 2) + [True, True]
    stage.release(barrier)
    talk.wait()
    texts = [text_of(event) for event in talk.history() if event.type in ("user.message", "agent.message")]
    assert texts == ["first", "One.", "second", "third", "Two."]


@requirement("events:message:several")
def test_several_waiting_messages_are_served_in_order_by_one_turn(play: Play, stage: Stage, model_name: str) -> None:
    barrier = f"busy-{model_name}"
    talk = play(Turn(Text(Barrier(barrier), "One.")), Turn("Both."))
    talk.say("first")
    stage.arrived(barrier)
    talk.send(message("second"), message("third"))
    stage.release(barrier)
    talk.wait()
    requests = stage.requests(model_name)
    assert len(requests) == 2
    assert [block["text"] for block in requests[1]["messages"][-1]["content"]] == ["second", "third"]


@requirement("events:list", "events:list:order", "events:list:types", "events:list:created-at", "emitted:no-internal")
def test_the_history_is_listed_by_order_type_and_time(play: Play) -> None:
    talk = play(Turn("One."), Turn("Two."))
    events = said(talk, "a", "b")
    assert events == sorted(events, key=lambda event: event.processed_at)
    assert talk.history(order="desc") == events[::-1]
    messages = [event for event in events if event.type in ("user.message", "agent.message")]
    assert talk.history(types=["user.message", "agent.message"]) == messages
    middle = messages[1].processed_at
    assert talk.history(created_at_gt=middle) == [e for e in events if e.processed_at > middle]
    assert talk.history(created_at_lte=middle) == [e for e in events if e.processed_at <= middle]
    public = ("user.", "agent.", "session.", "span.")
    assert all(event.type.startswith(public) for event in events)
    assert "session.created" not in kinds(events)


@requirement("events:send:all-or-nothing", "events:send:empty", "events:send:limit", "events:send:unknown-type")
@requirement("events:outcome:refused")
def test_one_bad_event_refuses_the_whole_request(play: Play) -> None:
    talk = play(Turn("Hi."))
    outcome = {"type": "user.define_outcome", "description": "d", "rubric": {"type": "text", "content": "c"}}
    agent_message = {"type": "agent.message", "content": [TEXT]}
    for bad in (outcome, agent_message, {"type": "user.unheard_of"}, {"content": [TEXT]}):
        with refused(400, "events.1"):
            talk.send(message("fine"), bad)
    with refused(400, "events"):
        talk.send()
    with refused(400, "events"):
        talk.send(*[message("one")] * 51)
    assert talk.history() == []
    assert talk.status() == "idle"
    with refused(400, "not offered by this server yet"):
        talk.send(outcome)
    assert len(talk.send(*[message("one")] * 50)) == 50
    talk.wait()


@requirement("events:send:unknown-session")
def test_an_unknown_session_takes_no_events(client: Anthropic) -> None:
    hello: Any = message("hello?")
    with refused(404, "sesn_unknown"):
        client.beta.sessions.events.send("sesn_unknown", events=[hello])


@requirement("events:send:message-while-waiting", "events:send:interrupt-then-message", "events:interrupt:waiting")
@requirement("status:requires-action:interrupt")
def test_a_message_has_to_wait_for_answers_or_follow_an_interrupt(play: Play, stage: Stage, model_name: str) -> None:
    talk = play(Turn(ToolUse("lookup", {"key": "a"}), ToolUse("lookup", {"key": "b"})), Turn("New."), tools=[CUSTOM])
    uses = said(talk, "go")[-1].stop_reason.event_ids
    with refused(400, "waiting on responses", *uses):
        talk.say("hello?")
    talk.send(INTERRUPT)
    assert talk.status() == "idle"
    assert len(stage.requests(model_name)) == 1
    after = kinds(talk.history())[-6:]
    assert after == [
        "user.interrupt",
        "user.custom_tool_result",
        "user.custom_tool_result",
        "session.thread_status_idle",
        "session.usage",
        "session.status_idle",
    ]
    assert talk.history()[-1].stop_reason.type == "end_turn"
    closed = every(talk.history(), "user.custom_tool_result")
    assert [(event.custom_tool_use_id, event.is_error) for event in closed] == [(use, True) for use in uses]
    assert {text_of(event) for event in closed} == {"Tool execution was interrupted before completion. Please retry."}
    assert text_of(every(said(talk, "go on"), "agent.message")[-1]) == "New."


@requirement("events:answer:unknown-id", "events:answer:other-kind")
@requirement("events:tool-result:cloud", "events:confirmation:deny-message", "events:confirmation:fields")
def test_an_answer_must_fit_the_call_that_it_names(play: Play) -> None:
    talk = play(Turn(ToolUse("lookup", {"key": "a"})), Turn("Done."), tools=[CUSTOM])
    (use,) = said(talk, "go")[-1].stop_reason.event_ids
    before = talk.history()
    for answer, named in (
        (result("sevt_unknown", "v"), '"sevt_unknown" does not match any `agent.custom_tool_use`'),
        (confirm("sevt_unknown", "allow"), '"sevt_unknown" does not match any `agent.tool_use`'),
        (confirm(use, "allow"), "does not match any `agent.tool_use`"),
        (confirm(use, "allow", deny_message="no"), "deny_message"),
        (confirm(use, "perhaps"), "result"),
        ({"type": "user.tool_result", "tool_use_id": use, "content": [TEXT]}, "self_hosted"),
    ):
        with refused(400, "events.0", named):
            talk.send(answer)
    assert talk.history() == before


@requirement("events:answer:repeated", "helpers:repeats-harmless", "helpers:results-echoed")
def test_a_repeated_answer_is_accepted_and_changes_nothing(play: Play) -> None:
    talk = play(Turn(ToolUse("lookup", {"key": "a"})), Turn("Done."), tools=[CUSTOM])
    (use,) = said(talk, "go")[-1].stop_reason.event_ids
    first, again = talk.send(result(use, "v"), result(use, "other"))
    assert (first.custom_tool_use_id, again.custom_tool_use_id) == (use, use)
    talk.wait()
    events = talk.history()
    talk.send(result(use, "v"))
    assert talk.history() == events
    assert text_of(only(events, "user.custom_tool_result")) == "v"
    assert len(every(events, "agent.message")) == 1


@requirement("events:content:text", "events:content:image", "events:content:image:base64", "events:content:image:url")
@requirement("events:content:document")
def test_content_reaches_history_and_model_unchanged(play: Play, stage: Stage, model_name: str) -> None:
    talk = play(Turn("I see."))
    content = [TEXT, IMAGE, IMAGE_BY_URL, *DOCUMENTS]
    talk.send({"type": "user.message", "content": content})
    talk.wait()
    assert without_nulls(only(talk.history(), "user.message").content) == content
    (request,) = stage.requests(model_name)
    assert without_nulls(request["messages"][-1]["content"]) == content


@requirement("events:content:search-result", "events:content:redacted", "events:content:bare-string")
@pytest.mark.parametrize("content", REFUSED_CONTENT.values(), ids=REFUSED_CONTENT.keys())
def test_a_message_with_other_content_is_refused(play: Play, content: Any) -> None:
    talk = play(Turn("Hi."))
    with refused(400, "events.0"):
        talk.send({"type": "user.message", "content": content})
    assert talk.history() == []


@requirement("events:custom-result:content", "events:content:search-result", "flows:custom:reaches-model")
@requirement("events:custom-result:is-error", "events:custom-result:processed-at-once")
@requirement("ordering:processed-at:on-receipt")
def test_a_custom_result_may_carry_all_kinds_of_content_to_the_model(play: Play, stage: Stage, model_name: str) -> None:
    talk = play(Turn(ToolUse("lookup", {"key": "a"}, id="toolu_1")), Turn("Done."), tools=[CUSTOM])
    (use,) = said(talk, "go")[-1].stop_reason.event_ids
    content = [TEXT, IMAGE, *DOCUMENTS, SEARCH_RESULT]
    (answer,) = talk.send(
        {"type": "user.custom_tool_result", "custom_tool_use_id": use, "content": content, "is_error": True}
    )
    assert answer.processed_at is not None
    talk.wait()
    assert without_nulls(only(talk.history(), "user.custom_tool_result").content) == content
    (block,) = stage.requests(model_name)[1]["messages"][-1]["content"]
    assert (block["type"], block["tool_use_id"], block["is_error"]) == ("tool_result", "toolu_1", True)
    assert without_nulls(block["content"]) == content


@requirement("events:custom-result:no-content")
def test_a_custom_result_without_content_is_empty(play: Play, stage: Stage, model_name: str) -> None:
    talk = play(Turn(ToolUse("lookup", {"key": "a"})), Turn("Done."), tools=[CUSTOM])
    (use,) = said(talk, "go")[-1].stop_reason.event_ids
    talk.send({"type": "user.custom_tool_result", "custom_tool_use_id": use})
    talk.wait()
    (block,) = stage.requests(model_name)[1]["messages"][-1]["content"]
    assert not block.get("content")
    assert not block.get("is_error")


@requirement("events:content:document", "events:content:search-result")
def test_what_a_model_would_refuse_of_a_block_does_not_reach_it(play: Play, stage: Stage, model_name: str) -> None:
    plain: dict[str, Any] = {"type": "text", "media_type": "text/plain", "data": "Plain."}
    documents = [{"type": "document", "source": plain, "title": title, "context": ""} for title in ("", "t" * 501)]
    results = [SEARCH_RESULT | {"content": texts} for texts in ([], [{"type": "text", "text": ""}, TEXT])]
    talk = play(Turn(ToolUse("lookup", {"key": "a"})), Turn("Done."), tools=[CUSTOM])
    talk.send({"type": "user.message", "content": documents})
    talk.wait()
    (use,) = talk.history()[-1].stop_reason.event_ids
    talk.send({"type": "user.custom_tool_result", "custom_tool_use_id": use, "content": [*documents, *results]})
    talk.wait()
    assert text_of(only(talk.history(), "agent.message")) == "Done."
    sent = [{"type": "document", "source": plain}, {"type": "document", "source": plain, "title": "t" * 500}]
    told = [{"type": "text", "text": "A page\nhttps://example.com/page"}, SEARCH_RESULT | {"content": [TEXT]}]
    first, _, last = stage.requests(model_name)[1]["messages"]
    assert without_nulls(first["content"]) == sent
    assert without_nulls(last["content"][0]["content"]) == [*sent, *told]


@requirement("events:interrupt:idle", "events:interrupt:has-id")
def test_an_interrupt_of_an_idle_session_is_kept_and_changes_nothing(play: Play) -> None:
    talk = play(Turn("Hi."))
    before = said(talk, "hello")
    (interrupt,) = talk.send(INTERRUPT)
    assert interrupt.id.startswith("sevt_")
    assert interrupt.processed_at is not None
    assert talk.history() == [*before, interrupt]
    assert talk.status() == "idle"


@requirement("events:interrupt:thread", "events:interrupt:unknown-thread")
def test_an_interrupt_may_name_the_thread(play: Play, stage: Stage, model_name: str) -> None:
    barrier = f"busy-{model_name}"
    talk = play(Turn(Text(Barrier(barrier), "Hi.")))
    thread = next(iter(talk.client.beta.sessions.threads.list(talk.id))).id
    talk.say("work")
    stage.arrived(barrier)
    with refused(400, "sthr_unknown"):
        talk.send(INTERRUPT | {"session_thread_id": "sthr_unknown"})
    talk.send(INTERRUPT | {"session_thread_id": thread})
    talk.wait()
    assert only(talk.history(), "user.interrupt").session_thread_id == thread
    assert not every(talk.history(), "agent.message")
    stage.release(barrier)


def speaking(play: Play, model_name: str, *answers: Turn) -> Any:
    return play(*answers, agent={"model": f"pro-{model_name}"}, tools=[CUSTOM])


@requirement("events:system:role", "events:system:alone", "events:system:form")
def test_a_system_message_stands_in_the_conversation_from_its_turn_on(
    play: Play, stage: Stage, model_name: str
) -> None:
    stage.put(f"pro-{model_name}", Turn("One."), Turn("Two."), Turn("Three."))
    talk = speaking(play, model_name)
    talk.send(message("first"), system("Be brief."))
    talk.wait()
    talk.send(system("Be kind."))
    assert talk.status() == "idle"
    said(talk, "second", "third")
    last = stage.requests(f"pro-{model_name}")[-1]
    turns = [
        (one["role"], block["text"]) for one in last["messages"] for block in one["content"] if block["type"] == "text"
    ]
    assert ("system", "Be brief.") in turns
    assert turns.index(("system", "Be brief.")) == turns.index(("user", "first")) + 1
    assert ("system", "Be kind.") in turns
    assert turns[-1] == ("user", "third")
    assert all("Be brief." not in block["text"] for block in last["system"])
    blocks = [{"type": "text", "text": "x"}] * 1000
    assert len(talk.send({"type": "system.message", "content": blocks})) == 1
    for content in ([], [*blocks, *blocks[:1]], [IMAGE]):
        with refused(400, "events.0"):
            talk.send({"type": "system.message", "content": content})


@requirement("events:system:last", "events:system:while-waiting")
def test_a_system_message_comes_last_behind_what_it_belongs_to(play: Play, stage: Stage, model_name: str) -> None:
    stage.put(f"pro-{model_name}", Turn(ToolUse("lookup", {"key": "a"})), Turn("Done."))
    talk = speaking(play, model_name)
    be_brief = system("Be brief.")
    for events in ((be_brief, message("x")), (message("x"), be_brief, be_brief), (INTERRUPT, be_brief)):
        with refused(400, "system.message"):
            talk.send(*events)
    (use,) = said(talk, "go")[-1].stop_reason.event_ids
    with refused(400, "system.message"):
        talk.send(be_brief)
    talk.send(result(use, "v"), be_brief)
    talk.wait()
    last = stage.requests(f"pro-{model_name}")[-1]
    assert [one["role"] for one in last["messages"]][-2:] == ["user", "system"]


@requirement("events:system:unsupported")
def test_a_model_that_takes_no_system_messages_has_a_reason(play: Play) -> None:
    reason = "model_does_not_support_mid_conversation_system"
    with refused(400, reason, error_code=reason):
        play(Turn("Hi.")).send(message("hi"), system("Be brief."))


@requirement("transport:body:unknown-field", "transport:body:not-json")
def test_a_body_must_be_an_object_of_known_fields(raw: httpx2.Client, play: Play) -> None:
    path = f"/v1/sessions/{play(Turn('Hi.')).id}/events"
    known = b'{"events": [{"type": "user.interrupt"}], "eventz": []}'
    for body, named in (
        (known, "eventz"),
        (b"not json", "JSON"),
        (b"[]", ""),
        (b"", "JSON"),
    ):
        answer = raw.post(path, content=body)
        assert answer.status_code == 400
        assert named in answer.json()["error"]["message"]
