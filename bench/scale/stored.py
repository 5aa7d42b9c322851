"""What a session costs while ten, a thousand, a hundred thousand or a million others lie in the store."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.deployment import Deployment, deployed
from bench.figures import cpu_seconds, summary
from bench.scale.clone import Template
from bench.scale.fill import Filler, PostgresFiller, SqliteFiller
from outrider.clock import SystemClock
from outrider.harness.journal import Journal
from outrider.ids import MonotonicIds
from outrider.ports.log import Lease, SessionKey
from outrider.store.postgres import PostgresStore
from outrider.store.sqlite import SqliteStore

ROUNDS = 100
Store = SqliteStore | PostgresStore


async def measure(place: Path, counts: list[int], database_url: str | None = None) -> dict[str, Any]:
    """Grows one store from count to count. `place` is a directory for it; with `database_url` the log is there."""
    database = place / "data" / "outrider.db"
    filler = PostgresFiller(database_url) if database_url else SqliteFiller(database)
    template = await _template(place, filler, database_url)
    found: dict[str, Any] = {}
    filled = 0
    for count in counts:
        start = time.perf_counter()
        await filler.fill(template, range(filled, count))
        filled, took = count, time.perf_counter() - start
        names = [template.name(random.Random(number).randrange(count)) for number in range(ROUNDS)]
        figures = {"rows of each": sum(len(t.rows) for t in template.tables), "size MB": await filler.size() >> 20}
        figures |= await _on_the_server(place, names, database_url)
        figures |= await _in_the_store(database, names, database_url)
        found[str(count)] = figures | {"filled in s": round(took, 1)}
    return found


async def _template(place: Path, filler: Filler, database_url: str | None) -> Template:
    async with deployed(place=place, database_url=database_url) as d:
        session = await d.session(await d.agent(), await d.environment())
        await _turn(d, session, "What is to be copied?")
    return await filler.template(session)


async def _turn(d: Deployment, session: str, text: str) -> None:
    stream = await d.client.stream(f"/v1/sessions/{session}/events/stream")
    sending = asyncio.create_task(d.say(session, text))
    await stream.until("session.status_idle")
    await sending
    stream.close()


async def _timed(count: int, call: Callable[[int], Awaitable[Any]]) -> dict[str, float | int]:
    taken: list[float] = []
    for number in range(count):
        start = time.perf_counter()
        await call(number)
        taken.append(time.perf_counter() - start)
    return summary(taken)


async def _on_the_server(place: Path, names: list[str], database_url: str | None) -> dict[str, Any]:
    start = time.perf_counter()
    async with deployed(place=place, database_url=database_url) as d:
        up = time.perf_counter() - start
        agent, environment = await d.agent(), await d.environment()
        for _ in range(20):  # warm
            await _turn(d, await d.session(agent, environment), "warm")
        first = "/v1/sessions?limit=20"
        calls: dict[str, Callable[[int], Awaitable[Any]]] = {
            "create": lambda _: d.session(agent, environment),
            "send to idle": lambda number: _turn(d, names[number], "again"),
            "list first page": lambda _: d.client.get(first),
            "list by status": lambda _: d.client.get(f"{first}&statuses[]=running"),
            "list by agent": lambda _: d.client.get(f"{first}&agent_id={agent}&order=asc"),
        }
        server = d.pids()["server"]
        found: dict[str, Any] = {"start, s": round(up, 2)}
        for what, call in calls.items():
            before = cpu_seconds(server)
            found[what] = await _timed(ROUNDS, call)
            found[what]["server cpu ms"] = round((cpu_seconds(server) - before) * 1000 / ROUNDS, 2)
        return found | {"server, MB": round(_resident(server), 1)}


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def _in_the_store(database: Path, names: list[str], database_url: str | None) -> dict[str, Any]:
    opened = PostgresStore.open(database_url) if database_url else SqliteStore.open(database)
    async with await opened as store:
        keys = [SessionKey(store.default_workspace, name) for name in names]
        return {
            "wake": await _timed(ROUNDS, lambda number: _wake(store, keys[number])),
            "claim": await _claims(store, keys),
            "housekeeping: which of 100 live": await _timed(ROUNDS, lambda _: store.living(names)),
        }


async def _wake(store: Store, key: SessionKey) -> None:
    await Journal(store, Lease(key, "bench", 0, 0, 0), MonotonicIds(), SystemClock()).load()


async def _claims(store: Store, keys: list[SessionKey]) -> dict[str, float | int]:
    for key in keys:
        await store.append_client(key, [], if_head=None, wake=True)
    leases: list[Lease] = []

    async def claim(_number: int) -> None:
        leases.extend(await store.claim("bench", limit=1))

    taken = await _timed(len(set(keys)), claim)
    for lease in leases:
        await store.release(lease, if_head=lease.head)
    return taken
