"""Streams: their frames, what is on them and when they end, and live previews of text."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx2
from anthropic.lib.sessions import accumulate_managed_agents_event
from conftest_types import Play
from live_server import Server, Stage
from session_talk import Talk
from turns import every, kinds, only, refused, said, text_of

from conformance.requirements import requirement
from outrider.config import Limits
from outrider.models.scripted.script import Barrier, ErrorEvent, Request, Text, Thinking, ToolUse, Turn

REPLAY = 0.3  # seconds: past the time in which a stream still starts at the last send, on this server
END = "session.status_idle"


def frames(server: Server, talk: Talk, last: str, **query: Any) -> Generator[list[str]]:
    """The lines of each frame of the session's stream, as they are sent, up to the event of type `last`. Pings, which
    come when events take their time, are left out unless one is asked for."""
    headers = {"authorization": f"Bearer {server.key}", "anthropic-beta": "managed-agents-2026-04-01"}
    headers["accept"] = "application/json"
    url = f"{server.url}/v1/sessions/{talk.id}/events/stream"
    with httpx2.stream("GET", url, headers=headers, params=query, timeout=20) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield []  # the headers are here
        lines: list[str] = []
        for line in response.iter_lines():
            if line:
                lines.append(line)
                continue
            if last == "ping" or lines[0] != "event: ping":
                yield lines
                if last in "".join(lines):
                    return
            lines = []


@requirement("streaming:content-type", "streaming:event-name", "streaming:no-resume", "streaming:headers-first")
@requirement("transport:accept:by-route", "events:stream")
def test_a_stream_is_frames_of_a_name_and_one_json_object(play: Play, server: Server) -> None:
    talk = play(Turn("Hi.\nTwo lines."))
    stream = frames(server, talk, END)
    assert next(stream) == []  # before any event
    talk.say("hi")
    names: list[str] = []
    for lines in stream:
        name, data = lines
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        names.append(event["type"])
    assert names[-3:] == ["session.thread_status_idle", "session.usage", "session.status_idle"]


@requirement("streaming:event-name:message")
def test_a_setting_names_every_frame_message(play_other: Play, other_server: Server) -> None:
    talk = play_other(Turn("Hi."))
    stream = frames(other_server, talk, END)
    next(stream)
    talk.say("hi")
    assert {lines[0] for lines in stream} == {"event: message"}


@requirement("streaming:heartbeat")
def test_an_idle_stream_gets_pings(play: Play, server: Server) -> None:
    talk = play(Turn("Hi."))
    stream = frames(server, talk, "ping")  # often, as this server is configured
    next(stream)
    assert next(stream) == ["event: ping", "data: {}"]
    assert Limits().heartbeat == 20.0


@requirement("streaming:stays-open", "streaming:after-idle", "events:stream", "streaming:no-replay")
def test_a_stream_stays_open_over_idle_and_a_late_one_starts_with_the_next_turn(play: Play) -> None:
    talk = play(Turn("One."), Turn("Two."))
    with talk.stream() as reader:
        talk.say("first")
        reader.idle("end_turn")
        threading.Event().wait(REPLAY)
        with talk.stream() as late:
            assert late.nothing_yet()
            talk.say("second")
            reader.idle("end_turn")
            late.idle("end_turn")
    assert text_of(late.events[0]) == "second"
    assert [text_of(event) for event in every(reader.events, "agent.message")] == ["One.", "Two."]


@requirement("streaming:no-replay")
def test_a_stream_opened_right_after_a_send_starts_at_that_event(play_other: Play) -> None:
    talk = play_other(Turn("One."), Turn("Two."))
    said(talk, "first")
    (sent,) = talk.say("second")
    with talk.stream() as reader:
        reader.idle("end_turn")
    assert reader.events[0].id == sent.id


@requirement("streaming:no-replay")
def test_streams_that_are_opened_before_each_of_several_quick_turns_show_that_turn_alone(play: Play) -> None:
    talk = play(Turn("One."), Turn("Two."), Turn("Three."))
    told: list[list[str]] = []
    for text in ("first", "second", "third"):
        with talk.stream() as reader:
            talk.say(text)
            reader.idle("end_turn")
        told.append([text_of(event) for event in every(reader.events, "agent.message")])
    assert told == [["One."], ["Two."], ["Three."]]


@requirement("streaming:reconnect", "helpers:history-then-stream")
def test_a_stream_then_the_history_then_the_stream_tell_all(play: Play, stage: Stage, model_name: str) -> None:
    barrier = f"mid-{model_name}"
    talk = play(Turn(Text("One", Barrier(barrier), ".")))
    talk.say("first")
    stage.arrived(barrier)
    threading.Event().wait(REPLAY)
    with talk.stream() as reader:
        before = talk.history()
        stage.release(barrier)
        reader.idle("end_turn")
    known = {event.id for event in before}
    told = [*before, *(event for event in reader.events if event.id not in known)]
    assert told == talk.history()
    assert kinds(before)[-1] == "span.model_request_start"


@requirement("streaming:ends:terminated", "streaming:on-terminated", "helpers:ended")
def test_streams_end_with_the_session_and_a_late_one_repeats_its_end(play: Play) -> None:
    talk = play(Turn("Hi."))
    said(talk, "hi")
    threading.Event().wait(REPLAY)
    with talk.stream() as reader:
        talk.client.beta.sessions.archive(talk.id)
        end = reader.until("session.status_terminated")
        assert reader.ended.wait(20)
    assert reader.types() == ["session.thread_status_terminated", "session.status_terminated"]
    with talk.stream() as late:
        assert late.until("session.status_terminated").id == end.id
        assert late.ended.wait(20)
    assert late.types() == ["session.status_terminated"]


@requirement("streaming:unknown")
def test_an_unknown_session_or_thread_has_no_stream(play: Play) -> None:
    talk = play(Turn("Hi."))
    sessions = talk.client.beta.sessions
    other = next(iter(sessions.threads.list(play(Turn("Hi.")).id))).id
    with refused(404):
        sessions.events.stream("sesn_unknown")
    for thread in ("sthr_unknown", other):
        with refused(404, thread):
            sessions.threads.events.stream(thread, session_id=talk.id)


@requirement("streaming:previews:opt-in", "streaming:previews:start", "streaming:previews:prefix")
@requirement("streaming:previews:last", "streaming:previews:not-stored", "streaming:previews:accumulate")
def test_deltas_build_up_the_text_of_the_event_to_come(play: Play) -> None:
    answer = Turn(Text("One ", "two "), Text("three ", "four."), ToolUse("nothing"), chunk=3)
    talk = play(answer, Turn("Done."))
    with talk.stream("agent.message") as reader, talk.stream() as plain:
        talk.say("count")
        reader.idle("end_turn")
        plain.idle("end_turn")
    assert not {"event_start", "event_delta"} & set(plain.types())
    assert not {"event_start", "event_delta"} & set(kinds(talk.history()))
    starts = every(reader.events, "event_start")
    messages = every(reader.events, "agent.message")
    assert [start.event.id for start in starts] == [one.id for one in messages]
    first = messages[0]
    about = [event for event in reader.events if named(event) == first.id]
    assert [about[0].type, about[-1].type] == ["event_start", "agent.message"]
    assert {event.type for event in about[1:-1]} == {"event_delta"}
    snapshot: Any = None
    for event in about[:-1]:
        snapshot = accumulate_managed_agents_event(snapshot, event)
        for built, block in zip(snapshot.content, first.content, strict=False):
            assert block.text.startswith(built.text)
    assert [block.text for block in snapshot.content] == ["One two ", "three four."]
    assert accumulate_managed_agents_event(snapshot, first) == first


def named(event: Any) -> str:
    """The id of the event that this one is or is about."""
    if event.type == "event_start":
        return event.event.id
    return event.event_id if event.type == "event_delta" else event.id


@requirement("streaming:previews:thinking", "streaming:previews:opt-in")
def test_thinking_is_announced_without_deltas(play: Play) -> None:
    talk = play(Turn(Thinking("Hm, ", "well."), "Hello."))
    with talk.stream("agent.thinking") as reader:
        talk.say("hi")
        reader.idle("end_turn")
    assert only(reader.events, "event_start").event.to_dict() == {
        "id": only(reader.events, "agent.thinking").id,
        "type": "agent.thinking",
    }
    assert not every(reader.events, "event_delta")


@requirement("streaming:previews:early-end")
def test_a_request_that_fails_closes_its_preview_by_its_end(play: Play) -> None:
    tries = [Turn(Text("I was ", ErrorEvent())), Turn("Well.")]

    def decide(_request: Request) -> Turn:
        return tries.pop(0)

    talk = play(decide=decide)
    with talk.stream("agent.message") as reader:
        talk.say("hi")
        reader.idle("end_turn")
    lost, kept = (start.event.id for start in every(reader.events, "event_start"))
    types = [event.type for event in reader.events]
    order = [types.index(kind) for kind in ("event_start", "event_delta", "span.model_request_end", "session.error")]
    assert order == sorted(order)
    assert lost not in {event.id for event in talk.history()}
    assert only(talk.history(), "agent.message").id == kept


@requirement("streaming:previews:late")
def test_a_stream_that_comes_late_gets_no_previews_of_what_has_begun(play: Play, stage: Stage, model_name: str) -> None:
    barrier = f"mid-{model_name}"
    talk = play(Turn(Text("One ", Barrier(barrier), "two.")))
    with talk.stream("agent.message") as reader:
        talk.say("count")
        reader.until("event_delta")
        with talk.stream("agent.message") as late:
            stage.release(barrier)
            late.idle("end_turn")
    assert not {"event_start", "event_delta"} & set(late.types())
    assert text_of(only(late.events, "agent.message")) == "One two."


@requirement("streaming:previews:bad-value", "transport:query:arrays")
def test_only_messages_and_thinking_have_previews(play: Play, raw: httpx2.Client) -> None:
    talk = play(Turn("Hi."))
    for values in (["agent.tool_use"], ["agent.message", "all"], ["agent.message"] * 101, [""]):
        answer = raw.get(f"/v1/sessions/{talk.id}/events/stream", params={"event_deltas[]": values})
        assert answer.status_code == 400
        assert "event_deltas" in answer.json()["error"]["message"]


@contextmanager
def of_thread(talk: Talk, thread: str) -> Generator[list[Any]]:
    """The thread's stream, read in a thread of its own up to its idle event."""
    found: list[Any] = []
    stream = talk.client.beta.sessions.threads.events.stream(thread, session_id=talk.id)

    def read() -> None:
        for event in stream:
            found.append(event)
            if event.type == END:
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    yield found
    reader.join(20)
    stream.close()
    assert not reader.is_alive()


