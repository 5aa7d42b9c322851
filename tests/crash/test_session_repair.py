"""`outrider session repair` on a real server: faults planted in its database are shown, mended, and then gone."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import pytest
from live_server import KEY, Server, Stage, data_directory, serving
from session_talk import Talk

from outrider.models.scripted.script import Turn
from outrider.session import state as states
from outrider.store.postgres import connections
from outrider.testing.postgres_server import PostgresServer

FAULTS = (
    "UPDATE sessions SET status = 'running' WHERE id = '{id}'",
    f"INSERT INTO snapshots SELECT log, workspace, 2, {states.VERSION}, {{torn}} FROM heads WHERE session = '{{id}}'",
)
Plant = Callable[[str], None]


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


@pytest.fixture(params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, stage: Stage) -> Generator[tuple[Server, Plant]]:
    environment = {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key-for-tests"}
    with data_directory() as data:
        if request.param == "postgres":
            postgres: PostgresServer = request.getfixturevalue("postgres")
            url = postgres.url(postgres.database(), tcp=True)
            with serving(data, environment | {"OUTRIDER_DATABASE_URL": url}) as server:
                yield server, lambda session: asyncio.run(in_postgres(url, session))
        else:
            with serving(data, environment) as server:
                yield server, lambda session: in_sqlite(data / "outrider.db", session)


def in_sqlite(database: Path, session: str) -> None:
    with closing(sqlite3.connect(database, timeout=10.0)) as db, db:
        for fault in FAULTS:
            db.execute(fault.format(id=session, torn="x'5b'"))


async def in_postgres(url: str, session: str) -> None:
    link = await connections.to_read(url)
    for fault in FAULTS:
        await link.execute(fault.format(id=session, torn=r"'\x5b'::bytea"))
    await link.close()


def repair(server: Server, session: str, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "outrider", "session", "repair", session, "--data", str(server.data), *options]
    environment = os.environ | {"OUTRIDER_API_KEY": KEY}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(120)
def test_faults_are_shown_then_mended_then_gone(stage: Stage, server: tuple[Server, Plant]) -> None:
    live, plant = server
    with live.client() as client:
        agent = client.beta.agents.create(name="mend", model=stage.put("mend", Turn("One."), Turn("Two.")))
        environment = client.beta.environments.create(name="mend")
        talk = Talk(client, client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id)
        talk.say("go")
        talk.wait()
        assert repair(live, talk.id) == (0, f"{talk.id}: nothing is wrong.\n")
        plant(talk.id)
        code, said = repair(live, talk.id)
        assert (code, "snapshot-differs" in said, "record-differs" in said) == (1, True, True), said
        code, said = repair(live, talk.id, "--apply")
        assert (code, said.splitlines()[-1]) == (0, "All is mended."), said
        assert repair(live, talk.id) == (0, f"{talk.id}: nothing is wrong.\n")
        talk.say("again")
        talk.wait()
        assert talk.history()[-1].type == "session.status_idle"
        assert repair(live, "sesn_unknown")[0] == 1
