"""Large bodies and cold logs when things go wrong, and what reading costs. The suites say what holds otherwise."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from outrider.clock import ManualClock
from outrider.config import Retention
from outrider.errors import BlobDamaged, BlobsUnavailable, StorageFull
from outrider.ports.blobs import BlobKey, BlobPrefix
from outrider.ports.log import PAGE_BYTES, HistoryQuery, NewEvent, SessionKey, is_last
from outrider.store.blobs.local import LocalBlobs
from outrider.store.blobs.s3 import Bucket, open_s3
from outrider.store.bodies import Bodies, Fence
from outrider.store.cold import Freezer
from outrider.store.deep import deepen
from outrider.store.sqlite import SqliteStore
from outrider.store.strays import sweep
from outrider.store.upkeep import Upkeep
from outrider.testing.memory_blobs import MemoryBlobs
from outrider.testing.store_trial import THREAD, event, record, refused

AT = "2026-01-01T00:00:00.000000Z"
KEY, OTHER = SessionKey("wrkspc_a", "sesn_1"), SessionKey("wrkspc_a", "sesn_2")


def large(name: str, size: int = 70_000) -> NewEvent:
    return NewEvent(name, "agent.message", b"x" * size, THREAD, processed_at=AT)


@dataclass
class Place:
    rows: SqliteStore
    store: SqliteStore
    blobs: MemoryBlobs
    freezer: Freezer


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    blobs = MemoryBlobs()
    bodies = Bodies(blobs)
    async with await SqliteStore.open(tmp_path / "log.db", on_commit=bodies.committed) as rows:
        freezer = Freezer(rows, blobs)
        for key in (KEY, OTHER):
            await rows.create_session(record(key.session), [event(f"first.{key.session}")], wake=False)
        yield Place(rows, deepen(rows, bodies, freezer, blobs), blobs, freezer)


@pytest.mark.anyio
async def test_a_damaged_body_is_named_and_other_sessions_go_on(place: Place) -> None:
    for key in (KEY, OTHER):
        await place.store.append_client(key, [large(f"big.{key.session}")], if_head=1, wake=False)
    (blob,) = (key for key in place.blobs.kept if key.owner == "sesn_1")
    place.blobs.kept[blob] = b"y" * 70_000
    with pytest.raises(BlobDamaged, match=blob.name):
        await place.store.read(KEY)
    del place.blobs.kept[blob]
    with pytest.raises(BlobDamaged, match="missing"):
        await place.store.history(KEY, HistoryQuery(9))
    assert len(await place.store.read(OTHER)) == 2


@pytest.mark.anyio
async def test_a_damaged_cold_log_is_named_and_stays_cold(place: Place) -> None:
    assert await place.freezer.freeze(KEY)
    (blob,) = place.blobs.kept
    content = place.blobs.kept[blob]
    for broken in (content[:-5], b"not zstd", content[:20] + b"\0\0" + content[22:]):
        place.blobs.kept[blob] = broken
        with pytest.raises(BlobDamaged, match=blob.name):
            await place.store.read(KEY)
    place.blobs.kept[blob] = content
    assert len(await place.store.read(KEY)) == 1


@pytest.mark.anyio
async def test_who_found_nothing_reads_again_when_another_has_brought_the_log_back(place: Place) -> None:
    assert await place.freezer.freeze(KEY)
    assert len(await place.store.read(KEY)) == 1
    assert await place.freezer.thaw(KEY)
    assert not await place.freezer.thaw(KEY, after=1)


@pytest.mark.anyio
async def test_many_readers_and_a_writer_bring_a_cold_log_back_once(place: Place) -> None:
    await place.store.append_client(KEY, [event(f"e{n}") for n in range(50)], if_head=1, wake=False)
    before = await place.store.read(KEY)
    assert await place.freezer.freeze(KEY)
    new = [event("new")]
    reads = [place.store.read(KEY) for _ in range(20)]
    writing = asyncio.create_task(place.store.append_client(KEY, new, if_head=51, wake=False))
    found = await asyncio.gather(*reads)
    assert await writing == 52
    assert all(rows[:51] == before for rows in found)
    assert [row.seq for row in await place.store.read(KEY)] == list(range(1, 53))
    assert place.blobs.kept == {}


@pytest.mark.anyio
async def test_a_bucket_that_is_away_refuses_large_events_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    blobs = open_s3(Bucket("nowhere", "", "http://127.0.0.1:9", "us-east-1", "key", "secret"))
    bodies = Bodies(blobs)
    async with await SqliteStore.open(tmp_path / "log.db", on_commit=bodies.committed) as rows:
        store = deepen(rows, bodies, Freezer(rows, blobs), blobs)
        await store.create_session(record("sesn_1"), [event("a")], wake=False)
        both = [event("b"), large("c")]
        await refused(BlobsUnavailable, store.append_client(KEY, both, if_head=1, wake=True))
        assert (await store.head(KEY), await store.runnable()) == (1, 0)
        assert await store.append_client(KEY, [event("b")], if_head=1, wake=False) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_refuses_a_blob_and_leaves_no_piece_of_it(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", small], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        blobs, key = LocalBlobs(small / "blobs"), BlobKey("w", "s", "b")
        asyncio.run(refused(StorageFull, blobs.put(key, b"x" * 1_000_000)))
        assert [path for path in small.rglob("*") if path.is_file()] == []
        asyncio.run(blobs.put(key, b"x" * 1000))
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.anyio
async def test_pages_end_early_when_bodies_are_large_and_nothing_is_skipped(place: Place) -> None:
    size = PAGE_BYTES // 4
    for n in range(12):
        await place.store.append_client(KEY, [large(f"e{n}", size)], if_head=1 + n, wake=False)
    after, names = 0, list[str]()
    while True:
        rows = await place.store.read(KEY, after=after, limit=1000)
        assert sum(len(row.body) for row in rows) <= PAGE_BYTES + size
        names += [row.id for row in rows]
        after = rows[-1].seq if rows else after
        if is_last(rows, 1000):
            break
    assert names[1:] == [f"e{n}" for n in range(12)]
    page = await place.store.history(KEY, HistoryQuery(1000))
    assert 2 <= len(page) <= 5


@pytest.mark.anyio
async def test_the_sweep_takes_strays_and_leaves_what_an_append_may_still_refer_to(place: Place) -> None:
    bodies = Bodies(place.blobs)
    (under_way,) = await bodies.put(KEY, [large("slow")], Fence(1))
    assert await sweep(place.rows, place.blobs) == 0, "its append may still come"
    await place.rows.append_client(KEY, [under_way], if_head=1, wake=False)
    assert await sweep(place.rows, place.blobs) == 0, "its row is there"
    await bodies.put(KEY, [large("late")], Fence(1))
    assert await sweep(place.rows, place.blobs) == 1, "the log has moved past its fence"
    await bodies.put(SessionKey("wrkspc_a", "sesn_gone"), [large("gone")], Fence(1))
    assert await sweep(place.rows, place.blobs) == 1, "there is no such session"
    assert (await place.store.find(KEY, ["slow"]))["slow"].body == b"x" * 70_000
    await place.store.delete_session(KEY, if_head=2)
    assert [info async for info in place.blobs.list(BlobPrefix())] == []


@pytest.mark.anyio
async def test_upkeep_moves_and_deletes_by_age_and_only_if_told_to(place: Place) -> None:
    deleted: list[SessionKey] = []

    async def delete(key: SessionKey, before: str) -> bool:
        assert before > AT
        deleted.append(key)
        await place.store.delete_session(key, if_head=1)
        return True

    clock = ManualClock()
    clock.advance(10 * 86_400)
    for retention in (Retention(), Retention(30, 30)):
        await Upkeep(place.rows, place.blobs, place.freezer, retention, clock, delete).all()
        assert (place.blobs.kept, deleted) == ({}, [])
    await Upkeep(place.rows, place.blobs, place.freezer, Retention(5), clock, delete).all()
    assert {key.owner for key in place.blobs.kept} == {"sesn_1", "sesn_2"}
    await place.store.read(KEY)
    await Upkeep(place.rows, place.blobs, place.freezer, Retention(None, 5), clock, delete).all()
    assert set(deleted) == {KEY, OTHER}, "cold ones, too"
