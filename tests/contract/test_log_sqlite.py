"""What only the SQLite store promises: file modes, erasure of bytes, full disks, its thread and its callers."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import pytest

from outrider.errors import Conflict, Internal, StorageFull
from outrider.ids import CountingIds, MonotonicIds
from outrider.ports.log import Lease, NewEvent, Row, SessionKey, SessionPatch, Snapshot
from outrider.store.sqlite import SqliteStore, connections
from outrider.store.sqlite.migrations import migrate
from outrider.store.sqlite.transaction import Transaction
from outrider.store.sqlite.writer import Writer
from outrider.testing.store_trial import THREAD, bury_all, event, record, waiting

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with await SqliteStore.open(tmp_path / "log.db") as opened:
        yield opened


async def owned(store: SqliteStore, name: str) -> Lease:
    await store.create_session(record(name), [], wake=True)
    (lease,) = await store.claim("worker_1", limit=1, key=SessionKey("wrkspc_a", name))
    return lease


def big(name: str, body: bytes) -> NewEvent:
    return NewEvent(name, "agent.message", body, THREAD, processed_at="2026-01-01T00:00:00.000000Z")


async def test_the_files_belong_to_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "log.db"
    async with await SqliteStore.open(path) as store:
        await owned(store, "sesn_1")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"log.db": 0o600, "log.db-wal": 0o600, "log.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_the_mode_of_a_file_that_others_could_read_is_narrowed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.touch(mode=0o644)
    async with await SqliteStore.open(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_what_was_acknowledged_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with await SqliteStore.open(path, ids=CountingIds()) as store:
        workspace = store.default_workspace
        lease = await owned(store, "sesn_1")
        await store.append_owned(lease, [event("a")], snapshot=Snapshot(1, 1, b"s"))
    async with await SqliteStore.open(path, ids=MonotonicIds()) as store:
        assert store.default_workspace == workspace
        assert [row.id for row in await store.read(lease.key)] == ["a"]
        assert await store.snapshot(lease.key) == Snapshot(1, 1, b"s")
        assert await bury_all(store) == 1


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("size", [40, 700, 9_000])
async def test_a_deleted_sessions_bytes_are_gone_from_the_file(
    tmp_path: Path, order: tuple[int, ...], size: int
) -> None:
    """Three sessions share pages; each one's text goes with it, whatever is deleted before."""
    path = tmp_path / "log.db"
    marks = [b"canary-%d-of-a-session" % n for n in range(3)]
    async with await SqliteStore.open(path) as store:
        leases = [await owned(store, f"sesn_{n}") for n in range(3)]
        for step in range(30):
            for n, mark in enumerate(marks):
                body = mark + b"." * (size * (1 + (step + n) % 3) // 2) + mark
                shot = Snapshot(step, 1, mark * 9) if step % 7 == 0 else None
                leases[n] = await store.append_owned(leases[n], [big(f"sevt_{n}_{step}", body)], snapshot=shot)
        gone: list[bytes] = []
        for n in order:
            assert marks[n] in path.read_bytes() + path.with_name("log.db-wal").read_bytes()
            await store.delete_session(leases[n].key, if_head=30)
            gone.append(marks[n])
            assert not path.with_name("log.db-wal").read_bytes().strip(b"\0")
            assert not [mark for mark in gone if mark in path.read_bytes()]


async def test_a_reader_that_holds_the_wal_puts_its_emptying_off_but_not_for_good(tmp_path: Path) -> None:
    path, wal = tmp_path / "log.db", tmp_path / "log.db-wal"
    async with await SqliteStore.open(path) as store:
        lease, other = await owned(store, "sesn_1"), await owned(store, "sesn_2")
        await store.append_owned(lease, [big("a", b"canary" * 100)])
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM events").fetchall() == [(1,)]
            await store.delete_session(lease.key, if_head=1)
            assert b"canary" in wal.read_bytes()
        await store.append_owned(other, [event("next")])  # at the latest now; when nothing is written, within moments
        assert b"canary" not in path.read_bytes() + wal.read_bytes()


async def test_the_wal_of_a_store_at_rest_gets_its_length_in_advance_and_recovery_takes_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "WAL_BYTES", 3 * connections.WAL_STEP // 2)
    path, wal = tmp_path / "log.db", tmp_path / "log.db-wal"
    copy = tmp_path / "copy.db"
    async with asyncio.timeout(20), await SqliteStore.open(path) as store:
        lease = await store.append_owned(await owned(store, "sesn_1"), [event("before")])
        while wal.stat().st_size < connections.WAL_BYTES:  # noqa: ASYNC110 (another thread makes it longer)
            await asyncio.sleep(0.05)
        await store.append_owned(lease, [event("after")])
        assert wal.stat().st_size == connections.WAL_BYTES
        for name in ("log.db", "log.db-wal"):  # as a crash would leave them
            (tmp_path / name.replace("log", "copy")).write_bytes((tmp_path / name).read_bytes())
        key = lease.key
    async with await SqliteStore.open(copy) as store:
        assert [row.id for row in await store.read(key)] == ["before", "after"]


async def test_a_full_file_refuses_with_529_stores_nothing_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    announced: list[str] = []

    def on_commit(key: SessionKey, rows: list[Row]) -> None:
        announced.extend(row.id for row in rows)

    async with await SqliteStore.open(path, on_commit=on_commit) as store:
        lease = await owned(store, "sesn_1")
        lease = await store.append_owned(lease, [event("before")])
        limit_pages(store, 60)
        with pytest.raises(StorageFull) as full:
            await store.append_owned(lease, [big("big", b"x" * 1_000_000)], patch=SessionPatch(status="running"))
        assert full.value.status == 529
        assert announced == ["before"]
        lease = await store.append_owned(lease, [event("small")])
        limit_pages(store, 100_000)
        await store.append_owned(lease, [big("big", b"x" * 1_000_000)])
        assert [row.id for row in await store.read(lease.key)] == announced == ["before", "small", "big"]


def limit_pages(store: SqliteStore, pages: int) -> None:
    """The writer is idle when this is called; the limit belongs to its connection."""
    connection: sqlite3.Connection = store._writer._db  # pyright: ignore[reportPrivateUsage]
    connection.execute(f"PRAGMA max_page_count={pages}").fetchall()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_a_full_file_system_refuses_and_the_store_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = await anyio.run_process(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this host does not let us mount a tmpfs")
    try:
        await fill_and_free(small)
    finally:
        await anyio.run_process(["umount", "-l", str(small)])


async def fill_and_free(small: Path) -> None:
    ballast = small / "ballast"
    ballast.write_bytes(b"x" * 500_000)
    async with await SqliteStore.open(small / "log.db") as store:
        leases = [await owned(store, f"sesn_{n}") for n in range(4)]
        stored: list[str] = []
        with pytest.raises(StorageFull):
            await fill(store, leases, stored)
        outcomes = await asyncio.gather(
            *(store.append_owned(lease, [big("late", b"x" * 90_000)]) for lease in leases), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {StorageFull}
        ballast.unlink()
        leases[0] = await store.append_owned(leases[0], [event("after")])
        assert [row.id for row in await store.read(leases[0].key)] == [*stored, "after"]


async def fill(store: SqliteStore, leases: list[Lease], stored: list[str]) -> None:
    for n in range(100):
        leases[0] = await store.append_owned(leases[0], [big(f"e{n}", b"x" * 30_000)])
        stored.append(f"e{n}")


async def test_a_directory_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(Internal, match="database failed"):
        await SqliteStore.open(blocked / "log.db")


async def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(b"this is no database, it only looks like a file " * 50)
    with pytest.raises(Internal, match="NOTADB"):
        await SqliteStore.open(path)
    assert path.read_bytes().startswith(b"this is no database")


async def test_values_that_cannot_be_stored_fail_alone(store: SqliteStore) -> None:
    leases = [await owned(store, f"sesn_{n}") for n in range(4)]
    names = ["a", "\ud800", "b", "c"]
    outcomes = await asyncio.gather(
        *(store.append_owned(lease, [event_named(name)]) for lease, name in zip(leases, names, strict=True)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [Lease, Internal, Lease, Lease]
    assert await store.head(leases[1].key) == 0
    assert (await store.append_owned(leases[1], [event("fine")])).head == 1


def event_named(name: str) -> NewEvent:
    return NewEvent(name, "agent.message", b"{}", THREAD, processed_at="2026-01-01T00:00:00.000000Z")


async def test_a_job_that_refuses_after_it_has_written_leaves_nothing_and_spoils_no_other(tmp_path: Path) -> None:
    connections.create(tmp_path / "log.db")
    db = connections.writer(tmp_path / "log.db")
    migrate(db)
    writer = Writer(db, tmp_path / "log.db", None, None)

    def job(name: str, tx: Transaction) -> str:
        tx.run("take_turn", {"workspace": name})
        if name == "second":
            raise Conflict("too late")
        return name

    jobs = [writer.run(partial(job, name)) for name in ("first", "second", "third")]
    first, second, third = await asyncio.gather(*jobs, return_exceptions=True)
    await writer.close()
    assert (first, type(second), third) == ("first", Conflict, "third")
    with closing(sqlite3.connect(tmp_path / "log.db")) as reader:
        assert reader.execute("SELECT workspace FROM turns ORDER BY served").fetchall() == [("first",), ("third",)]


async def test_an_append_whose_caller_goes_away_is_stored_and_announced_all_the_same(tmp_path: Path) -> None:
    announced: list[str] = []

    def on_commit(key: SessionKey, rows: list[Row]) -> None:
        announced.extend(row.id for row in rows)

    async with await SqliteStore.open(tmp_path / "log.db", on_commit=on_commit) as store:
        lease = await owned(store, "sesn_1")
        caller = asyncio.ensure_future(store.append_owned(lease, [event("a")]))
        await asyncio.sleep(0)  # let it hand the job over
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await store.append_client(lease.key, [waiting("b")], if_head=None, wake=True)
        assert [row.id for row in await store.read(lease.key)] == announced == ["a", "b"]


async def test_closing_finishes_what_was_asked_for_and_refuses_the_rest(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "log.db")
    leases = [await owned(store, f"sesn_{n}") for n in range(20)]
    appends = [asyncio.ensure_future(store.append_owned(lease, [event("a")])) for lease in leases]
    await asyncio.sleep(0)  # let them hand their jobs over
    await store.close()
    assert [lease.head for lease in await asyncio.gather(*appends)] == [1] * 20
    with pytest.raises(Internal, match="closed"):
        await store.append_owned(leases[0], [event("b")])
    with pytest.raises(Internal, match="closed"):
        await store.read(leases[0].key)
    assert os.listdir(tmp_path) == ["log.db"]
    async with await SqliteStore.open(tmp_path / "log.db") as again:
        assert [await again.head(lease.key) for lease in leases] == [1] * 20


async def test_two_stores_on_one_file_fence_each_others_owners(tmp_path: Path) -> None:
    async with (
        await SqliteStore.open(tmp_path / "log.db") as one,
        await SqliteStore.open(tmp_path / "log.db") as two,
    ):
        assert one.default_workspace == two.default_workspace
        lease = await owned(one, "sesn_1")
        await one.append_owned(lease, [event("a")])
        await bury_all(two)
        (new,) = await two.claim("worker_2", limit=1)
        assert (new.epoch, new.head, new.writer_head) == (3, 1, 1)
        await two.append_owned(new, [event("b")])
        assert [row.id for row in await one.read(lease.key)] == ["a", "b"]
