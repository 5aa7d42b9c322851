"""`outrider doctor` on PostgreSQL and NATS: what it finds, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import replace

import pytest
from pgbouncer import NoPooler, pgbouncer

from outrider.store.postgres import PostgresStore
from outrider.testing.nats_server import NatsServer, nats_server
from outrider.testing.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def bus() -> Generator[NatsServer]:
    with nats_server() as server:
        yield server


def doctor(more: Mapping[str, str]) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "outrider", "doctor", "--no-model", "--data", data]
        run = subprocess.run(command, env=clean | dict(more), capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in run.stderr
    assert ("FAIL" in run.stdout) == (run.returncode != 0)
    return run.stdout


async def begin(url: str) -> None:
    async with await PostgresStore.open(url):
        pass


def test_doctor_looks_at_the_database_and_at_nats(postgres: PostgresServer, bus: NatsServer) -> None:
    url = postgres.url(postgres.database(), tcp=True)
    said = doctor({"OUTRIDER_DATABASE_URL": url, "OUTRIDER_NATS_URL": bus.url})
    assert "no tables yet" in said
    assert "with JetStream" in said
    asyncio.run(begin(url))
    again = doctor({"OUTRIDER_DATABASE_URL": url})
    assert "this release's" in again
    assert "NATS" not in again
    for secret in (postgres.password, bus.password):
        assert secret not in said + again


def test_doctor_names_what_would_stop_a_server(postgres: PostgresServer, bus: NatsServer) -> None:
    name = postgres.database()
    url = postgres.url(name, tcp=True)
    asyncio.run(begin(url))
    postgres.sql("CREATE ROLE lodger LOGIN PASSWORD 'lodging'", name)
    lodger = url.replace(f"outrider:{postgres.password}", "lodger:lodging")
    said = doctor({"OUTRIDER_DATABASE_URL": lodger})
    assert "may make no tables" in said
    assert "belongs to another role" in said
    postgres.sql("INSERT INTO schema_version VALUES (999, 'later')", name)
    assert "is newer than" in doctor({"OUTRIDER_DATABASE_URL": url})
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "read-only" in doctor({"OUTRIDER_DATABASE_URL": url})
    wrong = {"OUTRIDER_DATABASE_URL": url.replace(postgres.password, "guess")}
    nowhere = {"OUTRIDER_NATS_URL": replace(bus, port=1).url}
    lost = doctor(wrong | nowhere)
    assert "InvalidPassword" in lost
    assert "NATS can't be used" in lost
    assert bus.password not in lost


def test_doctor_tells_poolers_apart(postgres: PostgresServer) -> None:
    name = postgres.database()
    for mode, answer in (("session", "behind a pooler that keeps sessions"), ("transaction", "pool_mode = session")):
        try:
            with pgbouncer(postgres, mode) as pooler:
                assert answer in doctor({"OUTRIDER_DATABASE_URL": pooler.url(name)})
        except NoPooler as missing:
            pytest.skip(str(missing))
