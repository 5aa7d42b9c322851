"""What becomes of dreams when several look after them, when something does not answer, and when time runs out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from harness_room import Act, Room, WrittenModel

from conformance.requirements import requirement
from outrider.api.answers import Reply, keep_nothing
from outrider.api.dreamers import PATIENCE_SECONDS, Dreamers
from outrider.api.dreaming import advance
from outrider.api.endpoint import Call
from outrider.api.routes import agents, dreams, environments, memories, memory_stores, sessions
from outrider.clock import ManualClock
from outrider.config import Limits
from outrider.errors import Overloaded
from outrider.ports.access import ApiKey
from outrider.ports.blobs import BlobKey
from outrider.ports.dreams import Copying, DreamRecord
from outrider.ports.files import content_of
from outrider.ports.log import SessionKey
from outrider.ports.records import Page, SessionFilter
from outrider.resources.webhooks import EVENTS
from outrider.testing.memory_blobs import MemoryBlobs
from outrider.testing.memory_log import MemoryStore

pytestmark = pytest.mark.anyio
W = "wrkspc_a"
SAID = {"type": "user.message", "content": [{"type": "text", "text": "What I like is tea."}]}


class DeafBlobs(MemoryBlobs):
    """Takes bytes again when told."""

    deaf = False

    async def put(self, key: BlobKey, content: bytes | AsyncIterable[bytes]) -> None:
        if self.deaf:
            raise Overloaded("The blob store does not answer.")
        await super().put(key, content)


class MeddledStore(MemoryStore):
    """Lets a test act, once, just before a session is made."""

    before_session: Act | None = None

    async def create_session(self, *given: Any, **more: Any) -> Any:
        act, self.before_session = self.before_session, None
        if act is not None:
            await act()
        return await super().create_session(*given, **more)


class Scene:
    """The API's own parts over the in-memory ports, and a clock that stands still; nobody drives sessions."""

    def __init__(self, **limits: Any) -> None:
        self.clock = ManualClock(datetime.fromisoformat("2026-06-01T10:00:00Z"))
        room = Room(WrittenModel(), store=MeddledStore)
        self.blobs = room.blobs = DeafBlobs()
        assert isinstance(room.store, MeddledStore)
        self.store = room.store
        services = room.services()
        settings = replace(services.settings, limits=Limits(**limits))
        self.services = replace(services, clock=self.clock, settings=settings, blobs=self.blobs)
        self.dreamers = Dreamers(self.services)

    async def ask(self, handler: Callable[[Call], Awaitable[Any]], body: Any = None, **path: str) -> dict[str, Any]:
        key = ApiKey("apikey_1", W, "", "test", "admin", self.clock.now())
        found = await handler(Call(self.services, key, path, "", json.dumps(body or {}).encode(), keep_nothing))
        assert isinstance(found, Reply)
        return json.loads(found.bytes())

    async def dream(self, **more: Any) -> dict[str, Any]:
        agent = await self.ask(agents.create, {"name": "a", "model": "m"})
        place = await self.ask(environments.create, {"name": "e"})
        asked = {"agent": agent["id"], "environment_id": place["id"], "initial_events": [SAID]}
        self.past = (await self.ask(sessions.create, asked))["id"]
        self.notes = (await self.ask(memory_stores.create, {"name": "n"}))["id"]
        await self.ask(memories.create, {"path": "/a", "content": "of a"}, memory_store_id=self.notes)
        inputs = [
            {"type": "memory_store", "memory_store_id": self.notes},
            {"type": "sessions", "session_ids": [self.past]},
        ]
        return await self.ask(dreams.create, {"model": "m", "inputs": inputs} | more)

    async def record(self, dream: dict[str, Any]) -> DreamRecord:
        found = await self.store.dream(W, dream["id"])
        assert found is not None
        return found

    async def shown(self, dream: dict[str, Any]) -> dict[str, Any]:
        return await self.ask(dreams.get, dream_id=dream["id"])

    async def pass_by(self, seconds: float = 0, *others: Dreamers) -> None:
        """Time goes by, and all look once."""
        self.clock.advance(seconds)
        every = (self.dreamers, *others)
        await asyncio.gather(*(one.tick() for one in every))
        await asyncio.gather(*(one.settled() for one in every))

    async def made(self) -> set[str]:
        """Sessions that are there beside the one that is read."""
        return {one.id for one in await self.store.sessions(W, Page(limit=99), SessionFilter())} - {self.past}


