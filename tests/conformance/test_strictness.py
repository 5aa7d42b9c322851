"""The check that runs beside every conformance test: whatever a client receives parses strictly as the SDK's types."""

from __future__ import annotations

import httpx2
from conftest_types import CUSTOM, Play
from strict_wire import Inspector
from turns import TOOLSET, refused

from conformance.requirements import requirement
from outrider.models.scripted.script import Thinking, ToolUse, Turn

HEADERS = httpx2.Headers({"request-id": "req_1"})


@requirement("transport:response:types")
def test_every_answer_and_event_of_a_session_is_read_strictly(play: Play, inspector: Inspector) -> None:
    uses = Turn(Thinking("Hm."), "Let me see.", ToolUse("bash", {"command": "true"}), ToolUse("lookup", {"key": "k"}))
    talk = play(uses, Turn("Done."), tools=[TOOLSET, CUSTOM])
    before = inspector.seen
    with talk.stream("agent.message", "agent.thinking") as reader:
        talk.say("go")
        reader.idle("requires_action")
    assert inspector.seen - before > len(reader.events) > 10
    with refused(404):
        talk.client.beta.sessions.retrieve("sesn_unknown")
    assert not inspector.breaches


def test_the_inspector_sees_unknown_keys_missing_keys_and_odd_frames() -> None:
    inspector = Inspector()
    deleted = httpx2.Request("DELETE", "http://server/v1/environments/env_1")
    inspector.body(deleted, 200, HEADERS, b'{"id":"env_1","type":"environment_deleted"}')
    assert not inspector.breaches
    inspector.body(deleted, 200, HEADERS, b'{"id":"env_1","type":"environment_deleted","more":1}')
    inspector.body(deleted, 200, HEADERS, b'{"type":"environment_deleted"}')
    inspector.body(deleted, 404, HEADERS, b'{"type":"error","error":{"type":"odd","message":""},"request_id":"req_1"}')
    inspector.body(deleted, 200, httpx2.Headers(), b'{"id":"env_1","type":"environment_deleted"}')
    stream = httpx2.Request("GET", "http://server/v1/sessions/sesn_1/events/stream")
    inspector.frame(stream, b"event: ping\ndata: {}")
    assert len(inspector.breaches) == 4
    inspector.frame(stream, b'data: {"id":"sevt_1"}')
    inspector.frame(stream, b'event: session.status_running\ndata: {"id":"sevt_1","type":"session.status_running"}')
    assert len(inspector.breaches) == 6
