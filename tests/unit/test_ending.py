"""Tasks end although a library lost the first word of it."""

from __future__ import annotations

import asyncio

import pytest

from outrider.doorbell.ending import ended

pytestmark = pytest.mark.anyio


async def test_a_task_that_lost_its_cancellation_is_told_again() -> None:
    lost = asyncio.Event()

    async def deaf_once() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        await asyncio.Event().wait()

    async def failing() -> None:
        raise ValueError("nobody asks")

    tasks = [asyncio.create_task(one()) for one in (deaf_once, failing)]
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await ended(tasks)
    assert lost.is_set()
    assert tasks[0].cancelled()
