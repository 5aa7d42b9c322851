"""One server and one scripted model for all conformance tests; each test has model names of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import Play
from live_server import Server, Stage, data_directory, serving
from session_talk import Talk
from strict_wire import Inspector, StrictTransport

from outrider.models.scripted.script import Answer, Request
from outrider.testing.postgres_server import PostgresServer

CONFIG = """
[limits]
backoff_first = 0.02
backoff_most = 0.05
heartbeat = 0.2
tool_rounds = 8
replay_window = 0.2

[mcp]
allow_private = ["127.0.0.1"]
connect_timeout = 5
"""
ENDPOINTS = """
[endpoints.pro]
base_url = "{url}"
auth = "none"
models = ["listed-one", "listed-two", "pro-*"]
effort = true
speed = true
inference_geo = true
mid_conversation_system = true

[egress]
allow_private = ["127.0.0.1:{port}"]

[endpoints.priced]
base_url = "{url}"
auth = "none"
models = ["priced-*"]
price = {{ input = 10, output = 100, cache_read = 1, cache_write = 20 }}

[endpoints.tiny]
base_url = "{url}"
auth = "none"
models = ["tiny-*"]
window = 2000
"""
OTHER_CONFIG = """
[server]
require_beta_header = false
sse_event_names = "message"

[limits]
sandbox_idle = 0.2
replay_window = 30
"""
_numbers = itertools.count(1)


TOOLSET: dict[str, Any] = {"type": "agent_toolset_20260401"}


def _endpoints(stage: Stage) -> str:
    return ENDPOINTS.format(url=stage.url, port=stage.url.rpartition(":")[2])


@pytest.fixture(scope="session")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


@pytest.fixture(scope="session")
def store(request: pytest.FixtureRequest) -> dict[str, str]:
    """What names the server's store, by `--store`; the folder `on_postgres` has its own."""
    if request.config.getoption("--store") == "sqlite":
        return {}
    server: PostgresServer = request.getfixturevalue("postgres")
    return {"OUTRIDER_DATABASE_URL": server.url(server.database(), tcp=True)}


@pytest.fixture(scope="session")
def server(stage: Stage, store: dict[str, str]) -> Generator[Server]:
    with data_directory() as data:
        environment = {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key-for-tests"} | store
        environment |= {"ANTHROPIC_LOG": "warning", "ANTHROPIC_OTHER": "a tool must not see this"}
        with serving(data, environment, config=CONFIG + _endpoints(stage)) as server:
            yield server


@pytest.fixture(scope="session")
def inspector() -> Inspector:
    return Inspector()


@pytest.fixture(autouse=True)
def nothing_breaks_the_sdk_types(inspector: Inspector) -> Generator[None]:
    """Fails each test in which an answer or an event on a stream did not parse strictly."""
    yield
    breaches, inspector.breaches = inspector.breaches, []
    assert not breaches, "\n".join(breaches)


@pytest.fixture(scope="session")
def client(server: Server, inspector: Inspector) -> Generator[Anthropic]:
    with server.client(http_client=httpx2.Client(transport=StrictTransport(inspector))) as client:
        yield client


@pytest.fixture(scope="session")
def raw(server: Server, inspector: Inspector) -> Generator[httpx2.Client]:
    """Plain HTTP to the server, with the headers that every request needs."""
    headers = {"authorization": f"Bearer {server.key}", "anthropic-beta": "managed-agents-2026-04-01"}
    with httpx2.Client(
        base_url=server.url, headers=headers, timeout=20, transport=StrictTransport(inspector)
    ) as client:
        yield client


@pytest.fixture
def model_name() -> str:
    return f"model-{next(_numbers)}"


@pytest.fixture
def play(client: Anthropic, stage: Stage, model_name: str) -> Play:
    """Open a session whose model gives these answers, turn by turn."""
    return _player(client, stage, model_name)


@pytest.fixture(scope="session")
def other_server(stage: Stage) -> Generator[Server]:
    """A server with other settings, and without an endpoint that takes every model name."""
    with data_directory() as data:
        with serving(data, {}, config=OTHER_CONFIG + _endpoints(stage)) as server:
            yield server


@pytest.fixture
def play_other(other_server: Server, inspector: Inspector, stage: Stage, model_name: str) -> Generator[Play]:
    """The same on the other server."""
    with other_server.client(http_client=httpx2.Client(transport=StrictTransport(inspector))) as client:
        yield _player(client, stage, f"pro-{model_name}")


def _player(client: Anthropic, stage: Stage, model_name: str) -> Play:
    def play(
        *answers: Answer,
        decide: Callable[[Request], Answer] | None = None,
        tools: list[Any] | None = None,
        agent: dict[str, Any] | None = None,
        **session: Any,
    ) -> Talk:
        stage.put(model_name, *answers, decide=decide)
        fields: dict[str, Any] = {"name": "tester", "model": model_name, "tools": tools or []} | (agent or {})
        made = client.beta.agents.create(**fields)
        if "environment_id" not in session:
            session["environment_id"] = client.beta.environments.create(name="tests").id
        opened = client.beta.sessions.create(agent=made.id, **session)
        return Talk(client, opened.id)

    return play
