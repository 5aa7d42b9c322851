"""SIGKILL of the server, the vault and the whole tree, in a model call and in a tool call: the session finishes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

import anthropic
import pytest
from live_server import Server, Stage, data_directory, serving
from session_talk import Talk

from outrider.models.scripted.script import Barrier, Text, ToolUse, Turn

CONFIG = "[limits]\nbackoff_first = 0.1\nbackoff_most = 0.5\n"
COMMAND = "echo run >> count; while [ ! -e go ]; do sleep 0.05; done; echo over; cat count"
TOOLSET: Any = [{"type": "agent_toolset_20260401"}]


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


def open_talk(server: Server, model: str) -> Talk:
    client = server.client(max_retries=8)
    agent = client.beta.agents.create(name="crash", model=model, tools=TOOLSET)
    environment = client.beta.environments.create(name="crash")
    return Talk(client, client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id)


def environment(stage: Stage) -> dict[str, str]:
    return {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key-for-tests"}


def kill(server: Server, role: str) -> None:
    os.kill(server.pids()[role], signal.SIGKILL)


def check_log(talk: Talk) -> list[Any]:
    """What must hold in every log, whatever was killed: no open span, one result for each use, the turn ended."""
    history = talk.history()
    starts = [event.id for event in history if event.type == "span.model_request_start"]
    ends = [event.model_request_start_id for event in history if event.type == "span.model_request_end"]
    assert sorted(starts) == sorted(ends)
    uses = [event.id for event in history if event.type == "agent.tool_use"]
    results = Counter(event.tool_use_id for event in history if event.type == "agent.tool_result")
    assert results == Counter(uses)
    assert history[-1].type == "session.status_idle"
    assert history[-1].stop_reason.type == "end_turn"
    return history


@pytest.mark.parametrize("role", ["server", "vault"])
def test_a_process_killed_in_a_model_call_comes_back_and_the_session_finishes(stage: Stage, role: str) -> None:
    barrier = f"model-{role}"
    stage.put(barrier, Turn(Text("Half ", Barrier(barrier), "way.")))
    with data_directory() as data, serving(data, environment(stage), config=CONFIG) as server:
        talk = open_talk(server, barrier)
        talk.say("go")
        stage.arrived(barrier)
        kill(server, role)
        stage.release(barrier)
        settle(talk)
        check_log(talk)


@pytest.mark.parametrize("role", ["server", "vault", "zygote"])
def test_a_process_killed_in_a_tool_call_comes_back_and_the_call_runs_once(stage: Stage, role: str) -> None:
    name = f"tool-{role}"
    look = Turn(ToolUse("bash", {"command": COMMAND}), ToolUse("bash", {"command": "true"}))
    stage.put(name, look, Turn("Done."))
    with data_directory() as data, serving(data, environment(stage), config=CONFIG) as server:
        talk = open_talk(server, name)
        talk.say("go")
        workspace = until(lambda: next(data.glob("sandboxes/sessions/*/own/workspace/count"), None))
        kill(server, role)
        (workspace.parent / "go").touch()
        settle(talk)
        history = check_log(talk)
        assert workspace.read_text() == "run\n"
        assert "over\nrun" in texts(history)


@pytest.mark.parametrize("phase", ["model", "tool"])
def test_the_whole_tree_killed_finishes_its_sessions_after_the_next_start(stage: Stage, phase: str) -> None:
    name = f"tree-{phase}"
    barrier = f"{name}-barrier"
    if phase == "model":
        stage.put(name, Turn(Text("Half ", Barrier(barrier), "way.")))
    else:
        stage.put(name, Turn(ToolUse("bash", {"command": COMMAND})), Turn("Done."))
    with data_directory() as data:
        with serving(data, environment(stage), config=CONFIG) as server:
            session_id = (talk := open_talk(server, name)).id
            talk.say("go")
            if phase == "model":
                stage.arrived(barrier)
            else:
                until(lambda: next(data.glob("sandboxes/sessions/*/own/workspace/count"), None))
            server.process.kill()
        stage.release(barrier)
        with serving(data, environment(stage)) as server:
            for workspace in data.glob("sandboxes/sessions/*/own/workspace"):
                (workspace / "go").touch()
            talk = Talk(server.client(), session_id)
            settle(talk)
            history = check_log(talk)
        if phase == "tool":  # the shim outlived the tree, so the new owner attached to the running command
            assert texts(history) == "over\nrun"


def test_a_server_that_is_told_to_end_writes_down_what_the_model_is_saying(stage: Stage) -> None:
    stage.put("drained", Turn(Text("Half ", Barrier("drained"), "way.")))
    with data_directory() as data:
        with serving(data, environment(stage), config=CONFIG) as server:
            talk = open_talk(server, "drained")
            talk.say("go")
            stage.arrived("drained")
            server.process.send_signal(signal.SIGTERM)
            stage.release("drained")
            assert server.process.wait(20) == 0
        with serving(data, environment(stage)) as server:
            again = Talk(server.client(), talk.id)
            settle(again)
            history = check_log(again)
    ends = [event.is_error for event in history if event.type == "span.model_request_end"]
    assert ends == [False], "the request was not made again"
    assert [event.content[0].text for event in history if event.type == "agent.message"] == ["Half way."]


def texts(history: list[Any]) -> str:
    return "".join(event.content[0].text for event in history if event.type == "agent.tool_result")


def settle(talk: Talk, seconds: float = 40.0) -> None:
    """Wait until the session is idle; the server may be away for a moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if talk.status() == "idle":
                return
        except anthropic.APIConnectionError:
            pass
        assert time.monotonic() < deadline, "the session did not finish"
        threading.Event().wait(0.05)


def until(found: Callable[[], Any], seconds: float = 40.0) -> Any:
    deadline = time.monotonic() + seconds
    while (value := found()) is None:
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    return value
