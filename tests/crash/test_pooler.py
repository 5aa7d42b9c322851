"""Behind PgBouncer: by session all is as without it; by transaction the server says at once what is wrong."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack

import pytest
from live_server import Server, Stage, data_directory, serving
from pgbouncer import NoPooler, Pooler, pgbouncer
from session_talk import Talk

from outrider.errors import Internal
from outrider.models.scripted.script import Turn
from outrider.store.postgres import PostgresStore
from outrider.testing.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


@pytest.fixture
def pooling(postgres: PostgresServer) -> Generator[Callable[[str], Pooler]]:
    with ExitStack() as stack:

        def make(mode: str) -> Pooler:
            try:
                return stack.enter_context(pgbouncer(postgres, mode))
            except NoPooler as missing:
                pytest.skip(str(missing))

        yield make


def opened(server: Server, model: str) -> Talk:
    client = server.client(max_retries=4)
    agent = client.beta.agents.create(name="pooled", model=model)
    place = client.beta.environments.create(name="pooled")
    return Talk(client, client.beta.sessions.create(agent=agent.id, environment_id=place.id).id)


def test_two_servers_behind_a_pooler_by_session_share_a_session_also_after_it_was_killed(
    stage: Stage, postgres: PostgresServer, pooling: Callable[[str], Pooler]
) -> None:
    stage.put("model", Turn("One."), Turn("Two."))
    pooler = pooling("session")
    url = pooler.url(postgres.database())
    environment = {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "k", "OUTRIDER_DATABASE_URL": url}
    with data_directory() as here, data_directory() as there:
        with serving(here, environment) as first, serving(there, environment) as second:
            talk = opened(first, "model")
            elsewhere = Talk(second.client(max_retries=4), talk.id)
            with elsewhere.stream() as reader:
                talk.say("first")
                reader.idle("end_turn")
            pooler.kill()
            pooler.start()
            elsewhere.say("second")
            elsewhere.wait(seconds=40)
            said = [event.type for event in talk.history()]
            assert said.count("agent.message") == said.count("user.message") == 2


def test_a_pooler_by_transaction_is_refused_at_the_start(
    stage: Stage, postgres: PostgresServer, pooling: Callable[[str], Pooler]
) -> None:
    url = pooling("transaction").url(postgres.database())
    for _ in range(2):  # whether or not the pooler has sessions of before
        with pytest.raises(Internal, match="pool_mode = session"):
            asyncio.run(PostgresStore.open(url))
    with data_directory() as data:
        more = {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "k", "OUTRIDER_DATABASE_URL": url}
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
        command = [sys.executable, "-m", "outrider", "serve", "--port", "0", "--data", str(data)]
        run = subprocess.run(command, env=clean | more, capture_output=True, text=True, timeout=40, check=False)
    assert run.returncode != 0
    assert "pool_mode = session" in run.stderr
    assert "Traceback" not in run.stderr
