"""The live feed of this process: who reads which session's log now, and what is new in it. Rows come from the log, so a
reader that falls behind reads them there; previews live only here and may be shed, never with a gap inside one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from outrider.clock import Clock
from outrider.ports.log import EventLog, Row, SessionKey
from outrider.session.events import PROCESSED, with_time

RING = 512  # entries kept for readers of one session, as long as they are no more bytes than
RING_BYTES = 4 * 1024 * 1024
PAGE = 500  # most rows that a reader which fell behind takes from the log at once, if they are no more bytes than
PAGE_BYTES = 512 * 1024
FIRST_PAGE = 16
LAST_TYPES = frozenset({"session.status_terminated", "session.deleted"})

Frame = bytes


@dataclass(slots=True)
class _Entry:
    """A row with its frame once someone made it, or a preview frame. `after` is the `seq` behind which it belongs."""

    row: Row | None
    frame: Frame | None
    event_id: str = ""
    kind: str = ""
    start: bool = False
    after: int = 0

    @property
    def bytes(self) -> int:
        """What it may take up; a row's frame, once made, is about as large as the row."""
        return 2 * len(self.row.body) if self.row is not None else len(self.frame or b"")


@dataclass(slots=True)
class _Hub:
    """One session's recent entries; `base` is the absolute index of the oldest one in the ring, `head` the highest
    `seq` that is known here.

    `beats` counts the heartbeats of all its streams: one timer for a hub, not one for each reader and wait.
    """

    heartbeat: float
    beats: int = 0
    ring: deque[_Entry] = field(default_factory=deque[_Entry])
    base: int = 0
    head: int = 0
    bytes: int = 0
    readers: int = 0
    ended: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def end(self) -> int:
        return self.base + len(self.ring)

    def push(self, entry: _Entry) -> None:
        self.ring.append(entry)
        self.bytes += entry.bytes
        while len(self.ring) > RING or (self.bytes > RING_BYTES and len(self.ring) > 1):
            self.bytes -= self.ring.popleft().bytes
            self.base += 1

    def beat(self) -> None:
        """Every `heartbeat` seconds for as long as somebody reads."""
        if self.readers:
            self.beats += 1
            self.tell()
            asyncio.get_running_loop().call_later(self.heartbeat, self.beat)

    def recent(self, event_id: str) -> Row | None:
        """The event's row, if it is still in the ring."""
        rows = (entry.row for entry in reversed(self.ring) if entry.row is not None)
        return next((row for row in rows if row.id == event_id), None)

    def tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()


class Tail:
    """A wish to hear of rows by other writers. The owner may set and clear `news` for its own ends too."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._fresh = False

    def tell(self) -> None:
        self._fresh = True
        self.news.set()

    def take(self) -> bool:
        """Whether there were such rows since the last call."""
        fresh, self._fresh = self._fresh, False
        return fresh


class Feed:
    """Implements the `LiveFeed` port for the writers, and `subscribe` and `watch` for the readers.

    `frame(kind, body)` makes the bytes that go to a client.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        frame: Callable[[str, bytes], Frame],
        *,
        replay_window: float,
        heartbeat: float,
    ) -> None:
        self._log = log
        self._heartbeat = heartbeat
        self._clock = clock
        self._frame = frame
        self._replay_window = replay_window
        self._hubs: dict[SessionKey, _Hub] = {}
        self._tails: dict[SessionKey, Tail] = {}
        self._recent: dict[SessionKey, tuple[int, float]] = {}

    def publish(self, key: SessionKey, rows: list[Row]) -> None:
        tail = self._tails.get(key)
        if tail is not None and any(row.epoch == 0 for row in rows):
            tail.tell()
        hub = self._hubs.get(key)
        if hub is None:
            return
        for row in rows:
            hub.head = max(hub.head, row.seq)
            if row.public or row.type == PROCESSED:
                hub.push(_Entry(row, None))
        hub.tell()

    def preview(self, key: SessionKey, thread: str, event_id: str, frame: bytes, *, kind: str, start: bool) -> None:
        hub = self._hubs.get(key)
        if hub is not None:
            name = "event_start" if start else "event_delta"
            hub.push(_Entry(None, self._frame(name, frame), event_id, kind, start, hub.head))
            hub.tell()

    def deleted(self, key: SessionKey, body: bytes) -> None:
        """Tell open streams that the session is gone, and end them."""
        hub = self._hubs.get(key)
        if hub is not None:
            hub.push(_Entry(None, self._frame("session.deleted", body), kind="session.deleted"))
            hub.ended = True
            hub.tell()

    def close(self) -> None:
        """End all open streams: the process stops, and clients reconnect."""
        for hub in self._hubs.values():
            hub.ended = True
            hub.tell()

    def note_client(self, key: SessionKey, seq: int) -> None:
        """A client's request has just appended rows from `seq` on: streams opened soon start there."""
        now = self._clock.monotonic()
        self._recent[key] = (seq, now)
        if len(self._recent) > 1024:
            self._recent = {k: v for k, v in self._recent.items() if now - v[1] < self._replay_window}

    def watch(self, key: SessionKey) -> Tail:
        """For the session's owner: hear of client rows until `unwatch`."""
        tail = self._tails[key] = Tail()
        return tail

    def unwatch(self, key: SessionKey, tail: Tail) -> None:
        if self._tails.get(key) is tail:
            del self._tails[key]

    async def subscribe(self, key: SessionKey, *, previews: frozenset[str]) -> Subscription:
        """Open a stream. Every row stored after this returns is delivered; see `Subscription.frames`."""
        hub = self._hubs.get(key)
        if hub is None:
            hub = self._hubs[key] = _Hub(self._heartbeat)
            asyncio.get_running_loop().call_later(self._heartbeat, hub.beat)
        hub.readers += 1
        index = hub.end
        try:
            head = await self._log.head(key)
        except BaseException:
            self._leave(key, hub)
            raise
        hub.head = max(hub.head, head)
        seq, at = self._recent.get(key, (head + 1, 0.0))
        recent = self._clock.monotonic() - at < self._replay_window
        start = min(head, seq - 1) if recent else head
        return Subscription(self, self._log, key, hub, previews, start, index, behind=start < head)

    def render(self, row: Row, processed_at: str | None) -> Frame:
        return self._frame(row.type, with_time(row.body, processed_at))

    def _leave(self, key: SessionKey, hub: _Hub) -> None:
        hub.readers -= 1
        if hub.readers == 0 and self._hubs.get(key) is hub:
            del self._hubs[key]

    def leave(self, key: SessionKey, hub: object) -> None:
        if isinstance(hub, _Hub):
            self._leave(key, hub)


