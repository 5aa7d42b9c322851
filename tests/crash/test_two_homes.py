"""Two whole servers on one database, each with sandboxes of its own: a session's calls run where its files are,
whichever server a client speaks to, and nowhere else without a word."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic, ConflictError
from live_server import KEY, Server, Stage, data_directory, serving
from session_talk import Talk
from turns import TOOLSET, every, text_of

from outrider.models.scripted.script import ToolUse, Turn
from outrider.testing.postgres_server import PostgresServer
from outrider.testing.server_process import end_sandboxes

pytestmark = pytest.mark.timeout(120)  # servers are started, killed, and started again
PATIENCE = 3
CONFIG = f"[sandbox]\nhost_patience = {PATIENCE}\n[limits]\nreserve_share = 0\nreserve_bytes = 0\n"
STEP = Turn(ToolUse("bash", {"command": "echo x >> f; cat f"}))


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


@dataclass
class Home:
    """A server, or where it was."""

    data: Path
    environment: dict[str, str]
    config: str = CONFIG
    server: Server | None = None
    stack: ExitStack | None = None

    def start(self) -> None:
        self.stack = ExitStack()
        self.server = self.stack.enter_context(serving(self.data, self.environment, config=self.config))

    def die(self) -> None:
        """As a machine that loses its power."""
        assert self.server is not None
        self.server.process.kill()
        self.server.process.wait(20)
        end_sandboxes(self.data)

    def end(self) -> None:
        if self.stack is not None:
            self.stack.close()
        end_sandboxes(self.data)

    @property
    def name(self) -> str:
        return (self.data / "node").read_text().strip()

    def files(self, session: str) -> Path:
        return self.data / "sandboxes" / "sessions" / session

    def talk(self, session: str) -> Talk:
        assert self.server is not None
        client = self.server.client(max_retries=4)
        assert self.stack is not None
        self.stack.callback(client.close)
        return Talk(client, session)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "outrider", *words, "--data", str(self.data)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": os.environ["PATH"], "OUTRIDER_API_KEY": KEY},
        )


@contextmanager
def homes(stage: Stage, postgres: PostgresServer, config: str = CONFIG) -> Generator[tuple[Home, Home]]:
    environment = {
        "OUTRIDER_MODEL_URL": stage.url,
        "OUTRIDER_MODEL_KEY": "model-key-for-tests",
        "OUTRIDER_DATABASE_URL": postgres.url(postgres.database()),
    }
    with data_directory() as one, data_directory() as other:
        pair = (Home(one, environment, config), Home(other, environment, config))
        try:
            for home in pair:
                home.start()
            yield pair
        finally:
            for home in pair:
                home.end()


def opened(home: Home, model: str) -> str:
    """A new session, through this server."""
    client: Anthropic = home.talk("").client
    agent = client.beta.agents.create(name="homed", model=model, tools=[TOOLSET])  # pyright: ignore[reportArgumentType]
    environment = client.beta.environments.create(name="homed")
    return client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id


def told(talk: Talk, seconds: float = 30) -> tuple[str, bool]:
    """A message, and what the last call of its turn said."""
    talk.say("go")
    talk.wait(seconds=seconds)
    last: Any = every(talk.history(), "agent.tool_result")[-1]
    return text_of(last), bool(last.is_error)


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_sessions_calls_run_where_its_files_are_whoever_is_asked(stage: Stage, postgres: PostgresServer) -> None:
    stage.put("both", *([STEP, Turn("Done.")] * 6))
    with homes(stage, postgres) as (one, other):
        session = opened(one, "both")
        talks = [one.talk(session), other.talk(session)]
        for turn in range(6):
            assert told(talks[turn % 2]) == ("\n".join("x" * (turn + 1)), False)
        assert one.files(session).exists() != other.files(session).exists()
        mine = opened(other, "both")
        assert told(other.talk(mine)) == ("x", False)
        home = one if one.files(session).exists() else other
        home.talk(session).client.beta.sessions.delete(session)
        assert not home.files(session).exists()


def test_a_session_of_a_lost_server_says_so_and_goes_on_when_it_is_back(stage: Stage, postgres: PostgresServer) -> None:
    stage.put("lost", *([STEP, Turn("Done.")] * 4))
    with homes(stage, postgres) as (one, other):
        session = opened(one, "lost")
        assert told(one.talk(session)) == ("x", False)
        home, spare = (one, other) if one.files(session).exists() else (other, one)
        home.die()
        text, is_error = told(spare.talk(session))
        assert is_error
        assert f"files are on {home.name}, which can't be reached; the session keeps its place" in text
        assert not spare.files(session).exists()
        home.end()
        home.start()
        assert told(spare.talk(session)) == ("x\nx", False)


def test_a_call_waits_for_a_server_that_is_only_restarted(stage: Stage, postgres: PostgresServer) -> None:
    stage.put("brief", STEP, Turn("Done."), STEP, Turn("Done."))
    with homes(stage, postgres, CONFIG.replace(f"= {PATIENCE}", "= 60")) as (one, other):
        session = opened(one, "brief")
        assert told(one.talk(session)) == ("x", False)
        home, spare = (one, other) if one.files(session).exists() else (other, one)
        home.die()
        talk = spare.talk(session)
        talk.say("go")
        until(lambda: len(stage.requests("brief")) == 3, "the spare server has asked the model")
        home.end()
        home.start()
        talk.wait(seconds=40)
        assert [text_of(event) for event in every(talk.history(), "agent.tool_result")] == ["x", "x\nx"]


def test_a_session_of_a_lost_server_is_moved_with_an_empty_workspace(stage: Stage, postgres: PostgresServer) -> None:
    stage.put("moved", STEP, Turn("Done."), STEP, STEP, Turn("Done."), STEP, Turn("Done."))
    with homes(stage, postgres) as (one, other):
        session = opened(one, "moved")
        assert told(one.talk(session)) == ("x", False)
        home, spare = (one, other) if one.files(session).exists() else (other, one)
        with pytest.raises(ConflictError, match="can be reached and has the session's files"):
            spare.talk(session).client.post(f"/outrider/v1/sessions/{session}/move", cast_to=str, body={})
        home.die()
        until(lambda: spare.command("session", "move", session).returncode == 0, "the loss is noticed")
        talk = spare.talk(session)
        talk.say("go")
        talk.wait(seconds=30)
        said = every(talk.history(), "agent.tool_result")
        assert [bool(event.is_error) for event in said] == [False, True, False]
        assert f"This call was not run: {home.name}, which had this session's files, was given up" in text_of(said[1])
        assert text_of(said[2]) == "x"
        again = spare.command("session", "move", session)
        assert again.returncode != 0
        assert "can be reached and has the session's files" in again.stderr
        home.end()
        home.start()
        until(lambda: not home.files(session).exists(), "what the lost server had of it is erased")
        assert told(home.talk(session)) == ("x\nx", False)
