"""Housekeeping: what fails in a round is told of, and keeps nothing else from being done."""

from __future__ import annotations

import asyncio
import errno
import logging
import re

import pytest

from outrider.errors import SandboxUnavailable
from outrider.ports.metrics import SERVER
from outrider.server.housekeeping import going_on, housekeeping
from outrider.telemetry.prometheus import PrometheusMeter
from outrider.testing.memory_sandbox import MemorySandboxes


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
