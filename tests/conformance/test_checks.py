"""The end-to-end checks that a server has to pass with the unmodified SDK."""

from __future__ import annotations

import re
import threading
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import CUSTOM, Play
from live_server import Server, Stage
from on_disk import until_there
from session_talk import Talk, confirm, message, result

from conformance.requirements import requirement
from outrider.api.app import ROUTES
from outrider.models.scripted.script import Barrier, Text, ToolUse, Turn

ASK_BASH: list[Any] = [
    {
        "type": "agent_toolset_20260401",
        "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}],
    }
]


def refused(code: int, *words: str) -> Any:
    """A block that must raise this status, with these words in the message."""
    return pytest.raises(
        anthropic.APIStatusError, check=lambda e: e.status_code == code and all(w in e.message for w in words)
    )


@requirement("check:1")
def test_a_stream_opened_before_a_send_sees_a_whole_turn_in_order(play: Play) -> None:
    talk = play(Turn("Hello."))
    with talk.stream() as reader:
        talk.say("hi")
        reader.idle("end_turn")
    assert reader.types() == [
        "user.message",
        "session.status_running",
        "session.thread_status_running",
        "user.message",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        "session.thread_status_idle",
        "session.usage",
        "session.status_idle",
    ]
    queued, taken = (event for event in reader.events if event.type == "user.message")
    assert queued.processed_at is None
    assert taken.processed_at is not None
    assert queued.id == taken.id


@requirement("check:2")
def test_a_stream_opened_after_idle_gets_nothing_until_the_next_turn(play: Play) -> None:
    talk = play(Turn("One."), Turn("Two."))
    with talk.stream() as reader:
        talk.say("first")
        reader.idle()
    threading.Event().wait(0.3)  # past the time in which a stream still starts at the last send
    with talk.stream() as late:
        assert late.nothing_yet()
        talk.say("second")
        late.idle()
    assert late.events[0].content[0].text == "second"


@requirement("check:3")
def test_the_reconnect_recipe_under_load_loses_and_repeats_nothing(play: Play) -> None:
    turns = [Turn(f"Answer {n}.") for n in range(12)]
    talk = play(*turns)
    seen: list[str] = []
    known: set[str] = set()

    def take(event: Any) -> bool:
        """Note an event unless it is known; True for the very last one."""
        if event.id not in known:
            known.add(event.id)
            seen.append(event.id)
        return event.type == "session.updated"

    def follow() -> None:
        while True:
            with talk.client.beta.sessions.events.stream(talk.id) as stream:
                if any(take(event) for event in talk.client.beta.sessions.events.list(talk.id, limit=1000)):
                    return
                for count, event in enumerate(stream, start=1):
                    if take(event):
                        return
                    if count == 7:
                        break

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    for number in range(12):
        talk.say(f"message {number}")
        talk.wait()
    talk.client.beta.sessions.update(talk.id, title="the last event")
    follower.join(20)
    assert not follower.is_alive()
    assert seen.count(seen[-1]) == 1
    assert sorted(seen) == sorted({event.id for event in talk.history()})


@requirement("check:4")
def test_a_custom_tool_answered_before_idle_emits_no_requires_action(play: Play, server: Server) -> None:
    slow = [CUSTOM, {"type": "agent_toolset_20260401"}]
    waiting = ToolUse("bash", {"command": "touch begun; until [ -e go ]; do sleep 0.05; done"})
    talk = play(Turn(ToolUse("lookup", {"key": "k"}), waiting), Turn("Done."), tools=slow)
    workspace = server.data / "sandboxes" / "sessions" / talk.id / "own" / "workspace"
    with talk.stream() as reader:
        talk.say("go")
        use = reader.until("agent.custom_tool_use")
        talk.send(result(use.id, "value"))
        until_there(workspace / "begun")
        (workspace / "go").touch()
        reader.idle("end_turn")
    assert reader.types().count("session.status_idle") == 1


def two_pending(play: Play) -> tuple[Talk, Any]:
    talk = play(Turn(ToolUse("lookup", {"key": "a"}), ToolUse("lookup", {"key": "b"})), Turn("Done."), tools=[CUSTOM])
    return talk, None


@requirement("check:5")
def test_of_two_pending_calls_one_answered_leaves_idle_with_the_other(play: Play) -> None:
    talk, _ = two_pending(play)
    with talk.stream() as reader:
        talk.say("go")
        first, second = reader.idle("requires_action").stop_reason.event_ids
        talk.send(result(first, "1"))
        assert reader.idle("requires_action").stop_reason.event_ids == [second]
        talk.send(result(second, "2"))
        reader.until("session.status_running")
        reader.idle("end_turn")


