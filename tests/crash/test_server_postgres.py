"""A whole server on PostgreSQL: what it survives, and where the database's password is not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest
from live_server import KEY, Server, Stage, data_directory, serving
from on_disk import holding
from session_talk import Talk

from outrider.models.scripted.script import Turn
from outrider.store.postgres import PostgresStore
from outrider.testing.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


@pytest.fixture
def environment(stage: Stage, postgres: PostgresServer) -> dict[str, str]:
    url = postgres.url(postgres.database(), tcp=True)
    return {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "k", "OUTRIDER_DATABASE_URL": url}


def opened(server: Server, model: str) -> Talk:
    client = server.client()
    agent = client.beta.agents.create(name="tester", model=model)
    environment = client.beta.environments.create(name="tests")
    return Talk(client, client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id)


def ask(talk: Talk, text: str) -> None:
    with talk.stream() as reader:
        talk.say(text)
        reader.idle("end_turn")


def test_a_session_goes_on_over_restarts_of_the_database_and_of_the_server(
    stage: Stage, postgres: PostgresServer, environment: dict[str, str]
) -> None:
    stage.put("model", Turn("One."), Turn("Two."), Turn("Three."))
    with data_directory() as data:
        with serving(data, environment) as server:
            talk = opened(server, "model")
            ask(talk, "first")
            postgres.restart()
            ask(talk, "second")
            session = talk.id
        with serving(data, environment) as server:
            ask(Talk(server.client(), session), "third")
            events = list(server.client().beta.sessions.events.list(session))
            assert [event.type for event in events].count("agent.message") == 3
            assert not (data / "outrider.db").exists()


def closed(pid: int) -> bool:
    """Whether the process has hidden itself, as supervisor and vault do: then even its own user can't look inside."""
    return os.geteuid() != 0 and not os.access(f"/proc/{pid}/environ", os.R_OK)


def open_files(pid: int) -> list[str]:
    """By name; the process opens and closes others meanwhile."""
    found: list[str] = []
    for file in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{file}"))
    return found


def test_the_databases_password_is_in_no_process_but_the_server_and_in_no_file(
    postgres: PostgresServer, environment: dict[str, str]
) -> None:
    secret = postgres.password.encode()
    with data_directory() as data, serving(data, environment) as server:
        server.client().beta.agents.create(name="tester", model="model")
        pids = {"supervisor": server.process.pid, **server.pids()}
        for role, pid in pids.items():
            assert secret not in Path(f"/proc/{pid}/cmdline").read_bytes(), role
            if closed(pid):
                continue
            assert secret not in Path(f"/proc/{pid}/environ").read_bytes(), role
            files = open_files(pid)
            holds = any("outrider-credentials" in file for file in files)
            assert holds == (role in ("supervisor", "server")), f"{role}: {files}"
        assert holding(data, secret) == []
        assert secret.decode() not in server.log()
        assert (data / "server.json").exists()


def test_a_server_on_postgresql_takes_its_first_key_and_keeps_its_workspace(
    postgres: PostgresServer, environment: dict[str, str]
) -> None:
    async def workspace() -> str:
        async with await PostgresStore.open(environment["OUTRIDER_DATABASE_URL"]) as store:
            return store.default_workspace

    with data_directory() as data, serving(data, environment) as server:
        assert server.key == KEY
        server.client().beta.agents.create(name="tester", model="model")
    database = environment["OUTRIDER_DATABASE_URL"].rpartition("/")[2]
    assert postgres.sql("SELECT workspace FROM agents", database) == asyncio.run(workspace())


@pytest.mark.skipif(os.geteuid() != 0, reason="only as root have the roles users of their own")
def test_a_home_that_the_servers_user_can_not_enter_is_no_obstacle(stage: Stage, environment: dict[str, str]) -> None:
    """Drivers look for certificates and passwords in the home directory, and root's is closed to others."""
    stage.put("model", Turn("Here."))
    with data_directory() as data:
        home = data.parent / "home"
        home.mkdir(mode=0o700)
        with serving(data, environment | {"HOME": str(home)}) as server:
            talk = opened(server, "model")
            ask(talk, "hello")
            talk.client.close()