@requirement("streaming:primary-thread", "threads:stream", "threads:events", "threads:list", "threads:retrieve")
@requirement("threads:one-primary", "threads:object:primary", "threads:object:fields", "threads:object:null-stats")
def test_the_primary_thread_is_read_by_its_id(play: Play) -> None:
    talk = play(Turn("Hi."))
    sessions = talk.client.beta.sessions
    (thread,) = sessions.threads.list(talk.id)
    session = sessions.retrieve(talk.id)
    assert (thread.parent_thread_id, thread.session_id, thread.status) == (None, talk.id, "idle")
    assert (thread.stats, thread.usage, thread.workflow_run_id) == (None, None, None)
    shown = session.agent.to_dict()
    del shown["multiagent"]
    assert thread.agent.to_dict() == shown
    with talk.stream() as reader, of_thread(talk, thread.id) as found:
        talk.say("hi")
        reader.idle("end_turn")
    assert found == reader.events
    assert list(sessions.threads.events.list(thread.id, session_id=talk.id, limit=3)) == talk.history()
    after = sessions.threads.retrieve(thread.id, session_id=talk.id)
    assert after.id == thread.id
    assert (after.stats is not None, after.usage is not None) == (True, True)


@requirement("threads:list:statuses", "threads:archive:primary", "threads:stream:path")
def test_threads_are_listed_by_status_and_the_primary_one_cannot_be_archived(play: Play, raw: httpx2.Client) -> None:
    talk = play(Turn("Hi."))
    threads = talk.client.beta.sessions.threads
    (thread,) = threads.list(talk.id, statuses=["idle"])
    assert not list(threads.list(talk.id, statuses=["running", "terminated"]))
    with refused(400, "primary"):
        threads.archive(thread.id, session_id=talk.id)
    with refused(404):
        threads.retrieve("sthr_unknown", session_id=talk.id)
    answer = raw.get(f"/v1/sessions/{talk.id}/threads/{thread.id}/events/stream")
    assert answer.status_code == 404
    assert raw.get(f"/v1/sessions/{talk.id}/threads", params={"statuses[]": "asleep"}).status_code == 400
