"""Kills the server around each step of a work item's life: no item is lost or doubled, no session left without one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import pytest
from kill_matrix import WORK
from kill_stores import Database
from live_server import KEY, Stage
from session_talk import Talk
from turns import TOOLSET
from workers import environment_of, key_of, live_work

from conformance.requirements import requirement
from outrider.models.scripted.script import ToolUse, Turn
from outrider.testing.server_process import ServerProcess, data_directory, running_server
from outrider.testing.stops import Stops

POINTS = sorted(f"{place}.{when}" for place in WORK for when in ("before", "after"))

DEADLINE = 30.0
LONG = 300
RETRY = {"x-stainless-retry-count": "1"}
NO_HEARTBEAT = "NO_HEARTBEAT"


@contextmanager
def serving(stage: Stage, lease: int, stops: Stops, database: Database) -> Generator[ServerProcess]:
    with data_directory() as data:
        data.mkdir(mode=0o711)
        (data / "config.toml").write_text(f"[limits]\nwork_lease = {lease}\nheartbeat = 0.5\n")
        environment = {"OUTRIDER_API_KEY": KEY, "OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key"}
        with running_server(data, environment=environment | database.environment, faults=stops.theirs) as server:
            server.until_settled()
            yield server


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


@dataclass
class Queue:
    """An environment of its own with one session that is about to need a worker."""

    client: anthropic.Anthropic
    id: str
    worker: anthropic.Anthropic
    talk: Talk

    @property
    def work(self) -> Any:
        return self.worker.beta.environments.work

    def waiting(self) -> Any:
        self.talk.say("go")
        self.talk.wait()
        (item,) = live_work(self.client, self.id)
        return item

    def polled(self) -> Any:
        """The first item that comes, taken from whoever did not acknowledge it."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            item = self.work.poll(self.id, block_ms=200, reclaim_older_than_ms=1)
            if item is not None:
                return item
        raise AssertionError("nothing came")

    def started(self) -> Any:
        self.waiting()
        item = self.polled()
        self.work.ack(item.id, environment_id=self.id)
        return item

    def beat(self, item: Any, expected: str, **more: Any) -> Any:
        return self.work.heartbeat(item.id, environment_id=self.id, expected_last_heartbeat=expected, **more)

    def stop(self, item: Any, **more: Any) -> Any:
        return self.work.stop(item.id, environment_id=self.id, force=True, **more)


def queue_on(url: str, stage: Stage, *turns: Turn) -> Queue:
    client = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)
    environment = environment_of(client)
    model = stage.put(f"work-{environment}", *turns)
    tools: Any = [TOOLSET]
    agent = client.beta.agents.create(name="kill", model=model, tools=tools).id
    talk = Talk(client, client.beta.sessions.create(agent=agent, environment_id=environment).id)
    return Queue(client, environment, client.with_options(api_key=key_of(client, environment)), talk)


def enlisting(queue: Queue, kill: Callable[[Callable[[], object]], None]) -> None:
    kill(lambda: queue.talk.say("go"))
    queue.talk.wait()
    assert len(live_work(queue.client, queue.id)) == 1


def claiming(queue: Queue, kill: Callable[[Callable[[], object]], None]) -> None:
    waiting = queue.waiting()
    kill(lambda: queue.work.poll(queue.id))
    assert queue.polled().id == waiting.id


def acknowledging(queue: Queue, kill: Callable[[Callable[[], object]], None]) -> None:
    queue.waiting()
    item = queue.polled()
    kill(lambda: queue.work.ack(item.id, environment_id=queue.id))
    assert queue.work.ack(item.id, environment_id=queue.id, extra_headers=RETRY).state == "starting"


def beating(queue: Queue, kill: Callable[[Callable[[], object]], None]) -> None:
    item = queue.started()
    kill(lambda: queue.beat(item, NO_HEARTBEAT))
    first = queue.beat(item, NO_HEARTBEAT, extra_headers=RETRY)
    assert first.state == "active"
    assert queue.beat(item, first.last_heartbeat).last_heartbeat != first.last_heartbeat


def stopping(queue: Queue, kill: Callable[[Callable[[], object]], None]) -> None:
    item = queue.started()
    kill(lambda: queue.stop(item))
    assert queue.stop(item, extra_headers=RETRY).state == "stopped"
    (successor,) = live_work(queue.client, queue.id)
    assert (successor.state, successor.data.id) == ("queued", queue.talk.id)


def lapsing(queue: Queue, kill: Callable[[Callable[[], object]], None]) -> None:
    """Nobody has to ask for it."""
    held: list[Any] = []
    kill(lambda: held.append(queue.started()))  # waited for from the beginning: it may lapse at once
    assert queue.polled().id == held[0].id


STEPS = {
    "work.enlist": enlisting,
    "work.claim": claiming,
    "work.ack": acknowledging,
    "work.beat": beating,
    "work.stop": stopping,
    "work.lapse": lapsing,
}


@requirement("work:lease")
@pytest.mark.timeout(150)
def test_killed_at_any_step_no_item_is_lost_or_doubled(stage: Stage, database: Database) -> None:
    assert set(STEPS) == WORK
    with Stops() as stops, serving(stage, LONG, stops, database) as server:
        killed_at_all(server, stage, stops, [point for point in POINTS if not point.startswith("work.lapse")])
    with Stops() as stops, serving(stage, 1, stops, database) as server:
        killed_at_all(server, stage, stops, [point for point in POINTS if point.startswith("work.lapse")])


def killed_at_all(server: ServerProcess, stage: Stage, stops: Stops, points: list[str]) -> None:
    for point in points:
        queue = queue_on(server.until_up(), stage, Turn(ToolUse("bash", {"command": "ls"})), Turn("Done."))
        STEPS[point.rpartition(".")[0]](queue, lambda act, point=point: killed_at(server, stops, point, act))
        queue.client.close()


def killed_at(server: ServerProcess, stops: Stops, point: str, act: Callable[[], object]) -> None:
    """Kill the process that comes to the point while this is done."""

    def attempt() -> None:
        try:
            act()
        except anthropic.APIConnectionError:
            return

    stops.want(point)
    client = threading.Thread(target=attempt)
    client.start()
    stop = stops.held(DEADLINE)
    assert stop is not None, f"nobody came to {point}"
    (role,) = (role for role, pid in server.children().items() if pid == stop.pid)
    os.kill(stop.pid, signal.SIGKILL)
    server.until_replaced(role, stop.pid)
    client.join(DEADLINE)
    stops.run()
    server.until_up()
