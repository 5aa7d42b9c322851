"""Calls that need the client: custom tools, confirmations, and what the model is told of them."""

from __future__ import annotations

import threading
from typing import Any

from conftest_types import CUSTOM, Play
from live_server import Server, Stage
from session_talk import Talk, confirm, result
from turns import TOOLSET, every, kinds, only, refused, said, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import ToolUse, Turn

ASK: dict[str, Any] = {"type": "always_ask"}
ALLOW: dict[str, Any] = {"type": "always_allow"}
ASK_ALL: dict[str, Any] = TOOLSET | {"default_config": {"permission_policy": ASK}}
LISTING = ToolUse("glob", {"pattern": "*"})


def lookups(*keys: str) -> Turn:
    return Turn(*(ToolUse("lookup", {"key": key}) for key in keys))


@requirement("flows:custom:use", "flows:custom:requires-action", "emitted:agent.custom_tool_use")
@requirement("ordering:tools:uses-in-order", "tools:custom:no-policy")
def test_a_call_of_a_custom_tool_is_told_and_waits_for_the_client(play: Play) -> None:
    talk = play(lookups("a", "b"), Turn("Done."), tools=[CUSTOM])
    events = said(talk, "go")
    uses = every(events, "agent.custom_tool_use")
    assert [(use.name, use.input) for use in uses] == [("lookup", {"key": "a"}), ("lookup", {"key": "b"})]
    assert all("evaluated_permission" not in use.to_dict() for use in uses)
    assert events[-1].stop_reason.event_ids == [use.id for use in uses]
    assert not every(events, "user.custom_tool_result")


@requirement("flows:custom:any-order", "flows:custom:partial", "flows:custom:reaches-model")
def test_results_come_in_any_order_and_any_number_a_request(play: Play, stage: Stage, model_name: str) -> None:
    talk = play(lookups("a", "b", "c"), Turn("Done."), tools=[CUSTOM])
    a, b, c = said(talk, "go")[-1].stop_reason.event_ids
    talk.send(result(c, "for c"))
    assert talk.history()[-1].stop_reason.event_ids == [a, b]
    talk.send(result(b, "for b"), result(a, "for a"))
    talk.wait()
    blocks = stage.requests(model_name)[-1]["messages"][-1]["content"]
    assert [block["content"][0]["text"] for block in blocks] == ["for a", "for b", "for c"]
    uses = [block["id"] for block in stage.requests(model_name)[-1]["messages"][-2]["content"]]
    assert [block["tool_use_id"] for block in blocks] == uses
    waited = [event.stop_reason for event in every(talk.history(), "session.status_idle")]
    assert [reason.event_ids for reason in waited[:-1]] == [[a, b, c], [a, b], [a]]
    assert waited[-1].type == "end_turn"


@requirement("flows:custom:before-idle", "events:custom-result:before-idle", "ordering:tools:next-request-waits")
@requirement("permissions:next-request-waits")
def test_results_that_come_before_the_other_calls_end_make_no_idle(play: Play, stage: Stage, model_name: str) -> None:
    slow = ToolUse("bash", {"command": "until [ -e go ]; do sleep 0.05; done", "timeout_ms": 20_000})
    release = ToolUse("write", {"file_path": "/workspace/go", "content": ""})
    asking: dict[str, Any] = TOOLSET | {"configs": [{"name": "write", "permission_policy": ASK}]}
    talk = play(Turn(ToolUse("lookup", {"key": "a"}), slow, release), Turn("Done."), tools=[CUSTOM, asking])
    with talk.stream() as reader:
        talk.say("go")
        use = reader.until("agent.custom_tool_use").id
        write = reader.until(lambda event: event.type == "agent.tool_use" and event.name == "write").id
        talk.send(result(use, "early"))
        assert talk.status() == "running"
        assert len(stage.requests(model_name)) == 1
        talk.send(confirm(write, "allow"))
        reader.idle("end_turn")
    assert "session.status_idle" not in reader.types()[:-1]
    assert len(stage.requests(model_name)) == 2


@requirement("flows:confirm:allow", "flows:confirm:one-id", "permissions:ask", "helpers:permission-read")
@requirement("emitted:agent.tool_use", "emitted:agent.tool_use:no-thread", "emitted:agent.tool_result")
def test_an_asked_call_runs_once_it_is_allowed(play: Play) -> None:
    talk = play(Turn(LISTING), Turn("Done."), tools=[ASK_ALL])
    events = said(talk, "go")
    use = only(events, "agent.tool_use")
    assert (use.name, use.input, use.evaluated_permission) == ("glob", {"pattern": "*"}, "ask")
    assert use.evaluation.to_dict() == ASK
    assert use.session_thread_id is None
    assert events[-1].stop_reason.event_ids == [use.id]
    assert not every(events, "agent.tool_result")
    (confirmation,) = talk.send(confirm(use.id, "allow"))
    assert (confirmation.tool_use_id, confirmation.result) == (use.id, "allow")
    talk.wait()
    after = talk.history()[len(events) :]
    assert kinds(after)[:4] == [
        "user.tool_confirmation",
        "session.status_running",
        "session.thread_status_running",
        "agent.tool_result",
    ]
    outcome = after[3]
    assert (outcome.tool_use_id, outcome.is_error, text_of(outcome)) == (use.id, False, "no matches")


