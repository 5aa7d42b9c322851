"""How a session's status moves, and in which order events say so: turns, failures and retries, limits, interrupts."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event as Pause
from typing import Any

import pytest
from conftest_types import CUSTOM, Play
from live_server import Server, Stage
from session_talk import Talk, message
from turns import TOOLSET, every, kinds, only, refused, said, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import (
    Answer,
    Barrier,
    Cut,
    ErrorEvent,
    HttpError,
    Request,
    Text,
    Thinking,
    ToolUse,
    Turn,
    Usage,
)

INTERRUPT: dict[str, Any] = {"type": "user.interrupt"}
INTERRUPTED = "Tool execution was interrupted before completion. Please retry."
REST = ["session.thread_status_idle", "session.usage", "session.status_idle"]


def fails_then(times: int, failure: Answer, answer: Answer) -> Callable[[Request], Answer]:
    """A model that fails so many times first."""
    left = [failure] * times

    def decide(_request: Request) -> Answer:
        return left.pop() if left else answer

    return decide


@requirement("ordering:turn", "ordering:turn:running-once", "ordering:turn:first-thread-status")
@requirement("ordering:turn:usage-before-idle", "ordering:turn:spans-enclose", "status:running-to-idle")
@requirement("emitted:agent.message", "emitted:session.status_running", "emitted:session.status_idle")
@requirement("emitted:session.usage", "emitted:session.thread_status_running", "emitted:session.thread_status_idle")
@requirement("emitted:span.model_request_start", "emitted:span.model_request_end", "emitted:stop:end_turn")
@requirement("emitted:span.model_request_end:usage", "emitted:session.thread_created:not-primary")
def test_a_turn_with_two_model_requests_is_told_in_order(play: Play) -> None:
    usage = Usage(11, 12, 13, 14)
    talk = play(Turn("Let me see.", ToolUse("glob", {"pattern": "*"})), Turn("Done.", usage=usage), tools=[TOOLSET])
    events = said(talk, "hi")
    assert kinds(events) == [
        "session.status_running",
        "session.thread_status_running",
        "user.message",
        "span.model_request_start",
        "agent.message",
        "agent.tool_use",
        "span.model_request_end",
        "agent.tool_result",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        *REST,
    ]
    starts, ends = every(events, "span.model_request_start"), every(events, "span.model_request_end")
    assert [end.model_request_start_id for end in ends] == [start.id for start in starts]
    assert [end.is_error for end in ends] == [False, False]
    counts = ends[1].model_usage
    assert (counts.input_tokens, counts.output_tokens) == (11, 12)
    assert (counts.cache_read_input_tokens, counts.cache_creation_input_tokens) == (13, 14)
    thread = next(iter(talk.client.beta.sessions.threads.list(talk.id)))
    for event in (events[1], events[-3]):
        assert (event.session_thread_id, event.agent_name) == (thread.id, "tester")
    for event in (events[-3], events[-1]):
        assert (event.stop_reason.type, event.stop_details) == ("end_turn", None)
    assert [text_of(event) for event in every(events, "agent.message")] == ["Let me see.", "Done."]


@requirement("ordering:processed-at:twice-on-stream", "ordering:processed-at:once-in-history")
@requirement("ordering:history:as-stream", "transport:ids:sortable")
def test_the_stream_and_the_history_tell_the_same_story(play: Play) -> None:
    talk = play(Turn(ToolUse("glob", {"pattern": "*"}), "Hm."), Turn("One."), Turn("Two."), tools=[TOOLSET])
    with talk.stream() as reader:
        for text in ("a", "b"):
            talk.say(text)
            reader.idle("end_turn")
    history = talk.history()
    processed = [event for event in reader.events if event.processed_at is not None]
    assert processed == history
    waiting = [event for event in reader.events if event.processed_at is None]
    assert [event.type for event in waiting] == ["user.message", "user.message"]
    taken = every(history, "user.message")
    assert [event.id for event in waiting] == [event.id for event in taken]
    first_seen = list(dict.fromkeys(event.id for event in reader.events))
    assert [one for one in first_seen if one not in previewed(history)] == sorted(
        one for one in first_seen if one not in previewed(history)
    )


def previewed(events: list[Any]) -> set[str]:
    """Ids that are given out when a model's answer begins, so before that of the answer's end."""
    return {event.id for event in events if event.type.startswith("agent.")}


@requirement("emitted:agent.thinking", "ordering:turn:spans-enclose")
def test_a_finished_thinking_block_is_told_without_its_text(play: Play) -> None:
    events = said(play(Turn(Thinking("Secret thought."), "Hello.")), "hi")
    thinking = only(events, "agent.thinking")
    assert thinking.to_dict().keys() == {"id", "type", "processed_at"}
    assert kinds(events)[3:7] == [
        "span.model_request_start",
        "agent.thinking",
        "agent.message",
        "span.model_request_end",
    ]


FAILURES: list[tuple[Answer, str]] = [
    (HttpError(529, "overloaded_error"), "model_overloaded_error"),
    (HttpError(429, "rate_limit_error"), "model_rate_limited_error"),
    (HttpError(500, "api_error"), "model_request_failed_error"),
    (Turn(Text("I was ", ErrorEvent())), "model_overloaded_error"),
    (Turn(Text("I was ", Cut())), "model_request_failed_error"),
]


@requirement("status:rescheduling", "status:rescheduling-to-running", "emitted:session.status_rescheduled")
@requirement("emitted:session.thread_status_rescheduled", "emitted:session.error", "ordering:failed-request:no-message")
@requirement("emitted:span.model_request_end:always", "emitted:error:model_request_failed_error")
@pytest.mark.parametrize(("failure", "kind"), FAILURES)
def test_a_passing_failure_of_the_model_is_retried(play: Play, failure: Answer, kind: str) -> None:
    talk = play(decide=fails_then(2, failure, Turn("At last.")))
    events = said(talk, "hi")
    attempt = [
        "span.model_request_start",
        "span.model_request_end",
        "session.error",
        "session.status_rescheduled",
        "session.thread_status_rescheduled",
        "session.status_running",
        "session.thread_status_running",
    ]
    assert kinds(events)[3:] == [
        *attempt,
        *attempt,
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        *REST,
    ]
    assert [event.is_error for event in every(events, "span.model_request_end")] == [True, True, False]
    errors = [event.error for event in every(events, "session.error")]
    assert [(error.type, error.retry_status.type) for error in errors] == [(kind, "retrying")] * 2
    assert all(error.message for error in errors)
    assert events[-1].stop_reason.type == "end_turn"


@requirement("status:retries-exhausted", "status:retries-exhausted:goes-on", "emitted:stop:retries_exhausted")
@requirement("emitted:error:model_overloaded_error", "emitted:error:model_rate_limited_error")
@pytest.mark.parametrize(("failure", "kind"), FAILURES[:2])
def test_used_up_retries_end_the_turn_and_a_new_message_works(play: Play, failure: Answer, kind: str) -> None:
    talk = play(decide=fails_then(5, failure, Turn("At last.")))
    events = said(talk, "hi")
    errors = [event.error for event in every(events, "session.error")]
    assert [error.retry_status.type for error in errors] == ["retrying"] * 4 + ["exhausted"]
    assert {error.type for error in errors} == {kind}
    assert kinds(events)[-4:] == ["session.error", *REST]
    assert events[-1].stop_reason.type == events[-3].stop_reason.type == "retries_exhausted"
    assert talk.status() == "idle"
    assert text_of(only(said(talk, "again"), "agent.message")) == "At last."


@requirement("status:retries-exhausted:queue-dropped")
def test_waiting_input_is_dropped_when_retries_run_out(play: Play, stage: Stage, model_name: str) -> None:
    barrier = f"busy-{model_name}"
    failing = fails_then(5, Turn(Text(Barrier(barrier), ErrorEvent())), Turn("At last."))
    talk = play(decide=failing)
    talk.say("first")
    stage.arrived(barrier)
    (dropped,) = talk.say("dropped")
    stage.release(barrier)
    for _ in range(4):
        stage.arrived(barrier)
        stage.release(barrier)
    talk.wait()
    assert talk.history()[-1].stop_reason.type == "retries_exhausted"
    assert next(event for event in talk.history() if event.id == dropped.id).processed_at is not None
    said(talk, "second")
    (*_, last) = stage.requests(model_name)
    texts = [block["text"] for one in last["messages"] for block in one["content"]]
    assert texts == ["first", "second"]


@requirement("emitted:error:billing_error", "emitted:error:model_request_failed_error", "status:retries-exhausted")
@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (HttpError(402, "billing_error"), "billing_error"),
        (HttpError(400, "invalid_request_error"), "model_request_failed_error"),
    ],
)
def test_a_failure_that_no_retry_helps_ends_the_turn_at_once(play: Play, failure: Answer, kind: str) -> None:
    talk = play(decide=fails_then(1, failure, Turn("Fine now.")))
    events = said(talk, "hi")
    error = only(events, "session.error").error
    assert (error.type, error.retry_status.type) == (kind, "exhausted")
    assert len(every(events, "span.model_request_start")) == 1
    assert events[-1].stop_reason.type == "retries_exhausted"
    assert text_of(only(said(talk, "again"), "agent.message")) == "Fine now."


@requirement("sessions:object:status", "sessions:archive:running")
def test_a_session_that_waits_for_a_retry_is_rescheduling(play_other: Play) -> None:
    talk = play_other(decide=fails_then(1, HttpError(529, "overloaded_error", retry_after="30"), Turn("Hi.")))
    talk.say("hi")
    talk.wait("rescheduling")
    (listed,) = talk.client.beta.sessions.list(statuses=["rescheduling"])
    assert listed.id == talk.id
    with refused(400, "rescheduling"):
        talk.client.beta.sessions.archive(talk.id)
    talk.send(INTERRUPT)
    talk.wait()
    assert talk.history()[-1].stop_reason.type == "end_turn"


@requirement("status:refusal", "emitted:stop:refusal")
def test_a_refusal_of_the_model_ends_the_turn_with_its_details(play: Play) -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    talk = play(Turn("I can't.", stop_reason="refusal", stop_details=details), Turn("This I can."))
    events = said(talk, "bad idea")
    for event in (events[-1], events[-3]):
        assert event.stop_reason.type == "refusal"
        assert event.stop_details.to_dict() == details
    assert talk.status() == "idle"


@requirement("emitted:error:tool_use_limit_reached_error", "emitted:stop:retries_exhausted")
def test_too_many_tool_rounds_end_the_turn(play: Play) -> None:

    def decide(request: Request) -> Answer:
        return Turn("Enough.") if "stop" in request.last_text() else Turn(ToolUse("nothing"))

    talk = play(decide=decide)
    events = said(talk, "go")
    assert len(every(events, "agent.tool_result")) == 8  # as this server is configured
    error = only(events, "session.error").error
    assert (error.type, error.retry_status.type) == ("tool_use_limit_reached_error", "exhausted")
    assert kinds(events)[-4:] == ["session.error", *REST]
    assert events[-1].stop_reason.type == "retries_exhausted"
    assert text_of(only(said(talk, "stop"), "agent.message")) == "Enough."


def summarising(request: Request) -> bool:
    return "Write a summary" in str(request.messages[-1])


@requirement("emitted:agent.thread_context_compacted", "defaults:compaction-trigger")
def test_a_long_history_is_summarised_for_the_model_and_kept_in_the_log(
    play: Play, stage: Stage, model_name: str
) -> None:
    name = f"tiny-{model_name}"  # a window of 2,000 tokens

    def decide(request: Request) -> Answer:
        return Turn("Greetings were exchanged.") if summarising(request) else Turn("Hi.", usage=Usage(used[0], 1))

    used = [1594]  # with the reply's one token and the next message's estimated five: 1,600
    stage.put(name, decide=decide)
    talk = play(agent={"model": name})
    said(talk, "the first words", "the second words")
    assert not every(talk.history(), "agent.thread_context_compacted")  # 1,600 tokens are 80 %, not more
    used[0] = 1595
    said(talk, "the third words", "the fourth words")
    events = talk.history()
    compacted = kinds(events).index("agent.thread_context_compacted")
    assert kinds(events)[compacted - 1 : compacted + 2] == [
        "span.model_request_end",
        "agent.thread_context_compacted",
        "span.model_request_start",
    ]
    last = str(stage.requests(name)[-1]["messages"])
    assert "Greetings were exchanged." in last
    assert "the fourth words" in last
    assert "the first words" not in last
    assert "the first words" in [text_of(event) for event in every(events, "user.message")]


@requirement("emitted:error:compaction_limit_reached_error", "defaults:compactions")
def test_summaries_without_progress_end_the_turn(play: Play, stage: Stage, model_name: str) -> None:
    name = f"tiny-{model_name}"
    stage.put(name, decide=lambda request: Turn("w" * 9000 if summarising(request) else "Hi.", usage=Usage(1900, 1)))
    talk = play(agent={"model": name})
    events = said(talk, "one", "two")
    assert len(every(events, "agent.thread_context_compacted")) == 3
    error = only(events, "session.error").error
    assert (error.type, error.retry_status.type) == ("compaction_limit_reached_error", "exhausted")
    assert events[-1].stop_reason.type == "retries_exhausted"


def interrupted_in_output(play: Play, stage: Stage, model_name: str) -> Talk:
    """A session whose model is in the middle of its first answer."""
    barrier = f"mid-{model_name}"
    cut = Turn(Text("I was ", Barrier(barrier), "going on"))

    def decide(request: Request) -> Answer:
        return cut if request.last_text() == "talk" else Turn(f"<{request.last_text()}>")

    talk = play(decide=decide)
    talk.say("talk")
    stage.arrived(barrier)
    return talk


@requirement("events:interrupt:model-output", "events:interrupt:ends-turn", "emitted:span.model_request_end:always")
@requirement("ordering:failed-request:no-message", "emitted:stop:end_turn", "events:interrupt:then-message")
def test_an_interrupt_ends_a_turn_in_the_middle_of_output(play: Play, stage: Stage, model_name: str) -> None:
    talk = interrupted_in_output(play, stage, model_name)
    with talk.stream() as reader:
        (interrupt, _) = talk.send(INTERRUPT, message("next"))
        reader.until("agent.message")
        reader.idle("end_turn")
    events = talk.history()
    assert kinds(events)[3:9] == ["span.model_request_start", "span.model_request_end", "user.interrupt", *REST]
    assert events[5].id == interrupt.id
    assert events[5].processed_at is not None
    assert events[8].stop_reason.type == "end_turn"
    assert [text_of(event) for event in every(events, "agent.message")] == ["<talknext>"]


@requirement("events:interrupt:overtakes", "events:interrupt:queued-messages-kept", "events:interrupt:pending")
def test_an_interrupt_overtakes_waiting_messages_and_keeps_them(play: Play, stage: Stage, model_name: str) -> None:
    talk = interrupted_in_output(play, stage, model_name)
    with talk.stream() as reader:
        talk.say("queued one")
        talk.say("queued two")
        (interrupt,) = talk.send(INTERRUPT)
        assert interrupt.processed_at is None
        pending = reader.until(lambda event: event.id == interrupt.id)
        assert pending.processed_at is None
        reader.until(lambda event: event.id == interrupt.id and event.processed_at is not None)
        assert "session.status_idle" not in reader.types()
        reader.idle("end_turn")
        reader.until("agent.message")
        reader.idle("end_turn")
    texts = [text_of(event) for event in every(talk.history(), "user.message")]
    assert texts == ["talk", "queued one", "queued two"]
    assert text_of(only(talk.history(), "agent.message")) == "<talkqueued onequeued two>"


@requirement("events:interrupt:running-tool", "events:interrupt:open-calls")
def test_an_interrupt_kills_a_running_command(play: Play, server: Server) -> None:
    command = "echo begun > began; sleep 60; echo late > late"
    talk = play(Turn(ToolUse("bash", {"command": command})), Turn("Fine."), tools=[TOOLSET])
    talk.say("go")
    workspace = server.data / "sandboxes" / "sessions" / talk.id / "own" / "workspace"
    until(lambda: (workspace / "began").exists())
    talk.send(INTERRUPT)
    talk.wait()
    events = talk.history()
    outcome = only(events, "agent.tool_result")
    assert (outcome.is_error, text_of(outcome)) == (True, INTERRUPTED)
    assert events[-1].stop_reason.type == "end_turn"
    assert text_of(only(said(talk, "next"), "agent.message")) == "Fine."
    assert not (workspace / "late").exists()


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        Pause().wait(0.02)


@requirement("status:running-to-requires-action", "emitted:stop:requires_action", "ordering:turn:usage-before-idle")
@requirement("status:requires-action:some-answers", "status:requires-action:last-answer")
def test_unanswered_calls_end_with_requires_action_until_the_last_answer(play: Play) -> None:
    uses = Turn(*(ToolUse("lookup", {"key": key}) for key in "abc"))
    talk = play(uses, Turn("Done."), tools=[CUSTOM])
    events = said(talk, "go")
    waiting = [event.id for event in every(events, "agent.custom_tool_use")]
    assert kinds(events)[-3:] == REST
    for event in (events[-1], events[-3]):
        assert event.stop_reason.type == "requires_action"
        assert event.stop_reason.event_ids == waiting
    first, second, third = waiting
    for use, left in ((second, [first, third]), (first, [third])):
        answer = {"type": "user.custom_tool_result", "custom_tool_use_id": use}
        talk.send(answer)
        events = talk.history()
        assert kinds(events)[-4:] == ["user.custom_tool_result", *REST]
        assert events[-1].stop_reason.event_ids == left
        assert talk.status() == "idle"
    talk.send({"type": "user.custom_tool_result", "custom_tool_use_id": third})
    talk.wait()
    after = kinds(talk.history()[len(events) :])
    assert after[:3] == ["user.custom_tool_result", "session.status_running", "session.thread_status_running"]
    assert after[-3:] == REST
