"""Kills a process around each write of a large body and each move of a log to the blob store and back: rows are there
exactly once, with their bodies, and what the dead left behind is swept."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kill_matrix import MOVES
from kill_stores import Database

from outrider.ports.blobs import BlobPrefix
from outrider.ports.log import HistoryQuery, SessionKey
from outrider.store.blobs.local import LocalBlobs
from outrider.store.bodies import LARGEST_IN_ROW, Bodies
from outrider.store.cold import Freezer
from outrider.store.deep import deepen
from outrider.store.strays import sweep
from outrider.testing.postgres_server import PostgresServer
from outrider.testing.stops import Stops

POINTS = sorted(f"{place}.{when}" for place in MOVES for when in ("before", "after"))
LEAVES_A_STRAY = ("blob.put.after", "cold.put.after", "cold.freeze.before")  # until the log moves past its fence
DEADLINE = 20.0
KEY = SessionKey("wrkspc_a", "sesn_1")

# Appends small and large events, moves the log out, and brings it back by reading, without end; tells what it did.
WRITER = """
import asyncio, os, sys
from pathlib import Path
from outrider.ports.log import NewEvent, SessionKey
from outrider.store.blobs.local import LocalBlobs
from outrider.store.bodies import Bodies
from outrider.store.cold import Freezer
from outrider.store.deep import deepen
from outrider.testing.store_trial import THREAD, record

place, url, report, large = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
out = os.fdopen(report, "w", buffering=1)
AT = "2026-01-01T00:00:00.000000Z"

async def opened(bodies):
    if url:
        from outrider.store.postgres import PostgresStore
        return await PostgresStore.open(url, on_commit=bodies.committed)
    from outrider.store.sqlite import SqliteStore
    return await SqliteStore.open(place / "outrider.db", on_commit=bodies.committed)

async def main():
    blobs = LocalBlobs(place / "blobs")
    bodies = Bodies(blobs)
    rows = await opened(bodies)
    freezer = Freezer(rows, blobs)
    store = deepen(rows, bodies, freezer, blobs)
    key = SessionKey("wrkspc_a", "sesn_1")
    await store.create_session(record("sesn_1"), [NewEvent("opening", "agent.message", b"{}", THREAD)], wake=False)
    from outrider import faults
    faults.connect_from_environment()
    for n in range(10**6):
        at = [AT, None][n % 2]
        new = [NewEvent(f"small.{n}", "user.message", b"%d" % n, THREAD, processed_at=at),
               NewEvent(f"large.{n}", "agent.message", b"%d " % n * large, THREAD, processed_at=AT)]
        await store.append_client(key, new, if_head=1 + 2 * n, wake=False)
        out.write(f"{n}\\n")
        assert await freezer.freeze(key)
        assert len(await store.read(key)) == 3 + 2 * n

asyncio.run(main())
"""


@pytest.fixture
def fresh(database: Database, request: pytest.FixtureRequest) -> Database:
    """For each test its own."""
    if not database.url:
        return database
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return Database(postgres.url(postgres.database()))


@pytest.mark.anyio
@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_any_point_no_row_is_lost_doubled_or_without_its_body(
    point: str, fresh: Database, tmp_path: Path
) -> None:
    acknowledged = killed_at(point, fresh.url, tmp_path)
    blobs = LocalBlobs(tmp_path / "blobs")
    rows = await fresh.opened(tmp_path)
    store = deepen(rows, Bodies(blobs), Freezer(rows, blobs), blobs)
    try:
        await sweep(rows, blobs)
        found = await store.read(KEY)
        expected = ["opening", *(f"{kind}.{n}" for n in range(len(found) // 2) for kind in ("small", "large"))]
        assert [row.id for row in found] == expected
        assert [row.seq for row in found] == list(range(1, len(found) + 1))
        assert acknowledged <= len(found) // 2 <= acknowledged + 1
        for n, row in enumerate(found[2::2]):
            assert hashlib.sha256(row.body).digest() == hashlib.sha256(b"%d " % n * LARGEST_IN_ROW).digest()
        history = await store.history(KEY, HistoryQuery(100))
        assert {entry.row.id for entry in history} == set(expected)
        counters = await rows.counters(KEY)
        assert counters is not None
        assert counters.segment is None
        await sweep(rows, blobs)
        kept = [info.key.name async for info in blobs.list(BlobPrefix())]
        in_flight = point in LEAVES_A_STRAY
        assert len(kept) == len(found) // 2 + in_flight
        await store.delete_session(KEY, if_head=len(found))
        assert [info async for info in blobs.list(BlobPrefix())] == []
    finally:
        await rows.close()


def killed_at(point: str, url: str, place: Path) -> int:
    """How many rounds the writer had acknowledged when it was killed, the second time that it came to `point`."""
    read_end, write_end = os.pipe()
    with Stops() as stops:
        environment = {**os.environ, "OUTRIDER_FAULTS_FD": str(stops.theirs.fileno())}
        command = [sys.executable, "-c", WRITER, str(place), url, str(write_end), str(LARGEST_IN_ROW)]
        process = subprocess.Popen(command, pass_fds=[write_end, stops.theirs.fileno()], env=environment)
        os.close(write_end)
        try:
            stops.until(point, times=2)
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.wait(DEADLINE)
    with os.fdopen(read_end) as report:
        return sum(line.endswith("\n") for line in report)
