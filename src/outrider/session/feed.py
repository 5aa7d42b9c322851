"""The live feed of this process: who reads or drives which session's log now, and what is new in it. Rows come from
commits here, and from the log when other processes have written; previews are live only. Owns no connection."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from outrider.clock import Clock
from outrider.errors import OutriderError
from outrider.ids import IdSource
from outrider.ports.doorbell import Exchange, Preview
from outrider.ports.log import EventLog, Row, SessionKey
from outrider.session.events import EventFactory, with_time
from outrider.session.hub import Entry, Frame, Hub
from outrider.session.subscription import PAGE, Subscription
from outrider.session.tail import Tail

LOOK_SECONDS = 2.0
JITTER = 0.25  # of that, either way
LOOK_AT_ONCE = 500

log = logging.getLogger("outrider.session")


class Feed:
    """Implements the `LiveFeed` port for the writers, `subscribe` and `watch` for the readers, and the `Listener` port
    for what other processes say.

    `frame(kind, body)` makes the bytes that go to a client. `exchange` tells other processes, if there are any.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        ids: IdSource,
        frame: Callable[[str, bytes], Frame],
        *,
        replay_window: float,
        heartbeat: float,
        exchange: Exchange | None = None,
        look_seconds: float = LOOK_SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._log = log
        self._heartbeat = heartbeat
        self._clock = clock
        self._ids = ids
        self._frame = frame
        self._replay_window = replay_window
        self._exchange = exchange
        self._look_seconds = look_seconds
        self._chance = chance
        self._hubs: dict[SessionKey, Hub] = {}
        self._tails: dict[SessionKey, Tail] = {}
        self._recent: dict[SessionKey, tuple[int, float]] = {}
        self._suspects: set[SessionKey] = set()
        self._suspected = asyncio.Event()

    # -- what is written here

    @property
    def readers(self) -> int:
        """Streams that are open in this process."""
        return sum(hub.readers for hub in self._hubs.values())

    def publish(self, key: SessionKey, rows: list[Row]) -> None:
        tail = self._tails.get(key)
        if tail is not None:
            tail.committed(rows)
        hub = self._hubs.get(key)
        if hub is not None:
            self._enter(key, hub, rows)
        if self._exchange is not None:
            self._exchange.head(key, rows[-1].seq)

    def preview(self, key: SessionKey, thread: str, event_id: str, frame: bytes, *, kind: str, start: bool) -> None:
        hub, tail = self._hubs.get(key), self._tails.get(key)
        if hub is not None:
            self._show(hub, event_id, frame, kind, start)
            hub.tell()
        if self._exchange is not None and tail is not None:
            number = tail.number(event_id, start=start)
            if number is not None:
                self._exchange.preview(key, Preview(thread, event_id, kind, number, tail.seen or 0, frame))

    def deleted(self, key: SessionKey, body: bytes) -> None:
        """Tell open streams that the session is gone, and end them."""
        self.heard_deleted(key, body)
        if self._exchange is not None:
            self._exchange.deleted(key, body)

    def close(self) -> None:
        """End all open streams: the process stops, and clients reconnect."""
        for hub in self._hubs.values():
            hub.ended = True
            hub.tell()

    def note_client(self, key: SessionKey, seq: int) -> None:
        """A client's request has just appended rows from `seq` on. If nobody reads, the next stream starts there, if it
        is opened soon; where a stream is open, another that follows it would be told of a turn that is over."""
        if key in self._hubs:
            return
        now = self._clock.monotonic()
        self._recent[key] = (seq, now)
        if len(self._recent) > 1024:
            self._recent = {k: v for k, v in self._recent.items() if now - v[1] < self._replay_window}

    # -- what is written elsewhere

    @asynccontextmanager
    async def looking(self) -> AsyncGenerator[None]:
        """Look into the log now and then, for what was said elsewhere and not heard here, while the block runs."""
        task = asyncio.create_task(self._look_loop())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def heard_head(self, key: SessionKey, seq: int) -> None:
        tail = self._tails.get(key)
        if tail is not None:
            tail.heard(seq)
        hub = self._hubs.get(key)
        if hub is not None:
            hub.target = max(hub.target, seq)
            self._catch_up(key, hub)

    def heard_preview(self, key: SessionKey, preview: Preview) -> None:
        hub = self._hubs.get(key)
        if hub is not None and hub.hold(preview):
            self._show_due(hub)
            hub.tell()
            self._catch_up(key, hub)

    def heard_deleted(self, key: SessionKey, body: bytes) -> None:
        hub = self._hubs.get(key)
        if hub is not None and not hub.ended:
            hub.push(Entry(None, self._frame("session.deleted", body), kind="session.deleted"))
            hub.ended = True
            hub.tell()

    def look(self, keys: Iterable[SessionKey] | None = None) -> None:
        self._suspects.update(self._followed() if keys is None else keys)
        self._suspected.set()

    # -- readers and owners

    def watch(self, key: SessionKey) -> Tail:
        """For the session's owner: hear of client rows until `unwatch`."""
        self._follow(key)
        tail = self._tails[key] = Tail()
        return tail

    def unwatch(self, key: SessionKey, tail: Tail) -> None:
        if self._tails.get(key) is tail:
            del self._tails[key]
            self._unfollow(key)

    async def subscribe(self, key: SessionKey, *, previews: frozenset[str]) -> Subscription:
        """Open a stream. Every row stored after this returns is delivered; see `Subscription.frames`."""
        hub = self._hubs.get(key) or self._open(key)
        hub.readers += 1
        index = hub.end
        try:
            head = await self._log.head(key)
        except BaseException:
            self._leave(key, hub)
            raise
        hub.begin(head)
        self._catch_up(key, hub)
        seq, at = self._recent.pop(key, (head + 1, 0.0))
        recent = self._clock.monotonic() - at < self._replay_window
        start = min(head, seq - 1) if recent else head
        behind = start < max(head, hub.floor)
        return Subscription(
            self._log, key, hub, self.render, lambda: self._leave(key, hub), previews, start, index, behind=behind
        )

    def render(self, row: Row, processed_at: str | None) -> Frame:
        return self._frame(row.type, with_time(row.body, processed_at))

    def _open(self, key: SessionKey) -> Hub:
        self._follow(key)
        hub = self._hubs[key] = Hub(self._heartbeat)
        asyncio.get_running_loop().call_later(self._heartbeat, hub.beat)
        return hub

    def _leave(self, key: SessionKey, hub: Hub) -> None:
        hub.readers -= 1
        if hub.readers == 0 and self._hubs.get(key) is hub:
            del self._hubs[key]
            self._unfollow(key)

    def _follow(self, key: SessionKey) -> None:
        if self._exchange is not None and key not in self._hubs and key not in self._tails:
            self._exchange.follow(key)

    def _unfollow(self, key: SessionKey) -> None:
        if self._exchange is not None and key not in self._hubs and key not in self._tails:
            self._exchange.unfollow(key)

    def _followed(self) -> set[SessionKey]:
        return self._hubs.keys() | self._tails.keys()

    # -- entries

    def _enter(self, key: SessionKey, hub: Hub, rows: list[Row]) -> None:
        if not hub.take(rows):
            return self._catch_up(key, hub)
        if hub.held:
            self._show_due(hub)
        asyncio.get_running_loop().call_soon(hub.tell)  # after the writer, who waits for the same commit
        return None

    def _show(self, hub: Hub, event_id: str, frame: bytes, kind: str, start: bool) -> None:
        name = "event_start" if start else "event_delta"
        hub.push(Entry(None, self._frame(name, frame), event_id, kind, start, hub.known or 0))

    def _show_due(self, hub: Hub) -> None:
        for preview in hub.due():
            self._show(hub, preview.event_id, preview.frame, preview.kind, preview.number == 0)

    def _catch_up(self, key: SessionKey, hub: Hub) -> None:
        if hub.behind and hub.reading is None:
            hub.reading = asyncio.create_task(self._read_on(key, hub))

    async def _read_on(self, key: SessionKey, hub: Hub) -> None:
        """Enter what the log holds beyond what is known: one reader of the log for all the readers of a hub."""
        try:
            while hub.behind and hub.readers:
                assert hub.known is not None
                rows = await self._log.read(key, after=hub.known, limit=PAGE)
                if not rows:
                    hub.target = hub.known  # what was heard is not so, or not any more
                    return
                self._enter(key, hub, rows)
        except OutriderError as error:  # the next look asks again
            log.debug("session %s: the live feed could not be read on: %s", key.session, error)
        finally:
            hub.reading = None

    async def _look_loop(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds * (1 + JITTER * (2 * self._chance() - 1))):
                    await self._suspected.wait()
            whole = not self._suspected.is_set()
            self._suspected.clear()
            suspects, self._suspects = self._suspects, set()
            try:
                await self._look_at(list(self._followed() if whole else suspects & self._followed()))
            except OutriderError as error:  # the store is away: its own log says so
                log.debug("the live feed could not look: %s", error)

    async def _look_at(self, keys: list[SessionKey]) -> None:
        for start in range(0, len(keys), LOOK_AT_ONCE):
            asked = keys[start : start + LOOK_AT_ONCE]
            heads = await self._log.heads(asked)
            for key in asked:
                if key in heads:
                    self.heard_head(key, heads[key])
                else:
                    self._gone(key)

    def _gone(self, key: SessionKey) -> None:
        """A session that was there once is deleted, and nobody told."""
        hub = self._hubs.get(key)
        if hub is not None and hub.known is not None:
            self.heard_deleted(key, EventFactory("", "", self._ids, self._clock).public("session.deleted").body)
