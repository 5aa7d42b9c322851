"""One server, or several that share a database, on which deployments and dreams come due and processes are stopped."""

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

from anthropic import Anthropic
from live_server import KEY, Stage
from sdk_clients import sdk_client

from outrider.clock import rfc3339
from outrider.models.scripted.script import Request, ToolUse, Turn
from outrider.store.postgres import connections
from outrider.testing.server_process import ServerProcess, data_directory, running_server
from outrider.testing.stops import Stop, Stops

MODEL = "deployed"
SAY: Any = {"type": "user.message", "content": [{"type": "text", "text": "Go."}]}
YEARLY: Any = {"type": "cron", "expression": "0 0 1 1 *", "timezone": "UTC"}
"""It fires in a test only where the test says that its time has come."""
DEADLINE = 30.0
DUE = "UPDATE deployments SET next_at = {} WHERE id = {}"


def decide(request: Request) -> Turn:
    """The first turn of a session that a tool is offered to uses it."""
    done = "tool_result" in str(request.body["messages"][-1])
    return Turn("Done.") if done or not request.body.get("tools") else Turn(ToolUse("bash", {"command": "true"}))


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

    def held(self, point: str) -> Stop:
        """Who comes to what is wanted stands still there."""
        stop = self.stops.held(DEADLINE)
        assert stop is not None, f"nobody came to {point}"
        return stop

    def other_than(self, stop: Stop) -> int:
        return next(n for n, server in enumerate(self.servers) if stop.pid not in server.children().values())

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

    def fire_and_kill(self, points: list[str]) -> None:
        """At each of these a process that fires a schedule of its own."""
        deployments = [self.deploy(schedule=YEARLY) for _ in points]
        for point, deployment in zip(points, deployments, strict=True):
            self.stops.want(point)
            self.come_due(deployment)
            self.killed(self.held(point))
        for deployment in deployments:
            self.check_one_session(deployment)
            found = self.client().beta.deployments.retrieve(deployment)
            assert found.schedule is not None
            assert (found.status, found.schedule.last_run_at is not None) == ("active", True)

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
        stage.put(MODEL, decide=decide)
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
