"""Kills whoever stands at a step of mounting a memory store or of storing what an agent wrote there: what the agent was
told is kept is there once, and nothing is left when store and session are deleted."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from typing import Any

import anthropic
import pytest
from kill_matrix import MEMORY
from kill_stores import Database
from live_server import KEY, Stage
from on_disk import holding
from session_talk import Talk

from outrider.models.scripted.script import ToolUse, Turn
from outrider.testing.server_process import ServerProcess, data_directory, running_server
from outrider.testing.stops import Stops

MODEL = "memory"
POINTS = sorted(f"{place}.{when}" for place in MEMORY for when in ("before", "after"))
TIMES = {"memory.write": (2,), "memory.settle": (1, 2), "shim.settle": (2,)}
"""Which times of a session: it settles its memory when that is mounted, and again after three writes to it."""
TRIED = [(point, time) for point in POINTS for time in TIMES.get(point.rpartition(".")[0], (1,))]
UNBEGUN = ("memory.mount", "memory.settle.before #1", "memory.settle.after #1")
"""Killed between the intent to run the call and its run: nobody runs it then."""
WRITTEN = "canary-5c1d7e"
COMMANDS = f"cd /mnt/memory/notes && cat seed.md && echo {WRITTEN} > seed.md && echo {WRITTEN} > more.md && rm old.md"
DEADLINE = 30.0


@pytest.fixture(scope="module")
def stops() -> Generator[Stops]:
    with Stops() as stops:
        yield stops


@pytest.fixture(scope="module")
def server(stops: Stops, database: Database) -> Generator[ServerProcess]:
    with data_directory() as data, Stage().open() as stage:
        stage.put(MODEL, Turn(ToolUse("bash", {"command": COMMANDS})), Turn("Done."))
        environment = {"OUTRIDER_API_KEY": KEY, "OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key"}
        with running_server(data, environment=environment | database.environment, faults=stops.theirs) as server:
            server.until_settled()
            yield server


@pytest.mark.timeout(180)
def test_killed_at_any_step_what_an_agent_wrote_is_stored_once(server: ServerProcess, stops: Stops) -> None:
    url = server.until_up()
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=8) as client:
        agent = client.beta.agents.create(name="kill", model=MODEL, tools=[{"type": "agent_toolset_20260401"}]).id
        place = client.beta.environments.create(name="kill").id
        for point, times in TRIED:
            store = client.beta.memory_stores.create(name="notes").id
            for path in ("/seed.md", "/old.md"):
                client.beta.memory_stores.memories.create(store, path=path, content="seed")
            attached: Any = {"type": "memory_store", "memory_store_id": store}
            made = client.beta.sessions.create(agent=agent, environment_id=place, resources=[attached])
            kill_at(server, stops, point, times, Talk(client, made.id))
            check(client, store, made.id, f"{point} #{times}")
            client.beta.sessions.delete(made.id)
            client.beta.memory_stores.delete(store)
    server.end()
    assert holding(server.data, WRITTEN) == []


def kill_at(server: ServerProcess, stops: Stops, point: str, times: int, talk: Talk) -> None:
    """Play the session, killing the process that comes to the point."""
    stops.want(point, times)
    talk.say("go")
    stop = stops.held(DEADLINE)
    assert stop is not None, f"nobody came to {point} #{times}"
    roles = {pid: role for role, pid in server.children().items()}
    os.kill(stop.pid, signal.SIGKILL)
    stops.run()
    if stop.pid in roles:
        server.until_replaced(roles[stop.pid], stop.pid)
        server.until_up()
    talk.wait()


def check(client: anthropic.Anthropic, store: str, session: str, where: str) -> None:
    """All was kept, once each, and the agent was told so; or nothing was, if its call was never begun."""
    (result,) = client.beta.sessions.events.list(session, types=["agent.tool_result"])
    shown: Any = result
    memories: Any = list(client.beta.memory_stores.memories.list(store, view="full"))
    contents = {one.path: one.content for one in memories}
    versions: Any = list(client.beta.memory_stores.memory_versions.list(store, session_id=session))
    made = sorted((one.operation, one.path) for one in versions)
    if where.startswith(UNBEGUN):
        assert (shown.is_error, made) == (True, []), where
        assert contents == {"/seed.md": "seed", "/old.md": "seed"}, where
        return
    assert (bool(shown.is_error), shown.content[0].text) == (False, "seed"), where
    assert contents == dict.fromkeys(("/more.md", "/seed.md"), f"{WRITTEN}\n"), where
    assert made == [("created", "/more.md"), ("deleted", "/old.md"), ("modified", "/seed.md")], where