@requirement("check:6")
def test_a_denied_call_is_an_error_result_and_the_turn_goes_on(play: Play) -> None:
    talk = play(Turn(ToolUse("bash", {"command": "rm -rf /"})), Turn("Understood."), tools=ASK_BASH)
    with talk.stream() as reader:
        talk.say("go")
        (use,) = reader.idle("requires_action").stop_reason.event_ids
        talk.send(confirm(use, "deny", deny_message="too dangerous"))
        outcome = reader.until("agent.tool_result")
        reader.idle("end_turn")
    assert outcome.is_error
    assert "denied" in outcome.content[0].text
    assert "too dangerous" in outcome.content[0].text


@requirement("check:7")
def test_confirmations_of_allowed_unknown_and_answered_calls(play: Play) -> None:
    uses = Turn(ToolUse("read", {"file_path": "x"}), ToolUse("bash", {"command": "true"}))
    talk = play(uses, Turn("Done."), tools=ASK_BASH)
    with talk.stream() as reader:
        talk.say("go")
        (asked,) = reader.idle("requires_action").stop_reason.event_ids
        allowed = next(e.id for e in reader.events if e.type == "agent.tool_use" and e.name == "read")
        with refused(400, "did not ask"):
            talk.send(confirm(allowed, "allow"))
        with refused(400, "does not match any"):
            talk.send(confirm("sevt_unknown", "allow"))
        talk.send(confirm(asked, "allow"))
        reader.idle("end_turn")
        talk.send(confirm(asked, "allow"))
        talk.send(confirm(asked, "deny"))
    assert talk.status() == "idle"


@requirement("check:8")
def test_a_message_while_waiting_is_refused_unless_an_interrupt_goes_before(play: Play) -> None:
    talk = play(Turn(ToolUse("lookup", {"key": "a"})), Turn("New topic."), tools=[CUSTOM])
    with talk.stream() as reader:
        talk.say("go")
        (use,) = reader.idle("requires_action").stop_reason.event_ids
        with refused(400, "waiting on responses", use):
            talk.say("hello?")
        talk.send({"type": "user.interrupt"}, message("something else"))
        reader.idle("end_turn")
        reader.idle("end_turn")
    assert any(e.type == "agent.message" and e.content[0].text == "New topic." for e in reader.events)


@requirement("check:9")
def test_an_interrupt_during_output_ends_the_turn_and_the_next_message_works(
    play: Play, stage: Stage, model_name: str
) -> None:
    barrier = f"mid-{model_name}"
    talk = play(Turn(Text("I was ", Barrier(barrier), "going on")), decide=None)
    stage.put(
        model_name,
        decide=lambda request: (
            Turn("Right.") if "stop" in request.last_text() else Turn(Text("I was ", Barrier(barrier), "so"))
        ),
    )
    with talk.stream() as reader:
        talk.say("talk")
        stage.arrived(barrier)
        talk.send({"type": "user.interrupt"})
        reader.until("span.model_request_end")
        reader.idle("end_turn")
        talk.say("stop that")
        reader.idle("end_turn")
    texts = [event.content[0].text for event in reader.events if event.type == "agent.message"]
    assert texts == ["Right."]


@requirement("check:10")
def test_initial_events_are_all_or_nothing_and_start_at_once(play: Play, client: Anthropic) -> None:
    before = len(list(client.beta.sessions.list(limit=1000)))
    bad: Any = {"type": "user.interrupt"}
    with refused(400, "initial_events.1"):
        play(Turn("Hi."), initial_events=[message("one"), bad])
    assert len(list(client.beta.sessions.list(limit=1000))) == before
    talk = play(Turn("Hi."), initial_events=[message("one")])
    assert talk.status() in ("running", "idle")
    talk.wait()
    assert [e.type for e in talk.history() if e.type == "agent.message"] == ["agent.message"]


@requirement("check:11")
def test_overrides_replace_whole_fields_of_the_agent(client: Anthropic, stage: Stage, model_name: str) -> None:
    stage.put(model_name, Turn("Hi."))
    agent = client.beta.agents.create(name="base", model=model_name, system="Be kind.")
    environment = client.beta.environments.create(name="tests")
    override: Any = {"type": "agent_with_overrides", "id": agent.id, "model": None}
    with refused(400, "agent_model_required"):
        client.beta.sessions.create(agent=override, environment_id=environment.id)
    override = {"type": "agent_with_overrides", "id": agent.id, "system": None}
    session = client.beta.sessions.create(agent=override, environment_id=environment.id)
    assert session.agent.system is None
    assert (session.agent.id, session.agent.version) == (agent.id, agent.version)
    assert client.beta.agents.retrieve(agent.id).system == "Be kind."


@requirement("check:12")
def test_an_update_without_change_keeps_the_version_and_a_stale_one_is_refused(
    client: Anthropic, stage: Stage, model_name: str
) -> None:
    agent = client.beta.agents.create(name="one", model=stage.put(model_name, Turn("Hi.")))
    assert client.beta.agents.update(agent.id, name="one").version == 1
    assert client.beta.agents.update(agent.id, name="two").version == 2
    with pytest.raises(anthropic.ConflictError) as caught:
        client.beta.agents.update(agent.id, name="two", version=1)
    assert caught.value.response.headers["x-should-retry"] == "false"


