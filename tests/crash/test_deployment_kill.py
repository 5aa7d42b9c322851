"""A deployment's time comes, and the process that fires it is killed or frozen at each step: one run and one session,
whoever goes on. On PostgreSQL three processes with an API look at the same schedules; on SQLite one comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from anthropic import Anthropic
from kill_matrix import RUNS
from kill_stores import Database
from live_server import KEY, Stage
from sdk_clients import sdk_client

from conformance.requirements import requirement
from outrider.clock import rfc3339
from outrider.models.scripted.script import Turn
from outrider.store.postgres import connections
from outrider.testing.postgres_server import PostgresServer
from outrider.testing.server_process import ServerProcess, data_directory, running_server
from outrider.testing.stops import Stop, Stops

MODEL = "deployed"
SAY: Any = {"type": "user.message", "content": [{"type": "text", "text": "Go."}]}
YEARLY: Any = {"type": "cron", "expression": "0 0 1 1 *", "timezone": "UTC"}
"""It fires in a test only where the test says that its time has come."""
FIRING = {
    "alone": ["run.fire.before", "run.fire.after", "api.take.before", "run.end.before", "run.end.after"],
    "three": ["run.fire.after", "api.take.before", "run.end.before"],
}
POINTS = sorted(f"{place}.{when}" for place in RUNS for when in ("before", "after"))
ASKING = ["run.add.before", "run.add.after", "run.end.after"]
DEADLINE = 30.0
DUE = "UPDATE deployments SET next_at = {} WHERE id = {}"


@dataclass
class Scene:
    servers: list[ServerProcess]
    stops: Stops
    database: str | None
    agent: str = ""
    environment: str = ""

    def client(self, server: int = 0) -> Anthropic:
        return sdk_client(self.servers[server].until_up(), KEY, max_retries=8)

    def deploy(self, **more: Any) -> str:
        fields: Any = {"agent": self.agent, "environment_id": self.environment, "initial_events": [SAY]} | more
        return self.client().beta.deployments.create(name="d", **fields).id

    def come_due(self, deployment: str) -> None:
        """Its time was a second ago."""
        at = rfc3339(datetime.now(UTC) - timedelta(seconds=1))
        if self.database is not None:
            asyncio.run(_execute(self.database, DUE.format("$1", "$2"), at, deployment))
            return
        with closing(sqlite3.connect(self.servers[0].data / "outrider.db", timeout=DEADLINE)) as db, db:
            assert db.execute(DUE.format("?", "?"), (at, deployment)).rowcount == 1

    def killed(self, stop: Stop) -> None:
        server = next(one for one in self.servers if stop.pid in one.children().values())
        (role,) = (role for role, pid in server.children().items() if pid == stop.pid)
        server.until_settled()
        os.kill(stop.pid, signal.SIGKILL)
        server.until_replaced(role, stop.pid)
        self.stops.run()

    def runs(self, deployment: str) -> list[Any]:
        return list(self.client().beta.deployment_runs.list(deployment_id=deployment))

    def until_ended(self, deployment: str) -> Any:
        runs = until(lambda: self.runs(deployment), f"a run of {deployment} has ended")
        assert len(runs) == 1
        return runs[0]

    def check_one_session(self, deployment: str) -> None:
        """That was asked once, and works."""
        run, api = self.until_ended(deployment), self.client().beta.sessions
        assert [one.id for one in api.list(deployment_id=deployment)] == [run.session_id]

        def history() -> list[str] | None:
            found = [event.type for event in api.events.list(run.session_id)]
            return found if "session.status_idle" in found else None

        events = until(history, "its session has worked")
        assert (events.count("user.message"), events.count("agent.message")) == (1, 1)


async def _execute(url: str, statement: str, *values: str) -> None:
    link = await connections.to_write(url)
    try:
        assert await link.execute(statement, *values) == "UPDATE 1"
    finally:
        await link.close()


def until(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if found := look():
            return found
        threading.Event().wait(0.05)
    raise AssertionError(f"not within {DEADLINE} s: {what}")


@contextmanager
def opened(count: int, database: str | None) -> Generator[Scene]:
    with ExitStack() as stack:
        stops, stage = stack.enter_context(Stops()), stack.enter_context(Stage().open())
        stage.put(MODEL, decide=lambda request: Turn("Done."))
        environment = {"OUTRIDER_API_KEY": KEY, "OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key"}
        environment |= {"OUTRIDER_DATABASE_URL": database} if database is not None else {}
        places = [stack.enter_context(data_directory()) for _ in range(count)]
        scene = Scene([], stops, database)
        for place in places:
            server = stack.enter_context(running_server(place, environment=environment, faults=stops.theirs))
            server.until_up()
            scene.servers.append(server)
        scene.agent = scene.client().beta.agents.create(name="d", model=MODEL).id
        scene.environment = scene.client().beta.environments.create(name="d").id
        yield scene


@pytest.fixture(scope="module")
def alone(database: Database) -> Generator[Scene]:
    with opened(1, database.url or None) as scene:
        yield scene


@pytest.fixture(scope="module")
def three(postgres: PostgresServer) -> Generator[Scene]:
    with opened(3, postgres.url(postgres.database())) as scene:
        yield scene


@requirement("deployments:schedule:fires")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("scene", FIRING)
def test_a_time_fires_once_whoever_is_killed_at_whatever_step(request: pytest.FixtureRequest, scene: str) -> None:
    at: Scene = request.getfixturevalue(scene)
    deployments = [at.deploy(schedule=YEARLY) for _ in FIRING[scene]]
    for point, deployment in zip(FIRING[scene], deployments, strict=True):
        at.stops.want(point)
        at.come_due(deployment)
        stop = at.stops.held(DEADLINE)
        assert stop is not None, f"nobody came to {point}"
        at.killed(stop)
    for deployment in deployments:
        at.check_one_session(deployment)
        found = at.client().beta.deployments.retrieve(deployment)
        assert found.schedule is not None
        assert (found.status, found.schedule.last_run_at is not None) == ("active", True)


@requirement("deployments:run:retry")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", ASKING)
def test_a_manual_run_that_is_asked_for_again_after_a_death_is_one_run(alone: Scene, point: str) -> None:
    deployment = alone.deploy()
    answers: list[Any] = []
    client = alone.client()
    asking = threading.Thread(target=lambda: answers.append(client.beta.deployments.run(deployment)))
    alone.stops.want(point)
    asking.start()
    stop = alone.stops.held(DEADLINE)
    assert stop is not None, f"nobody came to {point}"
    alone.killed(stop)
    asking.join(DEADLINE)
    alone.check_one_session(deployment)
    assert [one.id for one in answers] == [run.id for run in alone.runs(deployment)]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("archived", [False, True])
def test_a_process_that_wakes_late_changes_nothing(three: Scene, archived: bool) -> None:
    """Frozen before it makes the session, it finds that others made it, or that the run has failed for good."""
    place = three.client().beta.environments.create(name="other").id
    deployment = three.deploy(schedule=YEARLY, environment_id=place)
    three.stops.want("api.take.before")
    three.come_due(deployment)
    stop = three.stops.held(DEADLINE)
    assert stop is not None
    asked = next(n for n, server in enumerate(three.servers) if stop.pid not in server.children().values())
    client = three.client(asked)
    if archived:
        client.beta.environments.archive(place)
    three.stops.run()
    (run,) = until(lambda: list(client.beta.deployment_runs.list(deployment_id=deployment)), "others end the run")
    three.stops.want("run.end.after")
    stop.go()
    late = three.stops.held(DEADLINE)
    assert late is not None
    assert late.pid == stop.pid
    late.go()
    three.stops.run()
    after = client.beta.deployment_runs.retrieve(run.id)
    assert after == run
    made = [one.id for one in client.beta.sessions.list(deployment_id=deployment)]
    made += [one.id for one in client.beta.sessions.list(agent_id=three.agent) if one.deployment_id == deployment]
    assert set(made) == (set() if archived else {run.session_id})
    assert (run.error.type if run.error else None) == ("environment_archived_error" if archived else None)


def test_the_points_that_are_killed_here_are_all_of_runs() -> None:
    killed = {*FIRING["alone"], *ASKING}
    assert set(POINTS) <= killed
