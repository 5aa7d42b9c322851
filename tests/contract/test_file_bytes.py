"""What becomes of the bytes of files: strays are erased, expired files lose theirs, and nothing else does."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterable
from dataclasses import replace
from pathlib import Path

import pytest

from outrider.clock import ManualClock
from outrider.config import Limits, Retention
from outrider.harness.outputs import MOST_FILES, Outputs
from outrider.ids import MonotonicIds
from outrider.ports.blobs import BlobKey, BlobPrefix
from outrider.ports.files import content_of
from outrider.ports.log import SessionKey
from outrider.store.blobs.local import DRAFT, LocalBlobs
from outrider.store.cold import Freezer
from outrider.store.sqlite import SqliteStore
from outrider.store.upkeep import Upkeep
from outrider.testing.files_suite import A, added, at, file
from outrider.testing.memory_log import MemoryStore
from outrider.testing.memory_sandbox import MemorySandboxes
from outrider.testing.store_trial import Trial

DAY = 86_400.0
pytestmark = pytest.mark.anyio


class Place:
    """A store and a blob store, and the upkeep of both by a clock."""

    def __init__(self, directory: Path) -> None:
        self.store, self.blobs, self.clock = MemoryStore(), LocalBlobs(directory), ManualClock()

    async def keep_up(self, days: float = 0.1) -> list[str]:
        """What is left after so many days."""

        async def delete(_key: SessionKey, _before: str) -> bool:
            return False

        self.clock.advance(days * DAY)
        freezer = Freezer(self.store, self.blobs)
        await Upkeep(self.store, self.blobs, freezer, Retention(), self.clock, delete).all()
        return sorted([info.key.owner async for info in self.blobs.list(BlobPrefix())])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "blobs")


async def test_bytes_to_which_no_record_leads_are_erased_and_no_others(place: Place) -> None:
    for name in ("file_1", "file_2", "file_3"):
        await place.blobs.put(content_of(A, name), b"x")
    await added(place.store, file("file_1"))
    await place.store.announce_file(A, "file_2", place.clock.now())
    assert await place.keep_up() == ["file_1", "file_2"]
    await place.store.delete_file(A, "file_1")
    assert await place.keep_up() == ["file_2"]


async def test_an_upload_that_ended_without_a_word_leaves_nothing_a_day_later(place: Place, tmp_path: Path) -> None:
    await place.store.announce_file(A, "file_1", place.clock.now())
    await place.blobs.put(content_of(A, "file_1"), b"x")
    (whole,) = (tmp_path / "blobs").rglob("content")
    draft = whole.rename(whole.with_name(f"{DRAFT}1-1"))
    await place.keep_up(0.9)
    assert draft.exists()
    await place.keep_up(0.2)
    assert not draft.parent.exists()
    assert not await place.store.owns_bytes(A, "file_1")


async def test_an_expired_file_loses_its_bytes_unless_another_has_the_same(place: Place) -> None:
    for name in ("file_1", "file_2"):
        await place.blobs.put(content_of(A, name), b"x")
        await added(place.store, replace(file(name), expires_at=at(1)))
    await added(place.store, replace(file("file_3"), blob="file_2"))
    assert await place.keep_up(1) == ["file_2"]
    assert (await place.store.file(A, "file_1")) is not None
    await place.keep_up(30)
    assert (await place.store.file(A, "file_1")) is None
    assert await place.keep_up() == ["file_2"]


async def test_blobs_of_sessions_are_not_taken_for_files(place: Place) -> None:
    await place.blobs.put(BlobKey(A, "sesn_gone", "body.c0.a.1"), b"x")
    assert await place.keep_up() == []


class BusyAfterwards(LocalBlobs):
    """Once bytes were put, the store of rows at `rows` can commit nothing until `free` is called."""

    def __init__(self, directory: Path, rows: Path) -> None:
        super().__init__(directory)
        self._db = sqlite3.connect(rows, isolation_level=None)
        self.written = asyncio.Event()

    async def put(self, key: BlobKey, content: bytes | AsyncIterable[bytes]) -> None:
        await super().put(key, content)
        self._db.execute("BEGIN IMMEDIATE")
        self.written.set()

    def free(self) -> None:
        self._db.rollback()
        self._db.close()


async def test_an_output_that_is_recorded_while_its_collection_is_cancelled_keeps_its_bytes(tmp_path: Path) -> None:
    async with await SqliteStore.open(tmp_path / "log.db") as store:
        lease = await Trial(opened=store).owned()
        blobs, sandboxes = BusyAfterwards(tmp_path / "blobs", tmp_path / "log.db"), MemorySandboxes()
        sandboxes.left[lease.key.session] = {"a.txt": b"abc"}
        outputs = Outputs(store, blobs, sandboxes, Limits(), MonotonicIds(), ManualClock())
        collecting = asyncio.create_task(outputs.collect(lease))
        async with asyncio.timeout(10):
            await blobs.written.wait()  # its record is asked for by now, and waits for the store
            collecting.cancel()
            await asyncio.sleep(0)
            blobs.free()
            with pytest.raises(asyncio.CancelledError):
                await collecting
        (made,) = (await store.outputs(lease.key)).values()
        assert await store.file(lease.key.workspace, made.file) is not None
        assert await blobs.exists(content_of(lease.key.workspace, made.file))


async def test_what_of_the_outputs_can_be_no_file_is_said_and_the_rest_is_kept(tmp_path: Path) -> None:
    store, sandboxes = MemoryStore(), MemorySandboxes()
    lease = await Trial(opened=store).owned()
    sandboxes.left[lease.key.session] = {"big": b"12345", "full": b"1234", "ok": b"12"}
    limits = Limits(file_bytes=4, file_storage_bytes=3)
    outputs = Outputs(store, LocalBlobs(tmp_path), sandboxes, limits, MonotonicIds(), ManualClock())
    refused = await outputs.collect(lease)
    assert refused[0] == "'big' has more than the 4 bytes that a file may have"
    assert refused[1].startswith("'full': ")
    assert len(refused) == 2
    assert set(await store.outputs(lease.key)) == {"ok"}
    sandboxes.left[lease.key.session] = {f"{number:03}": b"" for number in range(MOST_FILES + 1)}
    assert await outputs.collect(lease) == [f"more than {MOST_FILES} files are there"]
    assert f"{MOST_FILES - 1}" in await store.outputs(lease.key)
    assert f"{MOST_FILES}" not in await store.outputs(lease.key)
    sandboxes.left[lease.key.session], sandboxes.cut = {"000": b""}, True
    assert await outputs.collect(lease) == ["there are more entries, or deeper folders, than are looked at"]