@requirement("check:13")
def test_the_sessions_list_goes_both_ways_and_a_cursor_keeps_its_order(play: Play, client: Anthropic) -> None:
    talk = play(Turn("Hi."))
    agent_id = client.beta.sessions.retrieve(talk.id).agent.id
    environment = client.beta.sessions.retrieve(talk.id).environment_id
    ids = [talk.id] + [client.beta.sessions.create(agent=agent_id, environment_id=environment).id for _ in range(4)]
    first = client.beta.sessions.list(agent_id=agent_id, limit=2)
    second = client.beta.sessions.list(agent_id=agent_id, limit=2, page=first.next_page or "")
    assert [s.id for s in [*first.data, *second.data]] == ids[:0:-1]
    assert second.prev_page is not None
    back = client.beta.sessions.list(agent_id=agent_id, limit=2, page=second.prev_page)
    assert [s.id for s in back.data] == [s.id for s in first.data]
    assert back.prev_page is None
    with refused(400, "order"):
        client.beta.sessions.list(agent_id=agent_id, limit=2, page=first.next_page or "", order="asc")
    assert [s.id for s in client.beta.sessions.list(agent_id=agent_id, order="asc", limit=2)] == ids


@requirement("check:14")
def test_archive_and_delete_only_at_rest(play: Play, stage: Stage, model_name: str) -> None:
    barrier = f"busy-{model_name}"
    talk = play(Turn(Text("Hm", Barrier(barrier), ".")))
    other = play(Turn("Hi."))
    sessions = talk.client.beta.sessions
    stage.put(model_name, Turn(Text("Hm", Barrier(barrier), ".")))
    talk.say("work")
    stage.arrived(barrier)
    with refused(400):
        sessions.archive(talk.id)
    with refused(400):
        sessions.delete(talk.id)
    stage.release(barrier)
    talk.wait()
    archived = sessions.archive(talk.id)
    assert archived.status == "terminated"
    assert archived.archived_at is not None
    assert sessions.archive(talk.id) == archived
    with refused(400):
        talk.say("more")
    assert talk.history()[-1].type == "session.status_terminated"
    sessions.delete(talk.id)
    with refused(404):
        sessions.retrieve(talk.id)
    sessions.delete(other.id)


@requirement("check:16")
def test_previews_are_a_prefix_and_live_only(play: Play, stage: Stage, model_name: str) -> None:
    barrier = f"preview-{model_name}"
    talk = play(Turn(Text("One ", Barrier(barrier), "two ", "three.")))
    with talk.stream("agent.message") as reader:
        talk.say("count")
        start = reader.until("event_start")
        reader.until("event_delta")
        stage.arrived(barrier)
        threading.Event().wait(0.3)  # past the time in which a stream still starts at the last send
        with talk.stream("agent.message") as late, talk.stream() as plain:
            stage.release(barrier)
            stored = reader.until("agent.message")
            late.idle()
            plain.idle()
        reader.idle()
    pieces = [e.delta.content.text for e in reader.events if e.type == "event_delta"]
    assert stored.id == start.event.id
    assert "".join(pieces) == "One two three." == stored.content[0].text
    for other in (late, plain):
        assert not {"event_start", "event_delta"} & set(other.types())
    assert not any(e.type.startswith("event_") for e in talk.history())


@requirement("check:20")
def test_requests_without_the_beta_header_or_a_key_are_refused_in_the_envelope(server: Server) -> None:
    authorized = {"authorization": f"Bearer {server.key}"}
    missing_beta = httpx2.get(f"{server.url}/v1/agents", headers=authorized)
    assert missing_beta.status_code == 404
    missing_key = httpx2.get(f"{server.url}/v1/agents", headers={"anthropic-beta": "managed-agents-2026-04-01"})
    assert missing_key.status_code == 401
    for answer, kind in ((missing_beta, "not_found_error"), (missing_key, "authentication_error")):
        body = answer.json()
        assert body["type"] == "error"
        assert body["error"]["type"] == kind
        assert body["request_id"] == answer.headers["request-id"]


@requirement("errors:404")
def test_an_id_that_no_store_can_hold_names_nothing(raw: httpx2.Client) -> None:
    """PostgreSQL holds no text with a NUL in it, not even to look for one."""
    named = [route for route in ROUTES if "{" in route.path]
    assert len(named) > 80
    for route in named:
        path = re.sub(r"{\w+}", "a%00b", route.path)
        answer = raw.request(route.method, path, headers={"anthropic-beta": ",".join(sorted(route.betas)[:1])})
        expected = 404 if "admin" in route.scopes else 403
        assert answer.status_code == expected, (route.method, path, answer.text)
    asked = {"name": "worker", "scope": "environment", "environment_id": "a\0b"}
    assert raw.post("/outrider/v1/keys", json=asked).status_code == 400
