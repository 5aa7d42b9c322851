"""Keys: made and shown once, revoked at once in every process, found in no file and no line of the log."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic
from live_server import Server, data_directory, serving
from on_disk import holding
from people import command, done, headers
from sdk_clients import sdk_client

from outrider.testing.postgres_server import PostgresServer

_numbers = itertools.count(1)
CONFIG = "[limits]\nheartbeat = 30\n"  # a stream says nothing by itself
BOUND = 10.0  # seconds; what takes a second by design is waited for this long on a busy machine


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    with data_directory() as data, serving(data, {}, config=CONFIG) as server:
        yield server


def made(server: Server, scope: str = "developer") -> tuple[str, str]:
    """A key's id and its value."""
    body = {"name": f"key {next(_numbers)}", "scope": scope}
    answer = httpx2.post(f"{server.url}/outrider/v1/keys", json=body, headers=headers(server.key))
    assert answer.status_code == 200, answer.text
    return answer.json()["id"], answer.json()["key"]


def status(server: Server, key: str) -> int:
    return httpx2.get(f"{server.url}/v1/agents?limit=1", headers=headers(key)).status_code


def revoked(server: Server, key_id: str) -> httpx2.Response:
    return httpx2.post(f"{server.url}/outrider/v1/keys/{key_id}/revoke", headers=headers(server.key))


def test_a_keys_value_is_shown_once_and_kept_nowhere(server: Server) -> None:
    key_id, value = made(server)
    again = {"idempotency-key": "made once", "x-stainless-retry-count": "1"}
    body = {"name": "retried", "scope": "user"}
    url = f"{server.url}/outrider/v1/keys"
    retried = [httpx2.post(url, json=body, headers=headers(server.key) | again).json() for _ in range(2)]
    assert retried[0]["key"] != retried[1]["key"], "an answer with a key in it was kept"
    values = [value, *(one["key"] for one in retried)]
    assert all(one.startswith("outr_") and len(one) > 40 for one in values)
    shown = httpx2.get(f"{url}/{key_id}", headers=headers(server.key)).text
    shown += httpx2.get(url, headers=headers(server.key)).text + done(server.data, "keys", "list")
    for one in values:
        assert status(server, one) == 200
        assert one not in shown
        assert holding(server.data, one) == []
        assert one not in server.log()


def test_no_key_stands_in_errors_or_in_the_log(server: Server) -> None:
    wrong = "outr_a_key_that_nobody_made_0123456789"
    answers = [
        httpx2.get(f"{server.url}/v1/agents", headers=headers(wrong)),
        httpx2.get(f"{server.url}/v1/agents", headers={"x-api-key": wrong}),
        httpx2.get(f"{server.url}/v1/agents", headers={"authorization": f"Basic {wrong}"}),
        httpx2.post(f"{server.url}/v1/agents", headers=headers(wrong), content=b"{"),
        httpx2.post(f"{server.url}/v1/agents", headers=headers(server.key), content=b"{"),
        httpx2.put(f"{server.url}/v1/agents", headers=headers(server.key)),
    ]
    assert all(answer.status_code >= 400 for answer in answers)
    for answer in answers:
        assert wrong not in answer.text
        assert server.key not in answer.text
    assert wrong not in server.log()
    assert server.key not in server.log()


def test_a_key_that_is_revoked_over_http_is_refused_by_the_next_request(server: Server) -> None:
    key_id, value = made(server)
    assert status(server, value) == 200
    answer = revoked(server, key_id)
    assert answer.json()["revoked_at"] is not None
    assert status(server, value) == 401
    assert revoked(server, key_id).json() == answer.json()
    listed = httpx2.get(f"{server.url}/outrider/v1/keys?limit=100", headers=headers(server.key)).json()["data"]
    assert key_id not in {one["id"] for one in listed}


def test_a_key_that_the_command_revokes_is_refused_when_the_command_is_back(server: Server) -> None:
    value = done(server.data, "keys", "create", "from the terminal", "--scope", "user")
    assert status(server, value) == 200
    (line,) = [line for line in command(server.data, "keys", "list").stdout.splitlines() if "from the terminal" in line]
    with busy(server, value):
        done(server.data, "keys", "revoke", line.split()[0])
        assert status(server, value) == 401
    assert command(server.data, "keys", "revoke", "apikey_unknown").returncode == 2


@contextmanager
def busy(server: Server, key: str) -> Generator[None]:
    """Somebody uses the key all the time, so that the server never has to look it up anew."""
    stop = threading.Event()

    def use() -> None:
        with httpx2.Client(base_url=server.url, headers=headers(key)) as client:
            while not stop.is_set():
                client.get("/v1/agents?limit=1")

    user = threading.Thread(target=use)
    user.start()
    try:
        yield
    finally:
        stop.set()
        user.join()


