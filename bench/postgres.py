"""The shared store: durable appends to PostgreSQL, by one writer and by many sessions; then many live readers of a
session on a server that keeps its log there."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import uvloop

from bench import readers
from bench.database import database
from bench.deployment import deployed
from bench.store import appends_by_many, appends_by_one
from outrider.store.postgres import PostgresStore

ONE = 1_000
SESSIONS, EACH = 64, 300
ROUNDS = 5  # the middle one counts


def measure() -> dict[str, Any]:
    with database() as url:
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)  # the server's settings
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the server's loop
            found = runner.run(_appends(url))
    with database() as url:  # another server: that one is busy with its vacuum
        return found | asyncio.run(_readers(url))


async def _appends(url: str) -> dict[str, Any]:
    async with await PostgresStore.open(url) as store:
        one = await appends_by_one(store, ONE)
        rounds = [await appends_by_many(store, SESSIONS, EACH, 1, number) for number in range(ROUNDS)]
    middle = sorted(rounds, key=lambda found: found["events_per_s"])[ROUNDS // 2]
    each = [found["events_per_s"] for found in rounds]
    return {"one_writer": one, "many_sessions": {**middle, "events_per_s_each_round": each}}


async def _readers(url: str) -> dict[str, Any]:
    async with deployed(database_url=url) as d:
        return await readers.measure(d)