@requirement("dreams:once", "dreams:webhooks", "dreams:transcripts")
async def test_whoever_looks_a_dream_makes_one_copy_and_one_session() -> None:
    scene = Scene()
    dream = await scene.dream()
    others = [Dreamers(scene.services) for _ in range(3)]
    await scene.pass_by(0, *others)
    await scene.pass_by(1, *others)
    record = await scene.record(dream)
    assert await scene.made() == {record.session}
    shown = await scene.shown(dream)
    assert (shown["status"], shown["session_id"]) == ("running", record.session)
    assert [one.id for one in await scene.store.memory_stores(W, Page(limit=9))] == [record.output, scene.notes]
    told = [one.type for one in await scene.store.changes(after=0, limit=99)]
    assert (told.count("memory_store.created"), set(told) <= EVENTS) == (2, True)
    (file,) = await scene.store.files(W, Page(limit=9), session=record.session)
    assert (file.filename, file.counted, file.downloadable) == (f"{scene.past}.txt", False, False)
    content = b"".join([piece async for piece in scene.blobs.get(content_of(W, file.id))])
    assert b"What I like is tea." in content
    assert len(content) == file.size


@requirement("dreams:once")
async def test_of_two_that_make_its_session_at_once_one_does_and_the_other_leaves_nothing() -> None:
    scene = Scene()
    dream = await scene.dream()

    async def other() -> None:
        await advance(scene.services, await scene.record(dream))

    scene.store.before_session = other
    await scene.pass_by()
    record = await scene.record(dream)
    assert (await scene.made(), record.opened_at is not None) == ({record.session}, True)
    assert len(await scene.store.files(W, Page(limit=9))) == 1
    assert await scene.store.abandon_files("9999") == []
    assert len(scene.blobs.kept) == 1


async def test_what_another_process_has_begun_is_left_to_it_for_a_while() -> None:
    scene = Scene()
    dream = await scene.dream()
    scene.store.shared = True
    record = await scene.record(dream)
    assert await scene.store.begin_dream(record, Copying("mem_c", "memver_c", 99), at=scene.clock.now())
    await scene.pass_by()
    await scene.pass_by(PATIENCE_SECONDS - 1)
    assert await scene.made() == set()
    await scene.pass_by(2)
    assert await scene.made() == {record.session}


@requirement("dreams:timeout")
async def test_a_dream_that_can_not_be_made_is_tried_again_until_its_time_is_over() -> None:
    scene = Scene(dream_seconds=60)
    dream = await scene.dream()
    scene.blobs.deaf = True
    for _ in range(3):
        await scene.pass_by(20)
    assert (await scene.shown(dream))["status"] == "running"
    await scene.pass_by(20)
    await scene.pass_by(20)
    shown = await scene.shown(dream)
    assert (shown["status"], shown["error"]["type"], shown["session_id"]) == ("failed", "timeout", None)
    scene.blobs.deaf = False
    await scene.pass_by(20)
    assert (await scene.made(), scene.blobs.kept) == (set(), {})
    assert await scene.store.abandon_files("9999") == []


@requirement("dreams:timeout", "dreams:usage")
async def test_a_dream_that_takes_too_long_is_interrupted_and_ends_when_that_has_stopped() -> None:
    scene = Scene(dream_seconds=60)
    dream = await scene.dream()
    await scene.pass_by()
    session = (await scene.record(dream)).session
    for seconds in (61, 1, 1):
        await scene.pass_by(seconds)
    kinds = [row.type for row in await scene.store.read(SessionKey(W, session))]
    assert kinds.count("user.interrupt") == 1
    assert (await scene.shown(dream))["status"] == "running"
    await scene.store.delete_session(SessionKey(W, session), if_head=len(kinds))
    await scene.pass_by(1)
    shown = await scene.shown(dream)
    assert (shown["status"], shown["error"]["type"], shown["usage"]["output_tokens"]) == ("failed", "timeout", 0)


@requirement("dreams:too-large", "dreams:error")
async def test_a_dream_over_a_store_that_is_too_large_fails() -> None:
    scene = Scene(dream_store_bytes=3)
    dream = await scene.dream()
    await scene.pass_by()
    shown = await scene.shown(dream)
    assert (shown["status"], shown["error"]["type"]) == ("failed", "input_memory_store_too_large")
    assert (shown["outputs"], await scene.made()) == ([], set())


@requirement("dreams:inputs:removed")
@pytest.mark.parametrize("how", [memory_stores.archive, memory_stores.delete])
async def test_a_dream_whose_store_is_away_before_it_begins_fails(how: Any) -> None:
    scene = Scene()
    dream = await scene.dream()
    await scene.ask(how, memory_store_id=scene.notes)
    await scene.pass_by()
    shown = await scene.shown(dream)
    assert (shown["status"], shown["error"]["type"]) == ("failed", "input_memory_store_unavailable")
    assert shown["outputs"] == []


@requirement("dreams:cancel")
async def test_a_dream_that_is_canceled_before_it_begins_makes_nothing() -> None:
    scene = Scene()
    dream = await scene.dream()
    await scene.ask(dreams.cancel, dream_id=dream["id"])
    await scene.pass_by()
    await scene.pass_by()
    record, shown = await scene.record(dream), await scene.shown(dream)
    assert (record.settled_at is not None, shown["status"], shown["outputs"]) == (True, "canceled", [])
    assert await scene.made() == set()
