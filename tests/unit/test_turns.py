"""Changes of one thing take turns in a process, and are tried again where another process came in between."""

from __future__ import annotations

import asyncio

import pytest

from outrider.api.turns import TRIES, Turns
from outrider.errors import Conflict, InvalidRequest

pytestmark = pytest.mark.anyio


async def test_a_change_is_tried_again_until_no_other_came_in_between() -> None:
    left = [Conflict("moved"), Conflict("moved")]

    async def attempt() -> str:
        if left:
            raise left.pop()
        return "made"

    assert await Turns().take("thing", attempt) == "made"


async def test_a_change_that_never_fits_ends_with_its_conflict() -> None:
    tries: list[int] = []

    async def attempt() -> None:
        tries.append(1)
        raise Conflict("moved")

    with pytest.raises(Conflict):
        await Turns().take("thing", attempt)
    assert len(tries) == TRIES


async def test_what_is_refused_is_not_tried_again() -> None:
    tries: list[int] = []

    async def attempt() -> None:
        tries.append(1)
        raise InvalidRequest("never")

    with pytest.raises(InvalidRequest):
        await Turns().take("thing", attempt)
    assert tries == [1]


async def test_one_change_of_a_thing_runs_at_a_time_and_other_things_do_not_wait() -> None:
    turns, order = Turns(), list[str]()
    held, other = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        order.append("first begins")
        await held.wait()
        order.append("first ends")

    async def second() -> None:
        order.append("second")

    async def elsewhere() -> None:
        other.set()

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(turns.take("thing", first))
        tasks.create_task(turns.take("thing", second))
        tasks.create_task(turns.take("other", elsewhere))
        await other.wait()
        held.set()
    assert order == ["first begins", "first ends", "second"]