def opened_session(client: Anthropic) -> str:
    agent = client.beta.agents.create(name="watched", model="scripted/demo")
    environment = client.beta.environments.create(name="watched")
    return client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id


def test_a_live_stream_ends_soon_after_its_key_was_revoked_and_no_other_does(server: Server) -> None:
    client = sdk_client(server.url, server.key)
    session = opened_session(client)
    (one_id, one), (_, other) = made(server), made(server)
    ended: dict[str, Any] = {}

    def follow(name: str, key: str, opened: threading.Event) -> None:
        watcher = sdk_client(server.url, key, timeout=BOUND * 2)
        with watcher.beta.sessions.events.stream(session) as stream:
            opened.set()
            try:
                ended[name] = [event.type for event in stream]
            except anthropic.APIError as error:
                ended[name] = error

    watchers: dict[str, threading.Thread] = {}
    for name, key in (("revoked", one), ("kept", other)):
        opened = threading.Event()
        watchers[name] = threading.Thread(target=follow, args=(name, key, opened))
        watchers[name].start()
        assert opened.wait(BOUND)
    assert revoked(server, one_id).status_code == 200
    watchers["revoked"].join(BOUND)
    assert not watchers["revoked"].is_alive(), "the stream went on"
    assert ended["revoked"] == [], "it ended like one that is over, not like a broken one"
    assert watchers["kept"].is_alive()
    client.beta.sessions.delete(session)
    watchers["kept"].join(BOUND)
    assert ended["kept"] == ["session.deleted"]


@pytest.mark.timeout(150)
def test_on_a_stopped_server_and_from_start_to_start() -> None:
    """Keys and workspaces are made without a server; a first key takes the former one's place, and a revoked one does
    not come back by being the first key again."""
    old, new = "outr_the_old_first_key_0123", "outr_the_new_first_key_0123"
    with data_directory() as data:
        assert "There is no server's data" in command(data, "keys", "list").stderr
        with serving(data, {}, key=old) as server:
            assert status(server, old) == 200
        workspace = done(data, "workspaces", "create", "team")
        value = done(data, "keys", "create", "made while stopped", "--workspace", "team")
        assert command(data, "workspaces", "create", "team").returncode == 2
        with serving(data, {}, key=new) as server:
            assert (status(server, old), status(server, new)) == (401, 200)
            answer = httpx2.get(f"{server.url}/v1/agents", headers=headers(value))
            assert answer.headers["anthropic-workspace-id"] == workspace
            done(data, "workspaces", "archive", "team")
            assert status(server, value) == 401
            listed = httpx2.get(f"{server.url}/outrider/v1/keys", headers=headers(new)).json()["data"]
            assert [(one["name"], one["scope"]) for one in listed] == [("first key", "admin")]
            assert revoked_by(server, new, listed[0]["id"]) == 200
        assert "archived" in command(data, "keys", "create", "late", "--workspace", workspace).stderr
        assert command(data, "workspaces", "delete", workspace, typed="y\n").returncode == 0
        assert "being deleted" in listed_workspaces(data)[workspace]
        with serving(data, {}, key=new) as server:
            assert status(server, new) == 401
            assert "was revoked" in server.log()
            deadline = time.monotonic() + 3 * BOUND
            while workspace in listed_workspaces(data):
                assert time.monotonic() < deadline


def listed_workspaces(data: Path) -> dict[str, str]:
    """What the command says of each, by its id."""
    lines = command(data, "workspaces", "list", "--all").stdout.splitlines()
    return {line.split()[0]: line for line in lines}


def revoked_by(server: Server, key: str, key_id: str) -> int:
    """An admin may revoke its own key."""
    return httpx2.post(f"{server.url}/outrider/v1/keys/{key_id}/revoke", headers=headers(key)).status_code


def test_a_key_revoked_at_one_of_two_servers_on_a_database_is_refused_by_both(postgres: PostgresServer) -> None:
    shared = {"OUTRIDER_DATABASE_URL": postgres.url(postgres.database(), tcp=True)}
    with ExitStack() as stack:
        servers: list[Server] = []
        for number in range(2):
            data: Path = stack.enter_context(data_directory())
            servers.append(stack.enter_context(serving(data, shared, key=f"outr_first_key_of_server_{number}")))
        assert [status(one, servers[0].key) for one in servers] == [200, 200]
        key_id, value = made(servers[0])
        with busy(servers[1], value):
            assert status(servers[1], value) == 200
            assert revoked(servers[0], key_id).status_code == 200
            assert [status(one, value) for one in servers] == [401, 401]
        told = done(servers[1].data, "keys", "create", "by command", environment=shared)
        assert [status(one, told) for one in servers] == [200, 200]
        listed = command(servers[1].data, "keys", "list", environment=shared).stdout
        (line,) = [line for line in listed.splitlines() if "by command" in line]
        done(servers[0].data, "keys", "revoke", line.split()[0], environment=shared)
        assert [status(one, told) for one in servers] == [401, 401]
