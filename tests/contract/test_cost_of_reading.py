"""Reading and waking cost the window and not the history, counted where rows come from the database: a log ten times as
long takes as many rows, bytes and steps."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from postgres_trial import empty_database

from outrider.clock import SystemClock
from outrider.harness.journal import Journal
from outrider.ids import MonotonicIds
from outrider.ports.log import HistoryQuery, NewEvent, SessionKey
from outrider.ports.store import StorePorts
from outrider.session import events
from outrider.session.events import EventFactory
from outrider.session.feed import Feed
from outrider.store.postgres import PostgresStore
from outrider.store.postgres import connections as of_postgres
from outrider.store.sqlite import SqliteStore
from outrider.store.sqlite import connections as of_sqlite
from outrider.testing.postgres_server import PostgresServer
from outrider.testing.store_trial import THREAD, bury_all, record

pytestmark = pytest.mark.anyio
WINDOW_TURNS = 20
SHORT, LONG = 100, 1010  # turns, of ten rows each
PAGE = 20
TURNS_A_FLUSH = 10
STEPS = 10  # of SQLite's machine, at each call of the handler


@dataclass
class Meter:
    """What has come from the database. `steps` counts SQLite's work, also on rows that it then left out."""

    rows: int = 0
    bytes: int = 0
    steps: int = 0

    def take(self, values: Any) -> None:
        self.rows += 1
        self.bytes += sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in values)

    def zero(self) -> None:
        self.rows = self.bytes = self.steps = 0


class MeteredLink:
    """A connection of the driver's whose answers are counted."""

    def __init__(self, link: Any, meter: Meter) -> None:
        self._link = link
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    async def fetch(self, query: str, *values: Any, timeout: float | None = None) -> list[Any]:
        found = await self._link.fetch(query, *values, timeout=timeout)
        for row in found:
            self._meter.take(row.values())
        return found


def metered_sqlite(meter: Meter) -> Callable[[Path], sqlite3.Connection]:
    plain = of_sqlite.reader

    def count(_cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> tuple[Any, ...]:
        meter.take(row)
        return row

    def step() -> int:
        meter.steps += STEPS
        return 0

    def reader(path: Path) -> sqlite3.Connection:
        connection = plain(path)
        connection.row_factory = count
        connection.set_progress_handler(step, STEPS)
        return connection

    return reader


@pytest.fixture(params=["sqlite", "postgres"])
async def metered(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[tuple[StorePorts, Meter]]:
    meter = Meter()
    if request.param == "sqlite":
        monkeypatch.setattr(of_sqlite, "reader", metered_sqlite(meter))
        async with await SqliteStore.open(tmp_path / "log.db") as store:
            yield store, meter
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    plain = of_postgres.to_read

    async def to_read(url: str) -> Any:
        return MeteredLink(await plain(url), meter)

    url = await empty_database(server)
    monkeypatch.setattr(of_postgres, "to_read", to_read)
    async with await PostgresStore.open(url) as store:
        yield store, meter


async def fill(store: StorePorts, name: str, turns: int) -> SessionKey:
    """A log written by the owner's own journal, with a compaction that leaves the last turns in view."""
    key, ids, clock = SessionKey("wrkspc_a", name), MonotonicIds(), SystemClock()
    factory = EventFactory(THREAD, "agent", ids, clock)
    agent: dict[str, Any] = {"id": "agent_1", "name": "agent", "model": {"id": "m"}, "tools": []}
    opening = factory.internal(events.CREATED, {"agent": agent, "environment": {}})
    await store.create_session(record(name), [opening], wake=True)
    (lease,) = await store.claim("filler", limit=1, key=key)
    journal = Journal(store, lease, ids, clock)
    await journal.load()
    for number in range(turns):
        journal.stage(*turn(factory, number))
        if number == turns - WINDOW_TURNS:
            told = {"summary": "what happened so far", "keep": 0, "tokens": 100}
            journal.stage(factory.internal(events.SUMMARY, told))
        journal.stage_idle({"type": "end_turn"}, None)
        if number % TURNS_A_FLUSH == TURNS_A_FLUSH - 1:
            await journal.flush(exact=True)
    await bury_all(store)
    return key


def turn(factory: EventFactory, number: int) -> list[NewEvent]:
    message = factory.waiting("user.message", {"content": events.text_blocks(f"Question {number:05}. " + "x" * 200)})
    start = factory.public("span.model_request_start")
    answer = factory.public("agent.message", {"content": events.text_blocks("An answer. " + "y" * 400)})
    counts = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    usage = {"model_usage": dict.fromkeys(counts, 100), "is_error": False, "model_request_start_id": start.id}
    reply = {"blocks": [{"ref": answer.id, "index": 0}], "stop_reason": "end_turn", "stop_details": None}
    return [
        message,
        factory.public("session.status_running"),
        factory.processed(message.id),
        start,
        answer,
        factory.internal(events.REPLY, reply),
        factory.public("span.model_request_end", usage),
    ]


async def wake(store: StorePorts, key: SessionKey) -> None:
    ids = MonotonicIds()
    (lease,) = await store.claim(ids.new("worker"), limit=1, key=key)
    journal = Journal(store, lease, ids, SystemClock())
    await journal.load()
    assert journal.state.seq == await store.head(key)
    await store.surrender(key, lease.worker)


async def newest(store: StorePorts, key: SessionKey) -> None:
    assert len(await store.history(key, HistoryQuery(PAGE, descending=True))) == PAGE


async def oldest(store: StorePorts, key: SessionKey) -> None:
    assert len(await store.history(key, HistoryQuery(PAGE))) == PAGE


async def middle(store: StorePorts, key: SessionKey) -> None:
    head = await store.head(key)
    assert len(await store.history(key, HistoryQuery(PAGE, after=head // 2))) == PAGE


async def stream(store: StorePorts, key: SessionKey) -> None:
    feed = Feed(store, SystemClock(), MonotonicIds(), lambda _, body: body, replay_window=0, heartbeat=60)
    (await feed.subscribe(key, previews=frozenset())).close()


OPERATIONS: dict[str, Callable[[StorePorts, SessionKey], Awaitable[None]]] = {
    "wake": wake, "newest page": newest, "oldest page": oldest, "page in the middle": middle,
    "stream": stream,
}  # fmt: skip


async def test_waking_and_reading_a_long_log_cost_as_much_as_with_a_short_one(
    metered: tuple[StorePorts, Meter],
) -> None:
    store, meter = metered
    short, long = await fill(store, "sesn_short", SHORT), await fill(store, "sesn_long", LONG)
    assert await store.head(long) > 10_000 > 9 * await store.head(short) > 9_000
    found: dict[str, list[Meter]] = {}
    for key in (short, long, short, long):  # the first two rounds open connections
        for name, operation in OPERATIONS.items():
            meter.zero()
            await operation(store, key)
            found.setdefault(name, []).append(Meter(meter.rows, meter.bytes, meter.steps))
    for name, (_, _, little, much) in found.items():
        assert much.rows <= little.rows + 2, name
        assert much.bytes <= little.bytes * 1.1 + 200, name
        assert much.steps <= little.steps * 1.2 + 200, name
        assert much.rows <= 3 * PAGE, name
