"""Housekeeping: what fails in a round is told of, and keeps nothing else from being done."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outrider.clock import ManualClock
from outrider.config import Retention
from outrider.errors import Overloaded, SandboxUnavailable
from outrider.ports.blobs import BlobInfo, BlobPrefix
from outrider.ports.log import SessionKey
from outrider.ports.metrics import SERVER
from outrider.server.housekeeping import going_on, housekeeping
from outrider.store.blobs.local import LocalBlobs
from outrider.store.cold import Freezer
from outrider.store.upkeep import SWEEP_SECONDS, Upkeep
from outrider.telemetry.prometheus import PrometheusMeter
from outrider.testing.memory_log import MemoryStore
from outrider.testing.memory_sandbox import MemorySandboxes
from outrider.testing.store_trial import Trial, event


@pytest.mark.anyio
async def test_a_part_that_fails_keeps_no_other_from_being_done(caplog: pytest.LogCaptureFixture) -> None:
    rounds = asyncio.Semaphore(0)

    async def unavailable() -> None:
        raise SandboxUnavailable("its lock is a directory")

    async def unforeseen() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async def last() -> None:
        rounds.release()

    parts = {"sandboxes": unavailable, "files": unforeseen, "memory": last}
    meter = PrometheusMeter(SERVER)
    with caplog.at_level(logging.WARNING, "outrider.server"):
        async with going_on(housekeeping(MemorySandboxes(), parts, meter, seconds=0.0)), asyncio.timeout(10):
            for _ in range(3):
                await rounds.acquire()
    assert {one.message for one in caplog.records} == {
        "housekeeping: sandboxes: its lock is a directory",
        "housekeeping: files failed in an unforeseen way",
    }
    counted = re.search(rb"^outrider_housekeeping_failures_total ([0-9.]+)$", meter.text(), re.MULTILINE)
    assert counted is not None
    assert float(counted[1]) >= 6


class Unlisted(LocalBlobs):
    """As a bucket whose lists are not answered."""

    asked = 0

    async def list(self, prefix: BlobPrefix) -> AsyncIterator[BlobInfo]:
        self.asked += 1
        raise Overloaded("no list")
        yield


@pytest.mark.anyio
async def test_old_sessions_are_deleted_once_an_hour_though_blobs_can_not_be_listed(tmp_path: Path) -> None:
    store, blobs, clock = MemoryStore(), Unlisted(tmp_path), ManualClock()
    lease = await store.append_owned(await Trial(opened=store).owned(), [event("a")])
    await store.release(lease, if_head=lease.head)
    deleted: list[SessionKey] = []

    async def delete(key: SessionKey, _before: str) -> bool:
        deleted.append(key)
        return True

    clock.advance(10 * 365 * 86_400)
    parts = Upkeep(store, blobs, Freezer(store, blobs), Retention(None, 5), clock, delete).parts()
    meter, rounds = PrometheusMeter(SERVER), asyncio.Semaphore(0)

    async def last() -> None:
        rounds.release()
        clock.advance(SWEEP_SECONDS / 2)

    async with (
        going_on(housekeeping(MemorySandboxes(), {**parts, "last": last}, meter, seconds=0.0)),
        asyncio.timeout(10),
    ):
        for _ in range(3):
            await rounds.acquire()
    assert deleted == [lease.key, lease.key]  # of three rounds in an hour, the first and the last
    assert blobs.asked == 3  # what failed is tried again each round
