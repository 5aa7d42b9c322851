"""A backup of a running server with sessions at work, restored elsewhere: nothing acknowledged before it is missing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from live_server import Server, Stage, data_directory, serving
from session_talk import Talk

from outrider.models.scripted.script import ToolUse, Turn
from outrider.testing.server_process import end_sandboxes

TOOLSET: Any = [{"type": "agent_toolset_20260401"}]
WAITS = "echo run >> count; echo begun > begun; while [ ! -e go ]; do sleep 0.05; done"
LARGE = "a large message " * 10_000


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


def outrider(*words: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
    command = [sys.executable, "-m", "outrider", *words]
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=50, check=False)


def environment(stage: Stage) -> dict[str, str]:
    return {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key-for-tests"}


def new_talk(server: Server, model: str) -> Talk:
    client = server.client(max_retries=4)
    agent = client.beta.agents.create(name="backup", model=model, tools=TOOLSET)
    place = client.beta.environments.create(name="backup")
    return Talk(client, client.beta.sessions.create(agent=agent.id, environment_id=place.id).id)


def ids(talk: Talk) -> list[str]:
    return [event.id for event in talk.history()]


def refused(said: str, *words: str) -> None:
    run = outrider(*words)
    assert run.returncode == 2, run.stdout
    assert said in run.stderr


@pytest.mark.timeout(180)
def test_a_backup_of_a_server_at_work_goes_on_elsewhere(stage: Stage) -> None:
    stage.put("done", Turn(ToolUse("bash", {"command": "echo kept > file"})), Turn("Written."), Turn("Still here."))
    stage.put("busy", Turn(ToolUse("bash", {"command": WAITS})), Turn("It was interrupted."))
    with data_directory() as data:
        kept, again = data.parent / "backup", data.parent / "e"
        with serving(data, environment(stage)) as server:
            done, busy = new_talk(server, "done"), new_talk(server, "busy")
            done.say(LARGE)
            done.wait(seconds=40)
            busy.say("go")
            begun(data)
            before = ids(done), ids(busy)
            made = outrider("backup", str(kept), "--data", str(data))
            assert made.returncode == 0, made.stderr
            assert "the vault's key" in made.stdout
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait(30)
            end_sandboxes(data)
        assert "whole; made" in outrider("backup", "--verify", str(kept)).stdout
        assert not (kept / "api-key").exists()
        restored = outrider("restore", str(kept), "--data", str(again))
        assert restored.returncode == 0, restored.stderr
        shutil.rmtree(data)
        assert next(again.rglob("workspace/file")).read_text() == "kept\n"
        try:
            with serving(again, environment(stage)) as server:
                client = server.client(max_retries=4)
                goes_on(Talk(client, done.id), Talk(client, busy.id), before)
        finally:
            end_sandboxes(again)


def goes_on(done: Talk, busy: Talk, before: tuple[list[str], list[str]]) -> None:
    assert ids(done) == before[0]
    first = next(event for event in done.history() if event.type == "user.message")
    assert first.content[0].text == LARGE
    busy.wait(seconds=40)
    assert ids(busy)[: len(before[1])] == before[1]
    (result,) = [event for event in busy.history() if event.type == "agent.tool_result"]
    assert result.is_error
    assert "may have partly run" in str(result.content)
    done.say("again")
    done.wait(seconds=40)
    assert done.history()[-1].type == "session.status_idle"


def test_a_session_moved_out_by_hand_is_back_when_its_events_are_asked_for(stage: Stage) -> None:
    stage.put("rests", Turn("One."), Turn("Two."))
    with data_directory() as data, serving(data, environment(stage)) as server:
        talk = new_talk(server, "rests")
        talk.say(LARGE)
        talk.wait()
        before = ids(talk)
        moved = outrider("session", "cold", talk.id, "--data", str(data))
        assert moved.returncode == 0, moved.stderr
        assert [path.name.split(".")[0] for path in data.glob("blobs/*/*/*/cold*")] == ["cold"]
        refused("is not at rest", "session", "cold", talk.id, "--data", str(data))
        assert talk.status() == "idle"
        with talk.stream() as reader:
            talk.say("again")
            reader.idle()
        history = ids(talk)
        assert history[: len(before)] == before
        assert len(history) > len(before)
        assert list(data.glob("blobs/*/*/*/cold*")) == []


def begun(data: Path) -> None:
    """Until the command of the busy session runs."""
    for _ in range(600):
        if list(data.glob("sandboxes/sessions/*/own/workspace/begun")):
            return
        threading.Event().wait(0.05)
    raise AssertionError("the command did not begin")


def test_what_can_not_be_restored_is_refused_by_name(stage: Stage) -> None:
    with data_directory() as data:
        kept = data.parent / "backup"
        refused("There is no server's data", "backup", str(kept), "--data", str(data))
        with serving(data, environment(stage)):
            assert outrider("backup", str(kept), "--data", str(data)).returncode == 0
            refused("exists already", "backup", str(kept), "--data", str(data))
        refused("is not empty", "restore", str(kept), "--data", str(data))
        with (kept / "log.db").open("r+b") as file:
            file.seek(200)
            file.write(b"x")
        refused("the backup is damaged", "backup", "--verify", str(kept))
        refused("the backup is damaged", "restore", str(kept), "--data", str(data.parent / "e"))
        assert not (data.parent / "e").exists()
        (kept / "manifest.json").unlink()
        refused("is no whole backup", "restore", str(kept), "--data", str(data.parent / "e"))
