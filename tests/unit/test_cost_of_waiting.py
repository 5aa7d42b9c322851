"""What a session costs while it waits: nothing for a client, a few coroutines for a command."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from harness_room import WAIT, Room, WrittenModel, reply, use

from outrider.harness.journal import Journal
from outrider.harness.loop import Driver
from outrider.ports.sandbox import ToolCall, ToolOutcome, text_outcome
from outrider.session.tail import Tail
from outrider.testing.memory_sandbox import MemorySandboxes

pytestmark = pytest.mark.anyio


def held() -> list[object]:
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, (Driver, Journal, Tail))]


async def test_a_session_that_waits_for_its_client_is_held_by_no_object_of_the_worker() -> None:
    room = Room(WrittenModel(reply(use("lookup", "toolu_1", key="k"))))
    await room.open()
    before = len(held())
    async with room.worker() as worker:
        await room.say("go")
        await room.until("session.status_idle")
        async with asyncio.timeout(WAIT):
            while worker.running:  # noqa: ASYNC110 (nothing is kept that could tell)
                await asyncio.sleep(0)
        assert (await room.bodies("session.status_idle"))[0]["stop_reason"]["type"] == "requires_action"
        assert len(held()) == before
        assert await room.store.owned("w1") == []


async def test_a_session_that_waits_for_a_command_costs_coroutines_and_no_thread() -> None:
    begun, let = asyncio.Event(), asyncio.Event()

    class Slow(MemorySandboxes):
        async def execute(self, session: str, call: ToolCall, *, epoch: int, resume: bool = False) -> ToolOutcome:
            begun.set()
            await let.wait()
            return text_outcome("done")

    room = Room(WrittenModel(reply(use("bash", "toolu_1", command="make")), reply("built")), Slow())
    await room.open()
    async with room.worker() as worker:
        tasks, threads = len(asyncio.all_tasks()), threading.active_count()
        await room.say("go")
        await asyncio.wait_for(begun.wait(), WAIT)
        assert worker.running == 1
        assert threading.active_count() <= threads
        assert len(asyncio.all_tasks()) - tasks <= 2, "its driver, and the call"
        let.set()
        await room.until("session.status_idle")
