"""API and harness in processes of their own, played in this one over a store in memory, while what they say to each
other gets lost, doubled and reordered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from harness_room import KEY, OneModel, WrittenModel, reply
from session_sim import AGENT

from outrider.api.intake import send_once
from outrider.api.keyring import KeyRing
from outrider.api.leases import Leases
from outrider.api.services import Services
from outrider.clock import SystemClock
from outrider.config import Limits, Settings
from outrider.doorbell.remote import RemoteDispatch
from outrider.harness.loop import Hands
from outrider.harness.worker import Worker
from outrider.ids import MonotonicIds
from outrider.ports.doorbell import Exchange
from outrider.ports.log import Row, SessionKey
from outrider.ports.model import Delta, ModelCall, ModelProfile, ModelReply
from outrider.ports.records import SessionRecord
from outrider.ports.store import StorePorts
from outrider.session import events
from outrider.session.events import EventFactory
from outrider.session.feed import Feed
from outrider.testing.doorbell_suite import EXCHANGE_CONTRACTS
from outrider.testing.exchange_trial import ExchangeContract, ExchangeTrial, OnCommit, until
from outrider.testing.memory_blobs import MemoryBlobs
from outrider.testing.memory_declarations import MemoryDeclarations
from outrider.testing.memory_log import MemoryStore
from outrider.testing.memory_sandbox import MemorySandboxes
from outrider.testing.memory_secrets import MemorySecrets
from outrider.testing.switchboard import Mischief, Switchboard

pytestmark = pytest.mark.anyio
WAIT = 20.0
BAD = Mischief(lost=0.3, doubled=0.3, late=0.5)
DEAF = Mischief(lost=1.0)
HOLDS_WHATEVER_HAPPENS = {
    "a_row_written_elsewhere_reaches_a_reader",
    "rows_of_two_writers_reach_the_readers_of_both_in_order_and_once",
    "a_stream_opened_while_others_write_has_no_gap",
    "an_owner_hears_of_a_row_written_elsewhere",
    "a_preview_is_not_shown_before_the_row_it_follows",
    "after_a_lost_connection_nothing_is_missing",
}
CONTRACTS = [contract for contract in EXCHANGE_CONTRACTS if contract.__name__ in HOLDS_WHATEVER_HAPPENS]


def trial_over(board: Switchboard) -> ExchangeTrial:
    store = MemoryStore(shared=True)

    @asynccontextmanager
    async def link(on_commit: OnCommit) -> AsyncGenerator[tuple[StorePorts, Exchange]]:
        yield store.branch(on_commit=on_commit), board.exchange()

    async def lose_connections() -> None:
        board.lose_connections()

    return ExchangeTrial(link, lose_connections, look_seconds=0.05)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
async def test_what_readers_see_holds_on_an_exchange_that_misbehaves(contract: ExchangeContract, seed: int) -> None:
    await contract(trial_over(Switchboard(BAD, seed)))


class Part:
    """One process: its view of the store, its feed, its end of the exchange."""

    def __init__(self, store: MemoryStore, board: Switchboard, model: WrittenModel) -> None:
        self.store = store.branch(on_commit=self._committed)
        self.exchange = board.exchange()
        self.ids, self.clock = MonotonicIds(), SystemClock()
        self.feed = Feed(
            self.store, self.clock, self.ids, lambda _, body: body,
            replay_window=0.0, heartbeat=20.0, exchange=self.exchange, look_seconds=0.1,
        )  # fmt: skip
        self.limits = Limits(backoff_first=0.001, backoff_most=0.002)
        self.models = OneModel(ModelProfile("e", "m", window=200_000))
        self.model = model

    def _committed(self, key: SessionKey, rows: list[Row]) -> None:
        self.feed.publish(key, rows)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Part]:
        async with self.exchange.opened(self.feed), self.feed.looking():
            yield self

    @asynccontextmanager
    async def working(self, name: str, limits: Limits | None = None) -> AsyncGenerator[Worker]:
        hands = Hands(
            self.store,
            self.feed,
            self.model,
            self.models,
            MemorySandboxes(),
            limits or self.limits,
            self.ids,
            self.clock,
        )
        worker = Worker(hands, self.feed, self.exchange, name)
        async with self.open(), worker.working():
            yield worker

    async def create(self, key: SessionKey) -> None:
        factory = EventFactory("sthr_1", AGENT["name"], self.ids, self.clock)
        opening = factory.internal(events.CREATED, {"agent": AGENT, "environment": {}})
        now = self.clock.now()
        record = SessionRecord(
            key.workspace, key.session, "sthr_1", "agent_1", 1, "env_1", "idle", now, now, None,
            msgspec.json.encode(AGENT), b"{}", b"{}", b"{}",
        )  # fmt: skip
        await self.store.create_session(record, [opening], wake=False)

    async def send(self, key: SessionKey, *requests: dict[str, Any]) -> None:
        async def nothing(*_: Any) -> Any:
            return None

        services = Services(
            Settings(data=Path("/nonexistent")), self.store, self.store, self.store, self.store, self.store,
            self.store, self.store, self.store, self.store, self.store,
            MemoryBlobs(), MemorySecrets(), MemoryDeclarations(), self.store,
            self.feed, RemoteDispatch(self.exchange), self.models, self.ids, self.clock, nothing, lambda: True, nothing,
            KeyRing(self.store, self.clock), self.store, Leases(self.clock),
        )  # fmt: skip
        await send_once(services, key, requests, allow_system=False, keep=lambda _: None)

    async def say(self, key: SessionKey, text: str) -> None:
        await self.send(key, {"type": "user.message", "content": [{"type": "text", "text": text}]})

    async def types(self, key: SessionKey, last: str) -> list[str]:
        """What a stream shows from now on, up to this type."""
        stream = await self.feed.subscribe(key, previews=frozenset({"agent.message"}))
        self.reading.set()
        seen: list[str] = []
        try:
            async for frame in stream.frames():
                if frame is not None:
                    seen.append(events.decode(frame)["type"])
                    if seen[-1] == last:
                        break
        finally:
            stream.close()
        return seen

    @property
    def reading(self) -> asyncio.Event:
        return self.__dict__.setdefault("_reading", asyncio.Event())


async def talk(call: ModelCall, on_delta: Callable[[Delta], None]) -> ModelReply:
    return reply("hello")


def answers(count: int) -> WrittenModel:
    return WrittenModel(*[talk] * count)


async def is_idle(store: MemoryStore, key: SessionKey) -> bool:
    return (await store.read(key))[-1].type == "session.status_idle"


async def test_a_session_driven_elsewhere_is_seen_whole_on_a_stream_here() -> None:
    store, board, model = MemoryStore(shared=True), Switchboard(), answers(1)
    async with Part(store, board, model).open() as api, Part(store, board, model).working("w1"):
        await api.create(KEY)
        stream = asyncio.create_task(api.types(KEY, "session.status_idle"))
        await api.reading.wait()
        await api.say(KEY, "hi")
        async with asyncio.timeout(WAIT):
            seen = await stream
    assert "agent.message" in seen
    assert seen[0] == "user.message"


@pytest.mark.parametrize("mischief", [BAD, DEAF], ids=["bad", "deaf"])
async def test_sessions_end_their_turns_though_rings_and_heads_are_lost(
    mischief: Mischief, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outrider.harness.worker.SWEEP_SECONDS", 0.1)
    store, board, model = MemoryStore(shared=True), Switchboard(mischief, seed=1), answers(40)
    one, other = Part(store, board, model), Part(store, board, model)
    keys = [SessionKey(KEY.workspace, f"sesn_{n}") for n in range(40)]
    async with Part(store, board, model).open() as api, one.working("w1"), other.working("w2"):
        for key in keys:
            await api.create(key)
            await api.say(key, "hi")
        for key in keys:
            await until(lambda key=key: is_idle(store, key))
    assert await store.runnable() == 0


@pytest.mark.parametrize("mischief", [Mischief(), DEAF], ids=["well", "deaf"])
async def test_an_interrupt_sent_elsewhere_stops_the_model_call(mischief: Mischief) -> None:
    asked, stopped = asyncio.Event(), asyncio.Event()

    async def hang(call: ModelCall, on_delta: Callable[[Delta], None]) -> ModelReply:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    store, board, model = MemoryStore(shared=True), Switchboard(mischief), WrittenModel(hang)
    async with Part(store, board, model).open() as api, Part(store, board, model).working("w1"):
        await api.create(KEY)
        await api.say(KEY, "hi")
        async with asyncio.timeout(WAIT):
            await asked.wait()
            await api.send(KEY, {"type": "user.interrupt"})
            await stopped.wait()


async def test_a_full_harness_leaves_what_it_can_not_take_to_another() -> None:
    store, board, model = MemoryStore(shared=True), Switchboard(), answers(6)
    small = Limits(running_sessions=1)
    keys = [SessionKey(KEY.workspace, f"sesn_{n}") for n in range(6)]
    one, other = Part(store, board, model), Part(store, board, model)
    async with Part(store, board, model).open() as api, one.working("w1", small), other.working("w2", small):
        for key in keys:
            await api.create(key)
            await api.say(key, "hi")
        for key in keys:
            await until(lambda key=key: is_idle(store, key))
