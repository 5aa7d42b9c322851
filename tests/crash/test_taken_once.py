"""Two real servers on one database; the first is frozen (SIGSTOP) while it holds a request. What a client sends again
at the second is taken once, and what the first one had locked in the database does not hold the second one up."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx2
import pytest
from live_server import KEY, Stage

from outrider.models.scripted.script import Turn
from outrider.store.postgres import connections
from outrider.testing.postgres_server import PostgresServer
from outrider.testing.server_process import ServerProcess, data_directory, running_server
from outrider.testing.stops import Stop, Stops

DEADLINE = 30.0
NO_SESSIONS = "[limits]\nrunning_sessions = 0\n"
WORDS = {"events": [{"type": "user.message", "content": [{"type": "text", "text": "hello"}]}]}
HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "anthropic-beta": "managed-agents-2026-04-01"}


@dataclass
class Pair:
    """`frozen` stands still when told to; `other` goes on."""

    frozen: ServerProcess
    other: ServerProcess
    stops: Stops
    agent: str
    environment: str
    pool: ThreadPoolExecutor
    url: str
    frozen_url: str = ""

    def post(self, server: ServerProcess, path: str, body: Any, *, retry: int = 0, key: str = "") -> httpx2.Response:
        headers = HEADERS | {"x-stainless-retry-count": str(retry)} | ({"idempotency-key": key} if key else {})
        url = server.until_up() if server is self.other else self.frozen_url
        return httpx2.post(f"{url}{path}", content=json.dumps(body), headers=headers, timeout=DEADLINE)

    def get(self, path: str) -> Any:
        found = httpx2.get(f"{self.other.until_up()}{path}", headers=HEADERS, timeout=DEADLINE)
        found.raise_for_status()
        return found.json()

    def session(self) -> str:
        made = self.post(self.other, "/v1/sessions", {"agent": self.agent, "environment_id": self.environment})
        made.raise_for_status()
        return made.json()["id"]

    def messages(self, session: str) -> list[str]:
        found = self.get(f"/v1/sessions/{session}/events?limit=1000")["data"]
        return [event["id"] for event in found if event["type"] == "user.message"]

    @contextmanager
    def held(self, point: str, path: str, body: Any, **more: Any) -> Generator[Future[httpx2.Response]]:
        """The first server gets this request and stands frozen at the point with it; at the end it goes on."""
        self.stops.want(point)
        first = self.pool.submit(self.post, self.frozen, path, body, **more)
        stop = self.stops.held(DEADLINE)
        assert stop is not None, f"nobody came to {point}"
        with frozen(stop):
            yield first


@contextmanager
def frozen(stop: Stop) -> Generator[None]:
    os.kill(stop.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(stop.pid, signal.SIGCONT)
        stop.go()


@pytest.fixture(scope="module")
def pair(postgres: PostgresServer) -> Generator[Pair]:
    with ExitStack() as stack:
        stage = stack.enter_context(Stage().open())
        stage.put("once", Turn("Yes."), Turn("Yes."), Turn("Yes."), Turn("Yes."))
        stops = stack.enter_context(Stops())
        url = postgres.url(postgres.database(), tcp=True)
        environment = {
            "OUTRIDER_API_KEY": KEY, "OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key-for-tests",
            "OUTRIDER_DATABASE_URL": url,
        }  # fmt: skip
        servers: list[ServerProcess] = []
        for config, faults in ((NO_SESSIONS, stops.theirs), ("", None)):
            data = stack.enter_context(data_directory())
            data.mkdir(mode=0o711)
            (data / "config.toml").write_text(config)
            servers.append(stack.enter_context(running_server(data, environment=environment, faults=faults)))
        pair = Pair(servers[0], servers[1], stops, "", "", stack.enter_context(ThreadPoolExecutor(4)), url)
        pair.frozen_url = servers[0].until_up()
        pair.agent = pair.post(pair.other, "/v1/agents", {"name": "once", "model": "once"}).json()["id"]
        pair.environment = pair.post(pair.other, "/v1/environments", {"name": "once"}).json()["id"]
        stack.callback(stops.run)
        yield pair


@pytest.mark.parametrize("key", ["", "a-key"], ids=["by-count", "by-key"])
def test_a_message_sent_again_at_the_other_server_is_taken_once(pair: Pair, key: str) -> None:
    session = pair.session()
    path = f"/v1/sessions/{session}/events"
    with pair.held("api.take.before", path, WORDS, key=key) as first:
        again = pair.post(pair.other, path, WORDS, retry=1, key=key)
        assert again.status_code == 200, again.text
    late = first.result(DEADLINE)
    assert (late.status_code, late.json()) == (200, again.json())
    assert pair.messages(session) == [again.json()["data"][0]["id"]]


def test_a_retry_that_is_held_up_is_not_taken_after_the_first_attempt(pair: Pair) -> None:
    session = pair.session()
    path = f"/v1/sessions/{session}/events"
    with pair.held("api.take.before", path, WORDS, retry=1) as retry:
        first = pair.post(pair.other, path, WORDS)
    assert retry.result(DEADLINE).json() == first.json()
    assert pair.messages(session) == [first.json()["data"][0]["id"]]


def test_a_session_asked_for_again_at_the_other_server_is_made_once(pair: Pair) -> None:
    before = {one["id"] for one in pair.get("/v1/sessions?limit=1000")["data"]}
    body = {"agent": pair.agent, "environment_id": pair.environment, "title": "once"}
    with pair.held("api.take.before", "/v1/sessions", body) as first:
        again = pair.post(pair.other, "/v1/sessions", body, retry=1)
    assert first.result(DEADLINE).json() == again.json()
    after = {one["id"] for one in pair.get("/v1/sessions?limit=1000")["data"]}
    assert after - before == {again.json()["id"]}


def test_the_same_words_said_twice_on_purpose_are_taken_twice_although_one_was_held_up(pair: Pair) -> None:
    session = pair.session()
    path = f"/v1/sessions/{session}/events"
    with pair.held("api.take.before", path, WORDS) as first:
        second = pair.post(pair.other, path, WORDS)
    ids = {first.result(DEADLINE).json()["data"][0]["id"], second.json()["data"][0]["id"]}
    assert len(ids) == 2
    assert set(pair.messages(session)) == ids


def test_words_said_anew_after_a_retry_of_the_same_words_are_taken(pair: Pair) -> None:
    session = pair.session()
    path = f"/v1/sessions/{session}/events"
    for retry in (1, 0):  # the first attempt of the one was lost on its way
        assert pair.post(pair.other, path, WORDS, retry=retry).status_code == 200
    assert len(pair.messages(session)) == 2


async def is_locked(url: str, session: str) -> bool:
    link = await connections.to_read(url)
    try:
        await link.fetch("SELECT 1 FROM heads WHERE session = $1 FOR UPDATE NOWAIT", session)
    except asyncpg.LockNotAvailableError:
        return True
    finally:
        await link.close()
    return False


def test_a_server_frozen_in_the_middle_of_a_transaction_holds_nobody_up(pair: Pair) -> None:
    """A deletion is a transaction of several statements, and has locked the session's head when it stands here."""
    session = pair.session()
    url = f"{pair.frozen_url}/v1/sessions/{session}"
    pair.stops.want("api.delete.before")
    deleted = pair.pool.submit(httpx2.delete, url, headers=HEADERS, timeout=60.0)
    at_api = pair.stops.held(DEADLINE)
    assert at_api is not None
    pair.stops.want("store.commit.before")
    at_api.go()
    stop = pair.stops.held(DEADLINE)
    while stop is not None and not asyncio.run(is_locked(pair.url, session)):  # it is but a beat
        pair.stops.want("store.commit.before")
        stop.go()
        stop = pair.stops.held(DEADLINE)
    assert stop is not None
    with frozen(stop):
        sent = pair.post(pair.other, f"/v1/sessions/{session}/events", WORDS)
        assert sent.status_code == 200, sent.text
    answer = deleted.result(60.0)
    assert answer.status_code in (200, 400, 409), answer.text  # by then it may run, or rest again