class Subscription:
    """One reader's place: the last `seq` it was given and its index in the hub's ring."""

    def __init__(
        self,
        feed: Feed,
        log: EventLog,
        key: SessionKey,
        hub: _Hub,
        previews: frozenset[str],
        seq: int,
        index: int,
        *,
        behind: bool,
    ) -> None:
        self._feed = feed
        self._log = log
        self._key = key
        self._hub = hub
        self._previews = previews
        self._seq = seq
        self._index = index
        self._behind = behind
        self._previewing: set[str] = set()

    async def frames(self) -> AsyncIterator[Frame | None]:
        """Frames as they come; None at a heartbeat before which none came. Ends after the session's last event."""
        beats = self._hub.beats
        while True:
            news, silent = self._hub.news, True
            async for frame, last in self._ready():
                silent = False
                yield frame
                if last:
                    return
            if self._hub.ended:
                return
            if silent and beats != self._hub.beats:
                yield None
            beats = self._hub.beats
            await news.wait()

    def close(self) -> None:
        self._feed.leave(self._key, self._hub)

    async def _ready(self) -> AsyncIterator[tuple[Frame, bool]]:
        while True:
            while self._behind or self._index < self._hub.base:  # once more, if the ring went on meanwhile
                async for row in self._missed():
                    frame = await self._row_frame(row, None)
                    if frame is not None:
                        yield frame, row.type in LAST_TYPES
            if self._index >= self._hub.end:
                return
            entry = self._hub.ring[self._index - self._hub.base]
            self._index += 1
            frame = await self._entry_frame(entry)
            if frame is not None:
                yield frame, (entry.row.type if entry.row else entry.kind) in LAST_TYPES

    async def _missed(self) -> AsyncIterator[Row]:
        """Rows from the log up to its end; afterwards the ring goes on where they stop."""
        self._previewing.clear()
        self._index = max(self._index, self._hub.base)
        limit = FIRST_PAGE
        while True:
            rows = await self._log.read(self._key, after=self._seq, limit=limit)
            for row in rows:
                self._seq = row.seq
                if row.public or row.type == PROCESSED:
                    yield row
            if len(rows) < limit:
                break
            limit = _next_limit(limit, sum(len(row.body) for row in rows))
        self._behind = False

    async def _entry_frame(self, entry: _Entry) -> Frame | None:
        if entry.row is None:
            return entry.frame if self._wants(entry) else None
        if entry.row.seq <= self._seq:
            return None
        self._seq = entry.row.seq
        return await self._row_frame(entry.row, entry)

    async def _row_frame(self, row: Row, entry: _Entry | None) -> Frame | None:
        self._previewing.discard(row.id)
        if entry is not None and entry.frame is not None:
            return entry.frame
        shown = row
        if row.type == PROCESSED:
            assert row.processes is not None
            waiting = self._hub.recent(row.processes) or await self._find(row.processes)
            if waiting is None:
                return None
            shown = waiting
        frame = self._feed.render(shown, row.processed_at if row.type == PROCESSED else shown.processed_at)
        if entry is not None:
            entry.frame = frame
        return frame

    async def _find(self, event_id: str) -> Row | None:
        return (await self._log.find(self._key, [event_id])).get(event_id)

    def _wants(self, entry: _Entry) -> bool:
        if entry.kind == "session.deleted":
            return True
        if entry.kind not in self._previews:
            return False
        if entry.start and entry.after >= self._seq:  # else its event may have been read from the log already
            self._previewing.add(entry.event_id)
        return entry.event_id in self._previewing


def _next_limit(limit: int, bytes_read: int) -> int:
    """How many rows to take next, after `limit` of them were so many bytes: a client may leave them unread."""
    return min(limit * 4, PAGE) if bytes_read * 4 <= PAGE_BYTES else max(limit // 4, 1)
