"""A whole harness in one process for tests: the real worker and loop over the in-memory ports, and a model whose
replies are written in the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from session_sim import AGENT

from outrider.api.intake import send_once
from outrider.api.keyring import KeyRing
from outrider.api.leases import Leases
from outrider.api.services import Services
from outrider.clock import SystemClock
from outrider.config import Limits, Settings
from outrider.doorbell.local import LocalDoorbell
from outrider.errors import InvalidRequest
from outrider.harness.loop import Hands
from outrider.harness.showing import NamedFiles
from outrider.harness.uploads import Uploads
from outrider.harness.worker import Worker
from outrider.ids import MonotonicIds
from outrider.ports.log import Lease, NewEvent, Row, SessionKey
from outrider.ports.model import Delta, ModelCall, ModelProfile, ModelReply, Price
from outrider.ports.records import SessionRecord
from outrider.session import events
from outrider.session.events import EventFactory
from outrider.session.feed import Feed
from outrider.testing.memory_blobs import MemoryBlobs
from outrider.testing.memory_declarations import MemoryDeclarations
from outrider.testing.memory_log import MemoryStore
from outrider.testing.memory_sandbox import MemorySandboxes
from outrider.testing.memory_secrets import MemorySecrets

KEY = SessionKey("wrkspc_default", "sesn_1")
WAIT = 20.0
Act = Callable[[], Awaitable[None]]
Answer = Callable[[ModelCall, Callable[[Delta], None]], Awaitable[ModelReply]]


class WrittenModel:
    """Implements the `Model` port: the next answer of a list for each request. Requests are kept."""

    def __init__(self, *answers: ModelReply | Exception | Answer) -> None:
        self._answers = list(answers)
        self.calls: list[ModelCall] = []

    async def respond(self, call: ModelCall, on_delta: Callable[[Delta], None]) -> ModelReply:
        self.calls.append(call)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, ModelReply):
            return answer
        return await answer(call, on_delta)


class OneModel:
    """Implements the `Models` port with a single profile."""

    def __init__(self, profile: ModelProfile) -> None:
        self._profile = profile

    def charge(self, price: Price | None) -> None:
        self._profile = replace(self._profile, price=price)

    def profile(self, model: str) -> ModelProfile:
        if model == "gone":
            raise InvalidRequest("no endpoint serves the model gone")
        return replace(self._profile, model=model)

    def names(self) -> list[str]:
        return ["m"]


def reply(*content: dict[str, Any] | str, stop: str = "end_turn", **usage: int) -> ModelReply:
    blocks = [{"type": "text", "text": block} if isinstance(block, str) else block for block in content]
    stop = "tool_use" if any(block["type"] == "tool_use" for block in blocks) and stop == "end_turn" else stop
    return ModelReply(blocks, stop, usage={"input_tokens": 10, "output_tokens": 5} | usage)


def use(name: str, id: str = "toolu_1", **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": given}


class Rings:
    """Implements the `Dispatch` port of an API that has no harness in its process."""

    def __init__(self, doorbell: LocalDoorbell) -> None:
        self._doorbell = doorbell

    def ring(self) -> None:
        self._doorbell.ring()

    def claimant(self) -> str | None:
        return None

    def take(self, lease: Lease) -> None:
        raise AssertionError(f"{lease} was claimed for nobody")


class MeddledStore(MemoryStore):
    """Lets a test act, once, just before an owner's append that holds a row of a type, or just after a session's
    record was read."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.before: dict[str, Act] = {}
        self.after_record: Act | None = None

    async def append_owned(self, lease: Lease, events: list[NewEvent], **given: Any) -> Lease:
        for event in events:
            act = self.before.pop(event.type, None)
            if act is not None:
                await act()
        return await super().append_owned(lease, events, **given)

    async def session(self, key: SessionKey) -> SessionRecord | None:
        record = await super().session(key)
        act, self.after_record = self.after_record, None
        if act is not None:
            await act()
        return record


class Room:
    """One session and everything that works on it."""

    def __init__(
        self,
        model: WrittenModel,
        sandboxes: MemorySandboxes | None = None,
        limits: Limits | None = None,
        window: int = 200_000,
        store: type[MemoryStore] = MemoryStore,
        mid_conversation_system: bool = False,
    ) -> None:
        self.model = model
        self.sandboxes = sandboxes or MemorySandboxes()
        self.limits = limits or Limits(backoff_first=0.001, backoff_most=0.002)
        self.clock, self.ids, self.doorbell = SystemClock(), MonotonicIds(), LocalDoorbell()
        self.store = store(on_commit=self._committed)
        self.feed = Feed(self.store, self.clock, self.ids, lambda kind, body: body, replay_window=2.0, heartbeat=20.0)
        self.models = OneModel(ModelProfile("e", "m", window=window, mid_conversation_system=mid_conversation_system))
        self.blobs = MemoryBlobs()
        self._news = asyncio.Event()

    def _committed(self, key: SessionKey, rows: list[Row]) -> None:
        self.feed.publish(key, rows)
        self._news.set()

    async def open(self, agent: dict[str, Any] = AGENT, **facts: Any) -> None:
        factory = EventFactory("sthr_1", agent["name"], self.ids, self.clock)
        opening = factory.internal(events.CREATED, {"agent": agent, "environment": {}, **facts})
        now = self.clock.now()
        record = SessionRecord(
            KEY.workspace, KEY.session, "sthr_1", "agent_1", 1, "env_1", "idle", now, now, None,
            msgspec.json.encode(agent), b"{}", b"{}", b"{}",
        )  # fmt: skip
        await self.store.create_session(record, [opening], wake=False)

    @asynccontextmanager
    async def worker(self, name: str = "w1") -> AsyncGenerator[Worker]:
        hands = Hands(
            self.store, self.feed, self.model, self.models, self.sandboxes, self.limits, self.ids, self.clock,
            uploads=Uploads(self.store, self.store, self.blobs, self.sandboxes),
            shows=NamedFiles(self.store, self.blobs),
        )  # fmt: skip
        worker = Worker(hands, self.feed, self.doorbell, name)
        async with worker.working():
            yield worker

    def services(self) -> Services:
        """What the API's routes work with."""

        async def nothing(*_: Any) -> Any:
            return None

        return Services(
            Settings(data=Path("/nonexistent")), self.store, self.store, self.store, self.store, self.store,
            self.store, self.store, self.store, self.store, self.store,
            self.blobs, MemorySecrets(), MemoryDeclarations(), self.store,
            self.feed, Rings(self.doorbell), self.models, self.ids, self.clock, nothing, lambda: True, nothing,
            KeyRing(self.store, self.clock), self.store, Leases(self.clock),
        )  # fmt: skip

    async def send(self, *requests: dict[str, Any]) -> None:
        allow = self.models.profile("m").mid_conversation_system
        await send_once(self.services(), KEY, requests, allow_system=allow, keep=lambda _: None)

    async def say(self, text: str) -> None:
        await self.send({"type": "user.message", "content": [{"type": "text", "text": text}]})

    async def rows(self) -> list[Row]:
        return await self.store.read(KEY)

    async def until(self, kind: str, count: int = 1) -> list[Row]:
        """All rows, once there are `count` of this type."""
        async with asyncio.timeout(WAIT):
            while True:
                self._news.clear()
                rows = await self.rows()
                if sum(row.type == kind for row in rows) >= count:
                    return rows
                await self._news.wait()

    async def bodies(self, kind: str) -> list[dict[str, Any]]:
        return [events.decode(row.body) for row in await self.rows() if row.type == kind]
