"""Budgets in the loop: a price that goes away, and a request that was written down and never sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness_room import KEY, MeddledStore, Room, WrittenModel, reply, use

from outrider.api.intake import light_state
from outrider.errors import InvalidRequest
from outrider.ports.model import ModelReply, Price
from outrider.session.costs import CENT, HOUR_SECONDS, limit
from outrider.session.events import EventFactory
from outrider.session.resting import updated_rows
from outrider.testing.memory_log import MemoryStore

pytestmark = pytest.mark.anyio

PRICE = Price(input=10, output=100, cache_read=1, cache_write=20)


async def priced(model: WrittenModel, store: type[MemoryStore] = MemoryStore, **facts: Any) -> Room:
    room = Room(model, store=store)
    room.models.charge(PRICE)
    await room.open(**facts)
    return room


async def test_a_session_whose_model_lost_its_price_stops_before_its_next_request() -> None:
    room = await priced(WrittenModel(reply("one"), reply("two")), budget=100)
    async with room.worker():
        await room.say("hi")
        await room.until("session.status_idle")
        room.models.charge(None)
        await room.say("more")
        await room.until("session.status_idle", 2)
        with pytest.raises(InvalidRequest, match="budget_reached"):
            await room.say("still more")
        state = await light_state(room.services(), KEY)
        rows, patch = updated_rows(EventFactory("sthr_1", "worker", room.ids, room.clock), state, {"budget": None})
        await room.store.append_client(KEY, rows, if_head=state.seq, patch=patch, wake=True)
        room.doorbell.ring()
        await room.until("session.status_idle", 3)
    reasons = [body["stop_reason"]["type"] for body in await room.bodies("session.status_idle")]
    assert reasons == ["end_turn", "budget_reached", "end_turn"]
    assert len(room.model.calls) == 2


async def test_without_a_budget_a_price_that_goes_away_stops_nothing() -> None:
    room = await priced(WrittenModel(reply("one"), reply("two")))
    async with room.worker():
        await room.say("hi")
        await room.until("session.status_idle")
        room.models.charge(None)
        await room.say("more")
        await room.until("session.status_idle", 2)
    costs = [body["usage"]["list_cost"] for body in await room.bodies("session.usage")]
    assert costs == [{"amount": "0", "currency": "USD"}, None]


async def test_time_at_work_alone_reaches_a_cap() -> None:
    room = await priced(WrittenModel(reply(use("glob", pattern="*"))), budget=1, hour=HOUR_SECONDS * 10**6 * CENT)
    async with room.worker():
        await room.say("hi")
        await room.until("session.status_idle")
    assert (await room.bodies("session.status_idle"))[0]["stop_reason"] == {"type": "budget_reached"}
    assert (await room.bodies("session.usage"))[0]["budget"] == limit(1)


async def hang(_call: Any, _on_delta: Any) -> ModelReply:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("meddled", [False, True])
async def test_an_interrupted_request_costs_what_it_came_to_though_a_message_came_between(*, meddled: bool) -> None:
    room = await priced(WrittenModel(hang, reply("late")), MeddledStore)
    async with room.worker():
        await room.say("hi")
        await room.until("model.request")
        if meddled:
            assert isinstance(room.store, MeddledStore)
            room.store.before["session.status_idle"] = lambda: room.say("late")
        await room.send({"type": "user.interrupt"})
        await room.until("session.status_idle", 2 if meddled else 1)
    asked = (await room.bodies("model.request"))[0]
    prompt = asked["reserve"] - asked["max_tokens"] * asked["tariff"]["output"]
    assert [body["cost"] for body in await room.bodies("model.charge")] == [prompt]
