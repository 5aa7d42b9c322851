"""Sessions that stand still for no good reason are got going again; what is just happening is left alone."""

from __future__ import annotations

import pytest
from harness_room import KEY, Room, WrittenModel, reply

from outrider.harness.watchdog import Watchdog
from outrider.ports.log import SessionKey

pytestmark = pytest.mark.anyio


class Post:
    """A watchdog over a room's store, and what it did."""

    def __init__(self, room: Room, driven: set[SessionKey] | None = None) -> None:
        self.rings = 0
        self.driven = driven or set[SessionKey]()
        self.dog = Watchdog(room.store, lambda: "w1", lambda: self.driven, self._ring)

    def _ring(self) -> None:
        self.rings += 1


async def test_a_session_whose_claim_was_never_heard_of_is_given_to_somebody_at_the_second_look() -> None:
    room = Room(WrittenModel(reply("hello")))
    await room.open()
    await room.say("go")
    assert await room.store.claim("w1", limit=1)
    post = Post(room)
    await post.dog.look()
    assert await room.store.runnable() == 0
    await post.dog.look()
    assert (await room.store.runnable(), post.rings) == (1, 1)
    async with room.worker("w2"):
        await room.until("session.status_idle")


async def test_a_session_that_is_driven_is_left_alone() -> None:
    room = Room(WrittenModel())
    await room.open()
    await room.say("go")
    assert await room.store.claim("w1", limit=1)
    post = Post(room, {KEY})
    for _ in range(3):
        await post.dog.look()
    assert (await room.store.runnable(), post.rings) == (0, 0)


async def test_a_session_at_work_without_a_wake_is_woken_at_the_second_look() -> None:
    room = Room(WrittenModel(reply("hello")))
    await room.open()
    await room.say("go")
    room.store._kept[KEY].since = None  # pyright: ignore[reportPrivateUsage] (the fault: its wake is gone)
    post = Post(room)
    await post.dog.look()
    assert await room.store.runnable() == 0
    await post.dog.look()
    assert (await room.store.runnable(), post.rings) == (1, 1)
    async with room.worker("w2"):
        await room.until("session.status_idle")


async def test_a_suspicion_that_passes_is_forgotten() -> None:
    room = Room(WrittenModel())
    await room.open()
    await room.say("go")
    assert await room.store.claim("w1", limit=1)
    post = Post(room)
    for driven in (set[SessionKey](), {KEY}, set[SessionKey](), {KEY}):
        post.driven = driven
        await post.dog.look()
    assert (await room.store.runnable(), post.rings) == (0, 0)
