"""Runs the conformance suite of the doorbell ports on every exchange."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager

import pytest
from postgres_trial import empty_database

from outrider.clock import SystemClock
from outrider.doorbell.nats import NatsExchange
from outrider.doorbell.postgres import FAILURES, PostgresExchange
from outrider.ids import MonotonicIds
from outrider.ports.doorbell import Exchange
from outrider.ports.store import StorePorts
from outrider.session.feed import Feed
from outrider.store.postgres import PostgresStore, problems
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


async def test_listening_is_tried_again_after_whatever_the_store_takes_for_a_lost_connection() -> None:
    """Such as an answer that is none of PostgreSQL's."""
    assert all(issubclass(one, FAILURES) for one in problems.LOST)
    asked = asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.release()
        await reader.read(8)
        writer.write(b"R\x00\x00\x00\x05\x00")  # a way to authenticate, cut short
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        exchange = PostgresExchange(f"postgresql://user:word@127.0.0.1:{port}/none?sslmode=disable", "nobody")
        store, clock, ids = MemoryStore(), SystemClock(), MonotonicIds()
        feed = Feed(store, clock, ids, lambda _, body: body, replay_window=0.0, heartbeat=20.0)
        async with asyncio.timeout(10), exchange.opened(feed):
            for _ in range(3):
                await asked.acquire()
