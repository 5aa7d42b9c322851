"""Kills a process that appends, at random and at the points around its commits: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from postgres_trial import empty_database

from outrider.ports.log import HistoryQuery, Row, SessionKey
from outrider.store.postgres import PostgresStore, connections
from outrider.store.sqlite import SqliteStore
from outrider.testing.stops import Stops

SESSIONS = 4
DEADLINE = 20.0

# Opens the store, takes over its sessions, appends in all of them without end, and reports each acknowledged id.
APPENDER = """
import asyncio, sys
from pathlib import Path
from outrider import faults
from outrider.errors import Conflict
from outrider.ports.log import NewEvent, SessionKey, SessionPatch, Snapshot
from outrider.store.sqlite import SqliteStore
from outrider.testing.store_trial import bury_all, event, record, waiting

place, life, sessions = sys.argv[1], sys.argv[2], int(sys.argv[3])
out = open(int(sys.argv[4]), "w", buffering=1)

async def own(store, lease):
    name = lease.key.session
    for n in range(10**9):
        ids = [f"{name}.{life}.{n}.{i}" for i in range(1 + n % 3)]
        snapshot = Snapshot(lease.head, 1, b"%d" % lease.head) if n % 5 == 0 else None
        lease = await store.append_owned(lease, [event(i) for i in ids], snapshot=snapshot,
                                         patch=SessionPatch(stats=ids[-1].encode()))
        out.write(f"{name} {' '.join(ids)}\\n")

async def send(store, key):
    for n in range(10**9):
        name = f"{key.session}.{life}.client.{n}"
        await store.append_client(key, [waiting(name)], if_head=None, wake=True)
        out.write(f"{key.session} {name}\\n")

async def main():
    if place.startswith("postgresql:"):
        from outrider.store.postgres import PostgresStore
        store = await PostgresStore.open(place)
    else:
        store = await SqliteStore.open(Path(place))
    for n in range(sessions):
        try:
            await store.create_session(record(f"sesn_{n}"), [], wake=True)
        except Conflict:
            pass
    await bury_all(store)
    leases = await store.claim("worker", limit=sessions)
    assert len(leases) == sessions, leases
    faults.connect_from_environment()
    out.write("ready\\n")
    async with asyncio.TaskGroup() as tasks:
        for lease in leases:
            tasks.create_task(own(store, lease))
        tasks.create_task(send(store, leases[0].key))

asyncio.run(main())
"""


class Life:
    """One run of the appender, and the ids that it acknowledged before it died, by session."""

    def __init__(self, process: subprocess.Popen[bytes], report: int) -> None:
        self.process = process
        self._report = os.fdopen(report)
        assert self._report.readline() == "ready\n"
        self._first = ""

    def until_acknowledged(self) -> None:
        """Until it has said of one append that it is stored."""
        self._first = self._report.readline()
        assert self._first.endswith("\n")

    def kill(self) -> dict[str, list[str]]:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE)
        acknowledged: dict[str, list[str]] = {}
        with self._report:
            for line in (self._first, *self._report):
                if line.endswith("\n"):
                    session, *ids = line.split()
                    acknowledged.setdefault(session, []).extend(ids)
        return acknowledged


@contextmanager
def appender(place: str, life: int, *, faults: socket.socket | None = None) -> Generator[Life]:
    read_end, write_end = os.pipe()
    environment = dict(os.environ)
    passed = [write_end]
    if faults is not None:
        environment["OUTRIDER_FAULTS_FD"] = str(faults.fileno())
        passed.append(faults.fileno())
    command = [sys.executable, "-c", APPENDER, place, str(life), str(SESSIONS), str(write_end)]
    process = subprocess.Popen(command, pass_fds=passed, env=environment)
    os.close(write_end)
    try:
        yield Life(process, read_end)
    finally:
        process.kill()
        process.wait(DEADLINE)


@pytest.fixture(params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the store is: a file, or a database."""
    if request.param == "sqlite":
        return str(tmp_path / "log.db")
    return await empty_database(request.getfixturevalue("postgres"))


async def reopened(place: str) -> SqliteStore | PostgresStore:
    """The store that a killed process has left, once the server has noticed, too."""
    if not place.startswith("postgresql:"):
        return await SqliteStore.open(Path(place))
    link = await connections.to_read(place)
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with asyncio.timeout(DEADLINE):
        while await link.fetchval(others):  # noqa: ASYNC110 (the killed process's last statement may be running)
            await asyncio.sleep(0.01)
    await link.close()
    return await PostgresStore.open(place)


async def check(place: str, acknowledged: dict[str, list[str]]) -> int:
    """Every acknowledged id is there, numbering is gapless, appends are whole, epochs never fall. Returns the rows."""
    total = 0
    async with await reopened(place) as store:
        for n in range(SESSIONS):
            key = SessionKey("wrkspc_a", f"sesn_{n}")
            rows = await store.read(key, limit=10**6)
            total += len(rows)
            assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
            assert len(rows) == await store.head(key)
            missing = set(acknowledged.get(key.session, [])) - {row.id for row in rows}
            assert not missing
            await check_whole(store, key, rows)
    return total


async def check_whole(store: SqliteStore | PostgresStore, key: SessionKey, rows: list[Row]) -> None:
    own = [row for row in rows if row.epoch > 0]
    assert [row.epoch for row in own] == sorted(row.epoch for row in own)
    for row in own:
        life, number = row.id.split(".")[1:3]
        parts = [other.id for other in own if other.id.startswith(f"{key.session}.{life}.{number}.")][:3]
        assert len(parts) == 1 + int(number) % 3, "an append came in part"
    if own:
        record = await store.session(key)
        assert record is not None
        assert record.stats.decode() == own[-1].id, "the record does not belong to the last append"
    history = await store.history(key, HistoryQuery(limit=10**6))
    assert len(history) == len(rows)


@pytest.mark.anyio
async def test_killed_at_random_it_loses_nothing_that_it_acknowledged(place: str) -> None:
    acknowledged, rows = dict[str, list[str]](), 0
    moments = random.Random(7)
    for life in range(5):
        with appender(place, life) as running:
            if life == 0:  # on a busy machine the others may be too short
                running.until_acknowledged()
            time.sleep(moments.uniform(0.0, 0.25))  # noqa: ASYNC251 (the moment of death, not a synchronisation)
            for session, ids in running.kill().items():
                acknowledged.setdefault(session, []).extend(ids)
        rows = await check(place, acknowledged)
    assert rows >= sum(map(len, acknowledged.values())) > 0


@pytest.mark.anyio
@pytest.mark.parametrize("point", ["store.commit.before", "store.commit.after"])
@pytest.mark.parametrize("commits", [1, 2, 9])
async def test_killed_around_a_commit_it_loses_nothing_that_it_acknowledged(
    point: str, commits: int, place: str
) -> None:
    with Stops() as stops:
        stops.want(point, times=commits)  # before anyone runs, or the first commit may have passed
        with appender(place, 0, faults=stops.theirs) as running:
            assert stops.held() is not None
            acknowledged = running.kill()
    rows = await check(place, acknowledged)
    told = sum(map(len, acknowledged.values()))
    if point == "store.commit.after":
        assert rows > told, "the last commit is there although nobody was told"
    elif commits == 1:
        assert rows == 0, "what was never committed is not there"
