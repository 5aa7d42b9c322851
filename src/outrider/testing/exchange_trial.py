"""What the conformance suite of the doorbell ports works with: processes that share a store and an exchange."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from outrider.clock import SystemClock
from outrider.ids import MonotonicIds
from outrider.ports.doorbell import Exchange
from outrider.ports.log import Row, SessionKey
from outrider.ports.store import StorePorts
from outrider.session.feed import Feed
from outrider.session.subscription import Subscription
from outrider.testing.store_trial import record

WAIT = 20.0
KEY = SessionKey("wrkspc_a", "sesn_1")
OnCommit = Callable[[SessionKey, list[Row]], None]
Link = Callable[[OnCommit], AbstractAsyncContextManager[tuple[StorePorts, Exchange]]]
"""A process's own view of the shared store, and its exchange, not yet opened. Commits are told to the argument."""

Found = TypeVar("Found")


@dataclass
class Process:
    """One of several processes, played in this one."""

    store: StorePorts
    exchange: Exchange
    feed: Feed


@dataclass
class ExchangeTrial:
    """`lose_connections` breaks what holds the processes together, for a moment; `previews` says whether text deltas
    travel; `look_seconds` how often logs are looked at without being told."""

    link: Link
    lose_connections: Callable[[], Awaitable[None]]
    previews: bool = True
    look_seconds: float = 2.0
    processes: list[Process] = field(default_factory=list[Process])

    @asynccontextmanager
    async def process(self) -> AsyncGenerator[Process]:
        feeds: list[Feed] = []
        async with self.link(lambda key, rows: feeds[0].publish(key, rows)) as (store, exchange):
            clock, ids = SystemClock(), MonotonicIds()
            feed = Feed(
                store,
                clock,
                ids,
                lambda _, body: body,
                replay_window=0.0,
                heartbeat=20.0,
                exchange=exchange,
                look_seconds=self.look_seconds,
            )
            feeds.append(feed)
            async with exchange.opened(feed), feed.looking():
                assert exchange.connected
                yield Process(store, exchange, feed)

    @asynccontextmanager
    async def two(self) -> AsyncGenerator[tuple[Process, Process]]:
        """Two processes and the session `KEY`."""
        async with self.process() as one, self.process() as other:
            await one.store.create_session(record(KEY.session), [], wake=False)
            yield one, other


ExchangeContract = Callable[[ExchangeTrial], Awaitable[None]]


@asynccontextmanager
async def reading(process: Process, *, previews: bool = False) -> AsyncGenerator[Reader]:
    kinds = frozenset({"agent.message"}) if previews else frozenset[str]()
    stream = await process.feed.subscribe(KEY, previews=kinds)
    try:
        yield Reader(stream)
    finally:
        stream.close()


class Reader:
    """A stream, read as ids of events; previews as `id+number of letters so far`, the deletion as its type."""

    def __init__(self, stream: Subscription) -> None:
        self._frames = stream.frames()

    async def until(self, last: str, seconds: float = WAIT) -> list[str]:
        seen: list[str] = []
        async with asyncio.timeout(seconds):
            async for frame in self._frames:
                if frame is not None:
                    seen.append(_named(msgspec.json.decode(frame)))
                    if seen[-1] == last:
                        return seen
        raise AssertionError(f"the stream ended without {last}: {seen}")


def _named(body: dict[str, str]) -> str:
    if body.get("type") == "session.deleted":
        return "session.deleted"
    return body["id"] + body.get("text", "")


async def until(look: Callable[[], Awaitable[Found | None]], seconds: float = WAIT) -> Found:
    """The first answer that is not None (or False); what is waited for happens in another process or server."""
    async with asyncio.timeout(seconds):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.01)
