"""A dream's process is killed at each step that it takes, one after the other: one dream, one copy, one session."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from typing import Any

import pytest
from anthropic import Anthropic
from kill_matrix import DREAMS
from kill_stores import SEED, Database
from live_server import KEY, Stage
from sdk_clients import sdk_client

from conformance.requirements import requirement
from outrider.models.scripted.script import Request, ToolUse, Turn
from outrider.testing.server_process import ServerProcess, data_directory, running_server
from outrider.testing.stops import Stops

MODEL = "dreamer"
STEPS = ("add", "begin", "put", "decide", "close", "settle")
POINTS = [f"dream.{step}.{when}" for step in STEPS for when in ("before", "after")]
UNOPENED = ("dream.begin.after", "dream.put.before", "dream.put.after")
"""Killed there on a store that servers share, the next one waits for ten seconds, in case somebody else goes on."""
DEADLINE = 60.0
WRITES = Turn(ToolUse("bash", {"command": "cd /mnt/memory/notes && echo -n new >> b.md"}))


def decide(request: Request) -> Turn:
    last = request.body["messages"][-1]["content"]
    return Turn("Done.") if any(block["type"] == "tool_result" for block in last) else WRITES


class Scene:
    def __init__(self, server: ServerProcess, stops: Stops) -> None:
        self.server, self.stops = server, stops
        client = self.client()
        agent = client.beta.agents.create(name="a", model=MODEL).id
        place = client.beta.environments.create(name="e").id
        self.past = client.beta.sessions.create(agent=agent, environment_id=place).id

    def client(self) -> Anthropic:
        return sdk_client(self.server.until_up(), KEY, max_retries=8)

    def asking(self) -> tuple[threading.Thread, list[Any]]:
        client, made = self.client(), list[Any]()
        store = client.beta.memory_stores.create(name="Notes").id
        client.beta.memory_stores.memories.create(store, path="/a.md", content="a")
        inputs: list[Any] = [
            {"type": "memory_store", "memory_store_id": store},
            {"type": "sessions", "session_ids": [self.past]},
        ]
        thread = threading.Thread(target=lambda: made.append(client.beta.dreams.create(inputs=inputs, model=MODEL)))
        return thread, made

    def kill_at(self, point: str, then: str | None) -> None:
        """Kill whoever comes there; what comes next may do so as soon as the server is back."""
        stop = self.stops.held(DEADLINE)
        assert stop is not None, f"nobody came to {point}"
        if then is not None:
            self.stops.want(then)
        else:
            self.stops.run()
        (role,) = (role for role, pid in self.server.children().items() if pid == stop.pid)
        self.server.until_settled()
        os.kill(stop.pid, signal.SIGKILL)
        self.server.until_replaced(role, stop.pid)

    def settled(self, dream: str) -> Any:
        """Once it has ended and its session is archived."""
        client = self.client()

        def look() -> Any:
            found = client.beta.dreams.retrieve(dream)
            if found.ended_at is None or found.session_id is None:
                return None
            return found if client.beta.sessions.retrieve(found.session_id).archived_at is not None else None

        return self.server.until(look, f"dream {dream} has ended")


@pytest.fixture(scope="module")
def scene(database: Database) -> Generator[Scene]:
    with Stops() as stops, Stage().open() as stage, data_directory() as place:
        stage.put(MODEL, decide=decide)
        environment = {"OUTRIDER_API_KEY": KEY, "OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key"}
        with running_server(place, environment=environment | database.environment, faults=stops.theirs) as server:
            server.until_up()
            yield Scene(server, stops)


@requirement("dreams:once")
@pytest.mark.timeout(180)
def test_a_dream_that_is_killed_at_every_step_happens_once(scene: Scene, database: Database) -> None:
    thread, made = scene.asking()
    left_out = set(UNOPENED) - {UNOPENED[SEED % 3]} if database.url else set[str]()
    points = [point for point in POINTS if point not in left_out]
    scene.stops.want(points[0])
    thread.start()
    for point, following in zip(points, [*points[1:], None], strict=True):
        scene.kill_at(point, following)
    thread.join(DEADLINE)
    (dream,) = made
    done = scene.settled(dream.id)
    client = scene.client()
    assert [one.id for one in client.beta.dreams.list()] == [dream.id]
    assert (done.status, done.session_id is not None) == ("completed", True)
    assert [one.id for one in client.beta.sessions.list(include_archived=True)] == [done.session_id, scene.past]
    assert len(list(client.beta.memory_stores.list())) == 2
    (output,) = done.outputs
    written: Any = client.beta.memory_stores.memories.list(output.memory_store_id, view="full")
    assert {one.path: one.content for one in written} == {"/a.md": "a", "/b.md": "new"}
    session = client.beta.sessions.retrieve(done.session_id)
    assert [one.type for one in session.resources] == ["memory_store"]
    kinds = [event.type for event in client.beta.sessions.events.list(done.session_id)]
    assert (kinds.count("user.message"), kinds.count("agent.message")) == (1, 1)
    assert list(client.beta.files.list()) == []


def test_the_points_that_are_killed_here_are_all_of_dreams() -> None:
    assert {point.rpartition(".")[0] for point in POINTS} == DREAMS
