"""Measures the embedded store: durable appends by one writer and by many sessions, and reading a long session.

`measure()` returns the figures; run as a script it prints them as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from outrider.ids import MonotonicIds
from outrider.ports.log import HistoryQuery, Lease, NewEvent, SessionKey, Snapshot
from outrider.ports.records import SessionRecord
from outrider.store.postgres import PostgresStore
from outrider.store.sqlite import SqliteStore
from outrider.testing.store_trial import bury_all

IDS = MonotonicIds()
REST_SECONDS = 5.0  # in which the store gets ready for more, as in any server that has been up for a moment
Store = SqliteStore | PostgresStore
AT = "2026-01-01T00:00:00.000000Z"
BODY = json.dumps(
    {"type": "agent.message", "content": [{"type": "text", "text": "x" * 600}], "processed_at": AT}
).encode()


def measure(
    *, single: int = 2_000, sessions: int = 64, each: int = 500, long: int = 10_000, directory: Path | None = None
) -> dict[str, Any]:
    """`single` appends by one writer; `each` appends in each of `sessions`; a session of `long` rows."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # the server's settings
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the server's loop
        return runner.run(_measure(single, sessions, each, long, directory))


async def _measure(single: int, sessions: int, each: int, long: int, directory: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        async with await SqliteStore.open(Path(folder) / "bench.db") as store:
            await asyncio.sleep(REST_SECONDS)
            return {
                "machine": _machine(),
                "body_bytes": len(BODY),
                "fdatasync_8k_ms": _sync(Path(folder) / "probe"),
                "one_writer": await appends_by_one(store, single),
                "many_sessions": await appends_by_many(store, sessions, each, 1),
                "many_sessions_5_events": await appends_by_many(store, sessions, each // 5, 5),
                "session_create": await _create(store, 500),
                "claim_append_release": await _turns(store, 500),
                "long_session": await _long(store, long),
            }


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load": os.getloadavg()[0],
    }


def _sync(path: Path) -> float:
    taken: list[float] = []
    with path.open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(b"x" * 8192)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    return round(statistics.median(taken) * 1000, 3)


def _summary(taken: list[float]) -> dict[str, float]:
    ordered = sorted(taken)
    return {
        "n": len(ordered),
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 3),
        "p95_ms": round(ordered[int(len(ordered) * 0.95)] * 1000, 3),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 3),
    }


def _record(name: str, workspace: str) -> SessionRecord:
    return SessionRecord(
        workspace, name, "sthr_1", "agent_1", 1, "env_1", "idle", AT, AT, None, BODY, b"{}", b"{}", b"{}"
    )


async def _owned(store: Store, name: str) -> Lease:
    await store.create_session(_record(name, store.default_workspace), [], wake=True)
    (lease,) = await store.claim("bench", limit=1, key=SessionKey(store.default_workspace, name))
    return lease


def _events(count: int) -> list[NewEvent]:
    return [NewEvent(IDS.new("sevt"), "agent.message", BODY, "sthr_1", True, AT) for _ in range(count)]


async def _appends(store: Store, lease: Lease, count: int, events: int, taken: list[float]) -> Lease:
    for _ in range(count):
        new = _events(events)
        start = time.perf_counter()
        lease = await store.append_owned(lease, new)
        taken.append(time.perf_counter() - start)
    return lease


async def appends_by_one(store: Store, count: int) -> dict[str, float]:
    taken: list[float] = []
    lease = await _owned(store, "sesn_one")
    await _appends(store, lease, count, 1, taken)
    return {**_summary(taken), "events_per_s": round(count / sum(taken))}


async def appends_by_many(store: Store, sessions: int, each: int, events: int, run: int = 1) -> dict[str, float]:
    """`run` numbers those of one store."""
    leases = [await _owned(store, f"sesn_many{events}_{run}_{n}") for n in range(sessions)]
    taken: list[float] = []
    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for lease in leases:
            tasks.create_task(_appends(store, lease, each, events, taken))
    elapsed = time.perf_counter() - start
    return {**_summary(taken), "events_per_s": round(sessions * each * events / elapsed)}


async def _create(store: SqliteStore, count: int) -> dict[str, float]:
    taken: list[float] = []
    for n in range(count):
        record, events = _record(f"sesn_create_{n}", store.default_workspace), _events(2)
        start = time.perf_counter()
        await store.create_session(record, events, wake=False)
        taken.append(time.perf_counter() - start)
    return _summary(taken)


async def _turns(store: SqliteStore, count: int) -> dict[str, float]:
    """A client's append, a claim, an owner's append that releases: three commits."""
    taken: list[float] = []
    key = (await _owned(store, "sesn_turns")).key
    await bury_all(store)
    for _ in range(count):
        start = time.perf_counter()
        await store.append_client(key, _events(1), if_head=None, wake=True)
        (lease,) = await store.claim("bench", limit=1, key=key)
        await store.append_owned(lease, _events(4), if_head=lease.head, release=True)
        taken.append(time.perf_counter() - start)
    return _summary(taken)


async def _timed(count: int, call: Any) -> dict[str, float]:
    taken: list[float] = []
    for _ in range(count):
        start = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - start)
    return _summary(taken)


async def _long(store: SqliteStore, length: int) -> dict[str, Any]:
    lease = await _owned(store, "sesn_long")
    for _ in range(0, length, 100):
        new = _events(100)
        lease = await store.append_owned(lease, new, snapshot=Snapshot(lease.head, 1, BODY * 30))
    key, head = lease.key, lease.head
    tail = HistoryQuery(limit=100, descending=True)
    return {
        "rows": head,
        "read_all": await _timed(10, lambda: store.read(key, limit=head)),
        "read_last_100": await _timed(200, lambda: store.read(key, after=head - 100, limit=100)),
        "history_page_100": await _timed(200, lambda: store.history(key, tail)),
        "snapshot_and_tail_10": await _timed(200, lambda: _wake(store, key, head)),
        "head": await _timed(500, lambda: store.head(key)),
    }


async def _wake(store: SqliteStore, key: SessionKey, head: int) -> None:
    await store.snapshot(key)
    await store.read(key, after=head - 10)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(), indent=2) + "\n")
