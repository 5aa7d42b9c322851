"""Kills the server around each step of a workspace's deletion: the next one goes on, until nothing is left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from kill_matrix import DOOMS
from kill_stores import Database
from live_server import KEY
from people import done, headers
from sdk_clients import sdk_client

from conformance.requirements import requirement
from outrider import faults
from outrider.testing.leaks.disguises import disguises, holds
from outrider.testing.leaks.places import files
from outrider.testing.postgres_server import dumped
from outrider.testing.server_process import ServerProcess, data_directory, running_server
from outrider.testing.stops import Stops

WORD = b"canary-of-a-doomed-workspace"
ORDER = ("mark", "session", "bytes", "rows")
POINTS = [f"workspace.{place}.{when}" for place in ORDER for when in ("before", "after")]
DEADLINE = 60.0
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def stops() -> Generator[Stops]:
    with Stops() as stops:
        yield stops


def filled(server: ServerProcess, told: dict[str, str]) -> str:
    """A workspace with two of everything, since a death may come after the first; closed."""
    url = server.until_up()
    workspace = done(server.data, "workspaces", "create", WORD.decode(), environment=told)
    key = done(server.data, "keys", "create", "k", "--scope", "admin", "--workspace", workspace, environment=told)
    beta = sdk_client(url, key).beta
    agent = beta.agents.create(name=WORD.decode(), model="scripted/demo").id
    environment = beta.environments.create(name=WORD.decode()).id
    for number in range(2):
        vault = beta.vaults.create(display_name=WORD.decode()).id
        auth: Any = {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com/x", "token": "a token"}
        beta.vaults.credentials.create(vault, auth=auth)
        beta.sessions.create(agent=agent, environment_id=environment, title=WORD.decode())
        beta.files.upload(file=(f"{number}.txt", WORD * 10))
    done(server.data, "workspaces", "archive", workspace, environment=told)
    return workspace


def kill_at(server: ServerProcess, stops: Stops, point: str) -> None:
    stop = stops.held(DEADLINE)
    assert stop is not None, f"nobody came to {point}"
    (role,) = (role for role, pid in server.children().items() if pid == stop.pid)
    os.kill(stop.pid, signal.SIGKILL)
    server.until_replaced(role, stop.pid)


@requirement("transport:workspace:delete")
def test_killed_at_any_step_the_next_server_goes_on_until_nothing_is_left(stops: Stops, database: Database) -> None:
    assert {f"{place}.{when}" for place in DOOMS for when in ("before", "after")} == set(POINTS)
    assert set(POINTS) <= faults.POINTS
    with data_directory() as data:
        data.mkdir(mode=0o711)
        environment = {"OUTRIDER_API_KEY": KEY, **database.environment}
        with running_server(data, environment=environment, faults=stops.theirs) as server:
            server.until_settled()
            workspace = filled(server, database.environment)
            assert not database.url or is_in(database.url)

            def ask() -> int | None:
                with suppress(httpx2.HTTPError):
                    url = f"{server.until_up()}/outrider/v1/workspaces/{workspace}"
                    return httpx2.delete(url, headers=headers(KEY), timeout=DEADLINE).status_code
                return None

            for point in POINTS:
                stops.want(point)
                asking = threading.Thread(target=ask)  # only the first ones need it: the others go on by themselves
                if ".mark." in point:
                    asking.start()
                kill_at(server, stops, point)
                if ".mark." in point:
                    asking.join(DEADLINE)
            stops.run()
            deadline = time.monotonic() + DEADLINE
            while ask() != 404:
                assert time.monotonic() < deadline
                threading.Event().wait(0.1)
            assert files([data], [WORD]).hits == []
            assert not database.url or not is_in(database.url)


def is_in(url: str) -> bool:
    """Whether the database holds the word, in text or in bytes."""
    return holds(dumped(url), disguises(WORD))