@requirement("flows:confirm:deny", "events:confirmation:deny-message", "events:confirmation:fields")
def test_a_denied_call_is_an_error_result_with_the_users_words(play: Play, stage: Stage, model_name: str) -> None:
    talk = play(Turn(LISTING), Turn("Understood."), tools=[ASK_ALL])
    (use,) = said(talk, "go")[-1].stop_reason.event_ids
    (confirmation,) = talk.send(confirm(use, "deny", deny_message="not in this folder"))
    assert (confirmation.result, confirmation.deny_message) == ("deny", "not in this folder")
    talk.wait()
    outcome = only(talk.history(), "agent.tool_result")
    assert outcome.is_error
    assert "Permission to use glob has been denied." in text_of(outcome)
    assert "not in this folder" in text_of(outcome)
    (block,) = stage.requests(model_name)[-1]["messages"][-1]["content"]
    assert (block["is_error"], block["content"][0]["text"]) == (True, text_of(outcome))
    assert talk.history()[-1].stop_reason.type == "end_turn"


@requirement("flows:confirm:once", "helpers:repeats-harmless", "events:answer:repeated")
def test_a_call_that_is_confirmed_many_times_at_once_runs_once(play: Play) -> None:
    counting = ToolUse("bash", {"command": "echo ran >> log; cat log"})
    talk = play(Turn(counting), Turn("Done."), tools=[ASK_ALL])
    (use,) = said(talk, "go")[-1].stop_reason.event_ids
    clicks = [threading.Thread(target=talk.send, args=(confirm(use, "allow"),)) for _ in range(6)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join(20)
    talk.wait()
    talk.send(confirm(use, "allow"), confirm(use, "deny"))
    assert text_of(only(talk.history(), "agent.tool_result")) == "ran"
    assert len(every(talk.history(), "user.tool_confirmation")) == 1


@requirement("flows:confirm:other-client", "streaming:several", "helpers:results-echoed")
def test_what_one_client_confirms_every_stream_sees(play: Play, server: Server) -> None:
    talk = play(Turn(LISTING), Turn("Done."), tools=[ASK_ALL])
    with server.client() as someone, talk.stream() as mine, Talk(someone, talk.id).stream() as theirs:
        talk.say("go")
        (use,) = mine.idle("requires_action").stop_reason.event_ids
        (sent,) = Talk(someone, talk.id).send(confirm(use, "allow"))
        for reader in (mine, theirs):
            assert reader.until("user.tool_confirmation").id == sent.id
            reader.idle("end_turn")
        while theirs.events[: len(mine.events)] != mine.events:
            theirs.idle()
    assert theirs.events == mine.events


@requirement("permissions:entry-over-default", "permissions:judged-separately", "permissions:allow")
@requirement("permissions:confirm-not-asked")
def test_calls_of_one_answer_are_judged_one_by_one(play: Play) -> None:
    mixed: dict[str, Any] = ASK_ALL | {"configs": [{"name": "glob", "permission_policy": ALLOW}]}
    talk = play(Turn(LISTING, ToolUse("bash", {"command": "pwd"})), Turn("Done."), tools=[mixed])
    events = said(talk, "go")
    listing, command = every(events, "agent.tool_use")
    assert (listing.evaluated_permission, listing.evaluation.to_dict()) == ("allow", ALLOW)
    assert (command.evaluated_permission, command.evaluation.to_dict()) == ("ask", ASK)
    assert only(events, "agent.tool_result").tool_use_id == listing.id
    assert events[-1].stop_reason.event_ids == [command.id]
    with refused(400, "did not ask"):
        talk.send(confirm(listing.id, "allow"))
    talk.send(confirm(command.id, "allow"))
    talk.wait()
    assert text_of(every(talk.history(), "agent.tool_result")[-1]) == "/workspace"


@requirement("permissions:not-enabled", "tools:call:not-enabled", "tools:toolset:disabled")
def test_a_call_of_a_tool_that_is_not_enabled_is_denied(play: Play, stage: Stage, model_name: str) -> None:
    without_bash: dict[str, Any] = TOOLSET | {"configs": [{"name": "bash", "enabled": False}]}
    talk = play(Turn(ToolUse("bash", {"command": "pwd"}), ToolUse("made_up", {})), Turn("I see."), tools=[without_bash])
    events = said(talk, "go")
    for use, outcome in zip(every(events, "agent.tool_use"), every(events, "agent.tool_result"), strict=True):
        assert (use.evaluated_permission, use.evaluation) == ("deny", None)
        assert outcome.tool_use_id == use.id
        assert outcome.is_error
        assert f"Permission to use {use.name} has been denied" in text_of(outcome)
    assert [tool["name"] for tool in stage.requests(model_name)[0]["tools"]] == [
        "edit",
        "glob",
        "grep",
        "read",
        "write",
    ]
    assert events[-1].stop_reason.type == "end_turn"


@requirement("flows:custom:no-timeout", "permissions:ask:no-timeout", "helpers:quiet-idle")
def test_a_waiting_session_stays_as_it_is_however_often_one_looks(play: Play) -> None:
    """There is no timer to wait for: nothing is scheduled, and the harness has let go of the session."""
    talk = play(Turn(ToolUse("lookup", {"key": "a"}), LISTING), Turn("Done."), tools=[CUSTOM, ASK_ALL])
    events = said(talk, "go")
    threading.Event().wait(0.3)  # past the time in which a stream still starts at the last send
    with talk.stream() as reader:
        threading.Event().wait(0.7)  # longer than this server's heartbeats and all of its sweeps
        assert reader.nothing_yet()
    assert talk.history() == events
    assert talk.status() == "idle"
