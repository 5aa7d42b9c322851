"""Kills whoever comes to a step of a webhook's way, and whole servers: no event is lost, and each keeps its id."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

import anthropic
import httpx2
import pytest
from apart import Deployment, Part, deployment
from kill_matrix import TELLS
from kill_stores import Database
from live_server import KEY
from sdk_clients import sdk_client
from webhook_receiver import Came, Receiver, ask, delivery

from conformance.requirements import requirement
from outrider.testing.postgres_server import PostgresServer
from outrider.testing.server_process import ServerProcess, data_directory, running_server
from outrider.testing.stops import Stops

POINTS = sorted(f"{place}.{when}" for place in TELLS for when in ("before", "after"))
HELD = ["webhook.settle.before"]
STEPS = [point for point in POINTS if not point.startswith("api.")]
DEADLINE = 60.0
pytestmark = pytest.mark.timeout(240)
MANY = 150
CONFIG = """
[webhooks]
allow_private = ["127.0.0.1"]
retry_first = 0.1
retry_most = 0.2
"""


@pytest.fixture(scope="module")
def receiver() -> Generator[Receiver]:
    with Receiver().open() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def stops() -> Generator[Stops]:
    with Stops() as stops:
        yield stops


@pytest.fixture(scope="module")
def server(stops: Stops, database: Database) -> Generator[ServerProcess]:
    with data_directory() as data:
        data.mkdir(mode=0o711)
        (data / "config.toml").write_text(CONFIG)
        environment = {"OUTRIDER_API_KEY": KEY, **database.environment}
        with running_server(data, environment=environment, faults=stops.theirs) as server:
            server.until_settled()
            yield server


def hook(url: str, receiver: Receiver, path: str) -> str:
    body = {"url": receiver.answer(path), "enabled_events": ["vault.created"]}
    made: str = ask(url, KEY, "POST", "", body)["id"]
    return made


def told(came: list[Came]) -> dict[str, set[str]]:
    """The ids of the events by what they tell of."""
    found: dict[str, set[str]] = {}
    for one in came:
        found.setdefault(json.loads(one.body)["data"]["id"], set()).add(one.event)
    return found


def settled(deliveries: list[Any]) -> bool:
    return all(one["state"] == "delivered" for one in deliveries)


def each_once(receiver: Receiver, path: str, vaults: set[str]) -> list[Came]:
    """All that came, once everything was told: each under one id, however often it was sent."""
    came = receiver.wait(path, lambda came: told(came).keys() >= vaults, DEADLINE)
    assert all(len(events) == 1 for events in told(came).values())
    return came


def kill_at(server: ServerProcess, stops: Stops, point: str, act: Callable[[], object]) -> None:
    """Kill the process that comes to the point after this is done."""
    stops.want(point)
    client = threading.Thread(target=act)
    client.start()
    stop = stops.held(DEADLINE)
    assert stop is not None, f"nobody came to {point}"
    (role,) = (role for role, pid in server.children().items() if pid == stop.pid)
    os.kill(stop.pid, signal.SIGKILL)
    server.until_replaced(role, stop.pid)
    client.join(DEADLINE)
    stops.run()
    server.until_up()


@requirement("webhooks:lost")
def test_killed_at_any_step_no_event_is_lost(server: ServerProcess, stops: Stops, receiver: Receiver) -> None:
    url = server.until_up()
    webhook = hook(url, receiver, "/steps")
    vaults: set[str] = set()
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0) as client:

        def make() -> None:
            with suppress(anthropic.APIConnectionError):
                client.beta.vaults.create(display_name="v")

        for point in STEPS:
            kill_at(server, stops, point, make)
            vaults = {vault.id for vault in client.beta.vaults.list(limit=100)}
            each_once(receiver, "/steps", vaults)
            delivery(url, KEY, webhook, settled)
        assert len(vaults) == len(STEPS)
    ask(url, KEY, "DELETE", f"/{webhook}")


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_an_endpoint_is_made_it_is_there_whole_or_not_at_all(
    server: ServerProcess, stops: Stops, receiver: Receiver, when: str
) -> None:
    url, path = server.until_up(), f"/made-{when}"

    def make() -> None:
        with suppress(httpx2.HTTPError):
            hook(url, receiver, path)

    kill_at(server, stops, f"api.webhook.{when}", make)
    listed = [one["id"] for one in ask(url, KEY, "GET", "")["data"]]
    assert len(listed) == (1 if when == "after" else 0)
    made = listed or [hook(url, receiver, path)]
    vault = sdk_client(url, KEY).beta.vaults.create(display_name="v").id
    each_once(receiver, path, {vault})
    ask(url, KEY, "DELETE", f"/{made[0]}")


def test_many_deliveries_survive_the_death_of_the_whole_server(receiver: Receiver) -> None:
    path = "/many"
    with data_directory() as data:
        data.mkdir(mode=0o711)
        (data / "config.toml").write_text(CONFIG)
        environment = {"OUTRIDER_API_KEY": KEY}
        with running_server(data, environment=environment) as server:
            url = server.until_up()
            hook(url, receiver, path)
            client = sdk_client(url, KEY)
            vaults = {client.beta.vaults.create(display_name="v").id for _ in range(MANY)}
            receiver.wait(path, bool)
            server.process.kill()
            server.process.wait(DEADLINE)
        with running_server(data, environment=environment) as server:
            server.until_up()
            each_once(receiver, path, vaults)


@pytest.fixture(scope="module")
def apart() -> Generator[Deployment]:
    with deployment() as made:
        yield made


def test_of_several_api_processes_one_delivers_and_another_goes_on_where_it_died(
    apart: Deployment, postgres: PostgresServer, receiver: Receiver, stops: Stops
) -> None:
    """Nor does what one that stood still does late change anything."""
    path = "/apart"
    vault = apart.vault({}, CONFIG)
    vault.start()
    database = postgres.database()
    environment = {
        "OUTRIDER_DATABASE_URL": postgres.url(database, tcp=True),
        "OUTRIDER_VAULT_URL": f"https://127.0.0.1:{apart.ports['vault']}",
        "OUTRIDER_API_KEY": KEY,
    }
    parts = [apart.part(name, "api", CONFIG, environment) for name in ("one", "two")]
    vault.facts()
    for part in parts:
        part.faults = stops.theirs
        part.start()
    urls = [part.url() for part in parts]
    webhook = hook(urls[0], receiver, path)
    clients = [sdk_client(url, KEY) for url in urls]
    vaults = {client.beta.vaults.create(display_name="v").id for client in clients for _ in range(20)}
    each_once(receiver, path, vaults)
    vaults.add(late_settling(stops, parts, clients, webhook))
    each_once(receiver, path, vaults)
    owner = postgres.sql("SELECT owner FROM couriers", database).strip()
    (doomed,) = (number for number, part in enumerate(parts) if f"-{_server(part)}-" in owner)
    parts[doomed].signal(signal.SIGKILL)
    client = clients[1 - doomed]
    vaults |= {client.beta.vaults.create(display_name="v").id for _ in range(20)}
    each_once(receiver, path, vaults)


def late_settling(stops: Stops, parts: list[Part], clients: list[anthropic.Anthropic], webhook: str) -> str:
    """The courier has sent an event and stands still before it notes that; another one sends it again and does."""
    (late,) = HELD
    stops.want(late)
    made: list[str] = []  # the answer may wait for the courier: it may be that server's
    making = threading.Thread(target=lambda: made.append(clients[0].beta.vaults.create(display_name="v").id))
    making.start()
    stop = stops.held(DEADLINE)
    assert stop is not None, f"nobody came to {late}"
    other = next(number for number, part in enumerate(parts) if _server(part) != stop.pid)
    url = parts[other].url()
    before = delivery(url, KEY, webhook, settled)
    stop.go()
    stops.run()
    until_said(parts[1 - other], "Another process delivers the webhooks")
    making.join(DEADLINE)
    assert delivery(url, KEY, webhook, settled) == before
    return made[0]


def until_said(part: Part, words: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while words not in part.said():
        assert time.monotonic() < deadline, part.said()
        threading.Event().wait(0.05)


def _server(part: Part) -> int:
    """The process that has the API."""
    return part.pid("server")
