"""Sessions on self-hosted environments: built-in calls wait for a worker's result, the rest goes on as everywhere."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import CUSTOM, Play
from live_server import Server, Stage
from session_talk import Talk, confirm, result
from turns import TOOLSET, every, kinds, only, refused, said, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import ToolUse, Turn

ASKING: dict[str, Any] = TOOLSET | {"default_config": {"permission_policy": {"type": "always_ask"}}}
LISTING = ToolUse("bash", {"command": "ls"})


@pytest.fixture(scope="module")
def elsewhere(client: Anthropic) -> str:
    return client.beta.environments.create(name="elsewhere", config={"type": "self_hosted"}).id


def worked(use_id: str, text: str, **more: Any) -> dict[str, Any]:
    return {"type": "user.tool_result", "tool_use_id": use_id, "content": [{"type": "text", "text": text}], **more}


@requirement("environments:config:self-hosted")
def test_a_self_hosted_environment_reads_back_as_such(client: Anthropic, elsewhere: str) -> None:
    assert client.beta.environments.retrieve(elsewhere).config.to_dict() == {"type": "self_hosted"}


@requirement("flows:worker:pending", "flows:worker:record", "events:tool-result:self-hosted")
def test_a_built_in_call_waits_for_the_workers_result_which_is_the_record(
    play: Play, stage: Stage, model_name: str, elsewhere: str
) -> None:
    talk = play(Turn(LISTING, LISTING), Turn("Done."), tools=[TOOLSET], environment_id=elsewhere)
    events = said(talk, "go")
    first, second = every(events, "agent.tool_use")
    assert [use.evaluated_permission for use in (first, second)] == ["allow", "allow"]
    assert events[-1].stop_reason.event_ids == [first.id, second.id]
    talk.send(worked(second.id, "failed", is_error=True))
    assert talk.history()[-1].stop_reason.event_ids == [first.id]
    talk.send(worked(first.id, "a file"))
    talk.wait()
    events = talk.history()
    assert text_of(only(events, "agent.message")) == "Done."
    assert not every(events, "agent.tool_result")
    assert [one.tool_use_id for one in every(events, "user.tool_result")] == [second.id, first.id]
    blocks = stage.requests(model_name)[-1]["messages"][-1]["content"]
    assert [(block["content"][0]["text"], block.get("is_error", False)) for block in blocks] == [
        ("a file", False),
        ("failed", True),
    ]


def test_the_model_is_told_of_no_place_that_a_worker_does_not_have(
    play: Play, stage: Stage, model_name: str, elsewhere: str
) -> None:
    talk = play(Turn("Done."), tools=[TOOLSET], environment_id=elsewhere)
    said(talk, "go")
    request = stage.requests(model_name)[-1]
    assert {tool["name"] for tool in request["tools"]} == {"bash", "edit", "glob", "grep", "read", "write"}
    assert "working directory" in str(request["system"])
    assert not any(place in str(request) for place in ("/workspace", "/mnt/session", "proxy"))


@requirement("helpers:repeats-harmless")
def test_a_result_that_is_posted_again_is_echoed_and_changes_nothing(play: Play, elsewhere: str) -> None:
    talk = play(Turn(LISTING), Turn("Done."), tools=[TOOLSET], environment_id=elsewhere)
    (use,) = said(talk, "go")[-1].stop_reason.event_ids
    talk.send(worked(use, "once"))
    talk.wait()
    before = kinds(talk.history())
    (echo,) = talk.send(worked(use, "twice"))
    assert echo.tool_use_id == use
    assert kinds(talk.history()) == before
    with refused(400, "does not match any"):
        talk.send(worked("sevt_unknown", "never"))
    with refused(400, "does not match any"):
        talk.send(result(use, "of the wrong kind"))


@requirement("flows:worker:ask")
def test_an_asked_call_takes_no_result_before_it_is_confirmed(play: Play, elsewhere: str) -> None:
    talk = play(Turn(LISTING), Turn("Done."), tools=[ASKING], environment_id=elsewhere)
    events = said(talk, "go")
    use = only(events, "agent.tool_use")
    assert use.evaluated_permission == "ask"
    with refused(400, "must be confirmed"):
        talk.send(worked(use.id, "too early"))
    talk.send(confirm(use.id, "allow"))
    assert talk.history()[-1].stop_reason.event_ids == [use.id]
    talk.send(worked(use.id, "in time"))
    talk.wait()
    assert text_of(only(talk.history(), "agent.message")) == "Done."


@requirement("flows:worker:denied")
def test_a_denied_call_is_never_the_workers(play: Play, stage: Stage, model_name: str, elsewhere: str) -> None:
    off: dict[str, Any] = ASKING | {"configs": [{"name": "write", "enabled": False}]}
    writing = ToolUse("write", {"file_path": "a", "content": ""})
    talk = play(Turn(LISTING, writing), Turn("Done."), tools=[off], environment_id=elsewhere)
    events = said(talk, "go")
    asked, denied = every(events, "agent.tool_use")
    assert denied.evaluated_permission == "deny"
    assert events[-1].stop_reason.event_ids == [asked.id]
    talk.send(confirm(asked.id, "deny", deny_message="Not today."))
    talk.wait()
    assert not every(talk.history(), "user.tool_result")
    blocks = stage.requests(model_name)[-1]["messages"][-1]["content"]
    assert all(block["is_error"] for block in blocks)
    assert "Not today." in str(blocks[0])


@requirement("flows:worker:two-clients")
def test_two_clients_each_answer_their_part(play: Play, server: Server, elsewhere: str) -> None:
    both = Turn(LISTING, ToolUse("lookup", {"key": "a"}))
    talk = play(both, Turn("Done."), tools=[TOOLSET, CUSTOM], environment_id=elsewhere)
    built_in, custom = said(talk, "go")[-1].stop_reason.event_ids
    with server.client() as other:
        Talk(other, talk.id).send(result(custom, "from the application"))
        assert talk.history()[-1].stop_reason.event_ids == [built_in]
    talk.send(worked(built_in, "from the worker"))
    talk.wait()
    assert text_of(only(talk.history(), "agent.message")) == "Done."


def test_an_interrupt_closes_a_workers_call_in_a_way_that_a_worker_sees(play: Play, elsewhere: str) -> None:
    talk = play(Turn(LISTING), Turn("Again."), tools=[TOOLSET], environment_id=elsewhere)
    (use,) = said(talk, "go")[-1].stop_reason.event_ids
    talk.send({"type": "user.interrupt"})
    talk.wait()
    closed = only(talk.history(), "user.tool_result")
    assert (closed.tool_use_id, closed.is_error) == (use, True)
    (echo,) = talk.send(worked(use, "too late"))
    assert echo.tool_use_id == use
    assert len(every(said(talk, "go on"), "user.tool_result")) == 1


@requirement("environments:self-hosted:resources")
def test_what_only_a_sandbox_here_could_hold_is_refused(raw: httpx2.Client, client: Anthropic, elsewhere: str) -> None:
    agent = client.beta.agents.create(name="tester", model="any-model")
    file = client.beta.files.upload(file=("a.txt", b"a", "text/plain")).id
    repository = {"type": "github_repository", "url": "https://github.com/a/b", "authorization_token": "x"}
    for resource in ({"type": "file", "file_id": file}, repository):
        body = {"agent": agent.id, "environment_id": elsewhere, "resources": [resource]}
        answer = raw.post("/v1/sessions", json=body)
        assert answer.status_code == 400
        assert "is a self-hosted environment" in answer.json()["error"]["message"]
