"""The courier of webhooks on a store in memory: pauses, what ends an endpoint, outages, and who delivers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from conformance.requirements import requirement
from outrider.api.courier import ATTEMPTS, SUSTAINED_EVENTS, Deliveries
from outrider.clock import ManualClock
from outrider.config import WebhookSettings
from outrider.errors import Fenced, Overloaded, causes
from outrider.ids import CountingIds
from outrider.ports.telemetry import NoMeter
from outrider.ports.vaults import VaultRecord
from outrider.ports.webhooks import Courier, Delivery, WebhookRecord
from outrider.testing.memory_log import MemoryStore
from outrider.testing.memory_sender import MemorySender
from outrider.testing.webhooks_suite import webhook

pytestmark = pytest.mark.anyio
A = "wrkspc_a"
IDS = CountingIds()
DEADLINE = 30.0


class Watched(MemoryStore):
    """Says when somebody has looked for the courier."""

    looks = 0

    async def courier(self) -> Courier:
        self.looks += 1
        return await super().courier()


class Scene:
    """A store with one endpoint that hears of vaults."""

    def __init__(self, *answers: int | None, shared: bool = False) -> None:
        self.store, self.clock = Watched(shared=shared), ManualClock()
        self.sender = MemorySender(answers or (204,))

    @asynccontextmanager
    async def delivering(self, name: str = "us") -> AsyncGenerator[None]:
        about = (IDS, self.clock, NoMeter())
        settings = WebhookSettings()
        work = Deliveries(
            *(self.store, self.sender, settings, about, name), shared=self.store.shared, chance=random.Random(1)
        )
        task = asyncio.create_task(work.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def listen(self) -> None:
        await self.store.create_webhook(webhook("whk_1", "vault.created"), IDS)

    async def happen(self, count: int = 1) -> None:
        for _ in range(count):
            now = self.clock.now()
            await self.store.create_vault(VaultRecord(A, IDS.new("vlt"), now, now, None, b"{}"))

    async def deliveries(self, enough: Callable[[list[Delivery]], bool]) -> list[Delivery]:
        """All of them, newest first, once they are as wanted."""
        found: list[Delivery] = []

        async def look() -> bool:
            found[:] = await self.store.deliveries(A, "whk_1", state=None, after=None, limit=999)
            return enough(found)

        await self.until(look)
        return found

    async def until(self, look: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(DEADLINE):
            while True:
                if await look():
                    return
                await asyncio.sleep(0.01)

    async def looked(self) -> None:
        """Somebody has looked for the courier from now on, and thought about it."""
        before = self.store.looks

        async def look() -> bool:
            return self.store.looks > before + 1

        await self.until(look)

    async def endpoint(self) -> WebhookRecord:
        found = await self.store.webhook(A, "whk_1")
        assert found is not None
        return found

    async def fail(self, count: int) -> None:
        """So many events more are given up."""
        before = len(await self.store.deliveries(A, "whk_1", state="failed", after=None, limit=999))
        await self.happen(count)
        for attempt in range(1, ATTEMPTS + 1):
            await self.deliveries(lambda all, attempt=attempt: _attempted(all, before + count, attempt))
            self.clock.advance(121)


def _attempted(found: list[Delivery], count: int, least: int) -> bool:
    return len(found) == count and all(one.attempts >= least for one in found)


@requirement("webhooks:attempts")
async def test_pauses_between_attempts_grow_from_five_seconds_and_have_a_bound() -> None:
    scene = Scene(500)
    await scene.listen()
    await scene.happen()
    async with scene.delivering():
        for attempt, (least, most) in enumerate([(5, 10), (20, 40)], 1):
            (one,) = await scene.deliveries(lambda all, attempt=attempt: _attempted(all, 1, attempt))
            assert one.tried_at is not None
            pause = datetime.fromisoformat(one.due) - datetime.fromisoformat(one.tried_at)
            assert timedelta(seconds=least) <= pause <= timedelta(seconds=most)
            scene.clock.advance(most)
        (one,) = await scene.deliveries(lambda all: all[0].state == "failed")
    assert len(scene.sender.sent) == one.attempts == ATTEMPTS
    assert len(set(scene.sender.sent)) == 1


@requirement("webhooks:sustained")
async def test_an_endpoint_that_fails_for_an_hour_is_disabled_and_not_one_that_failed_for_a_moment() -> None:
    scene = Scene(500)
    await scene.listen()
    async with scene.delivering():
        await scene.fail(SUSTAINED_EVENTS)
        assert (await scene.endpoint()).state == "enabled"
        scene.clock.advance(3600)
        await scene.happen()
        await scene.deliveries(lambda all: len(all) > SUSTAINED_EVENTS and all[0].state == "failed")
    found = await scene.endpoint()
    assert (found.state, found.reason) == ("disabled", "sustained_failure")


async def test_a_2xx_in_between_ends_the_row_of_failures() -> None:
    scene = Scene(500)
    await scene.listen()
    async with scene.delivering():
        await scene.fail(SUSTAINED_EVENTS)
        scene.sender.answers[:] = [204]
        await scene.happen()
        await scene.deliveries(lambda all: all[0].state == "delivered")
        assert (await scene.endpoint()).failing_since is None


@requirement("webhooks:backfill")
async def test_an_endpoint_hears_of_nothing_that_came_before_it_or_while_it_was_disabled() -> None:
    scene = Scene()
    await scene.happen()
    await scene.listen()
    async with scene.delivering():
        await scene.happen()
        await scene.deliveries(lambda all: len(all) == 1 and all[0].state == "delivered")
    assert len(scene.sender.sent) == 1


async def test_a_vault_that_does_not_answer_costs_no_attempt() -> None:
    scene = Scene(None, None, 204)
    await scene.listen()
    await scene.happen(2)
    async with scene.delivering():
        found = await scene.deliveries(lambda all: len(all) == 2 and all[0].state == all[1].state == "delivered")
    assert [one.attempts for one in found] == [1, 1]


async def test_a_courier_that_shows_no_life_is_replaced_and_a_living_one_is_not() -> None:
    scene = Scene(shared=True)
    await scene.listen()
    alive = await scene.store.appoint("alive", await scene.store.courier())
    assert alive is not None
    await scene.happen()
    async with scene.delivering():
        for _ in range(2):
            assert await scene.store.beat_courier(alive)
            await scene.looked()
            scene.clock.advance(2)
        assert await scene.store.beat_courier(alive)
        await scene.looked()
        assert scene.sender.sent == []
        scene.clock.advance(4)
        await scene.deliveries(lambda all: bool(all) and all[0].state == "delivered")
        assert (await scene.store.courier()).owner == "us"
    assert (await scene.store.courier()).owner == ""
    assert not await scene.store.beat_courier(alive)


async def test_a_courier_that_was_replaced_records_nothing_more_and_its_work_is_done_by_another() -> None:
    scene = Scene(shared=True)
    await scene.listen()
    await scene.happen()
    async with scene.delivering("first"):
        await scene.deliveries(lambda all: bool(all) and all[0].state == "delivered")
        seen = await scene.store.courier()
        await scene.store.resign_courier(seen)
        other = await scene.store.appoint("other", await scene.store.courier())
        assert other is not None
        await scene.happen(3)
        scene.clock.advance(1)
        await scene.looked()
        await scene.store.resign_courier(other)
        found = await scene.deliveries(lambda all: len(all) == 4 and {one.state for one in all} == {"delivered"})
    assert {event for _, event in scene.sender.sent} == {one.event for one in found}


async def test_a_courier_that_finds_itself_replaced_says_so_in_words(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    await scene.listen()
    await scene.happen(3)
    async with scene.delivering():
        await scene.deliveries(lambda all: len(all) == 3)
        assert await scene.store.appoint("other", await scene.store.courier()) is not None
        await scene.happen(3)
        await scene.deliveries(lambda all: len(all) == 6 and {one.state for one in all} == {"delivered"})
    assert caplog.messages == ["webhooks: Another process delivers the webhooks."]


def test_what_tasks_of_groups_within_groups_failed_with_is_found() -> None:
    fenced, full = Fenced("Another process delivers the webhooks."), Overloaded("The disk is full.")
    groups: Any = ExceptionGroup("", [ExceptionGroup("", [fenced]), full])
    assert causes(groups) == [fenced, full]
