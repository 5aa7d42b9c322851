"""Runs the conformance suite of the doorbell ports on every exchange."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager

import pytest
from postgres_trial import empty_database

from outrider.doorbell.nats import NatsExchange
from outrider.doorbell.postgres import PostgresExchange
from outrider.ports.doorbell import Exchange
from outrider.ports.store import StorePorts
from outrider.store.postgres import PostgresStore
from outrider.testing.doorbell_suite import EXCHANGE_CONTRACTS
from outrider.testing.exchange_trial import ExchangeContract, ExchangeTrial, OnCommit
from outrider.testing.memory_log import MemoryStore
from outrider.testing.nats_server import NatsServer, nats_server
from outrider.testing.postgres_server import PostgresServer
from outrider.testing.switchboard import Switchboard

pytestmark = pytest.mark.anyio
PREFIXES = itertools.count(1)


@pytest.fixture(scope="module")
def nats() -> Generator[NatsServer]:
    with nats_server() as server:
        yield server


def in_process() -> ExchangeTrial:
    store, board = MemoryStore(shared=True), Switchboard()

    @asynccontextmanager
    async def link(on_commit: OnCommit) -> AsyncGenerator[tuple[StorePorts, Exchange]]:
        yield store.branch(on_commit=on_commit), board.exchange()

    async def lose_connections() -> None:
        board.lose_connections()

    return ExchangeTrial(link, lose_connections, look_seconds=60)


def over_nats(server: NatsServer) -> ExchangeTrial:
    store, prefix = MemoryStore(shared=True), f"trial{next(PREFIXES)}"

    @asynccontextmanager
    async def link(on_commit: OnCommit) -> AsyncGenerator[tuple[StorePorts, Exchange]]:
        yield store.branch(on_commit=on_commit), NatsExchange(server.url, prefix=prefix)

    async def lose_connections() -> None:
        server.kill()
        server.start()

    return ExchangeTrial(link, lose_connections, look_seconds=60)


async def over_postgres(server: PostgresServer) -> ExchangeTrial:
    url = await empty_database(server)

    @asynccontextmanager
    async def link(on_commit: OnCommit) -> AsyncGenerator[tuple[StorePorts, Exchange]]:
        async with await PostgresStore.open(url, on_commit=on_commit) as store:
            yield store, PostgresExchange(url, store.writer)

    async def lose_connections() -> None:
        server.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %' OR query = 'SELECT 1'"
        )

    return ExchangeTrial(link, lose_connections, previews=False, look_seconds=60)


@pytest.fixture(params=["in process", "postgres", "nats"])
async def trial(request: pytest.FixtureRequest) -> ExchangeTrial:
    if request.param == "nats":
        return over_nats(request.getfixturevalue("nats"))
    if request.param == "postgres":
        return await over_postgres(request.getfixturevalue("postgres"))
    return in_process()


@pytest.mark.parametrize("contract", EXCHANGE_CONTRACTS, ids=lambda contract: contract.__name__)
async def test_the_exchange_keeps_its_contract(contract: ExchangeContract, trial: ExchangeTrial) -> None:
    await contract(trial)
