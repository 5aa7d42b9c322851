"""One session's recent entries in this process, shared by all its readers: rows without gaps, in order, and previews
between them. Owns no reading of the log."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from outrider.ports.doorbell import Preview
from outrider.ports.log import Row
from outrider.session.events import PROCESSED

RING = 512  # entries kept for readers of one session, as long as they are no more bytes than
RING_BYTES = 4 * 1024 * 1024
PREVIEWED = 256  # events whose previews are followed at once; more are those of requests that came to nothing
BROKEN = -1

Frame = bytes


@dataclass(slots=True)
class Entry:
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
class Hub:
    """`base` is the absolute index of the oldest entry in the ring. Every row from `floor` + 1 to `known` is or was in
    it (the internal ones left out); `target` is the highest `seq` that was heard of. None: nobody has looked yet.

    `beats` counts the heartbeats of all its streams: one timer for a hub, not one for each reader and wait.
    """

    heartbeat: float
    beats: int = 0
    ring: deque[Entry] = field(default_factory=deque[Entry])
    base: int = 0
    floor: int = 0
    known: int | None = None
    target: int = 0
    bytes: int = 0
    readers: int = 0
    ended: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)
    held: deque[Preview] = field(default_factory=deque[Preview])
    previewed: dict[str, int] = field(default_factory=dict[str, int])
    reading: asyncio.Task[None] | None = None

    @property
    def end(self) -> int:
        return self.base + len(self.ring)

    @property
    def behind(self) -> bool:
        """Whether rows are known to be in the log that are not here."""
        return self.known is not None and self.known < self.target

    def begin(self, seq: int) -> None:
        """From here on rows are taken without gaps; if that is so already, what was seen is only heard of."""
        if self.known is None:
            self.floor = self.known = seq
        self.target = max(self.target, seq)

    def take(self, rows: list[Row]) -> bool:
        """Enter the rows that are new; False, and none, if some before them are missing."""
        if self.known is None:
            self.begin(rows[0].seq - 1)
        assert self.known is not None
        self.target = max(self.target, rows[-1].seq)
        if rows[0].seq > self.known + 1:
            return False
        for row in rows:
            if row.seq > self.known:
                self.known = row.seq
                self._enter(row)
        return True

    def _enter(self, row: Row) -> None:
        if row.public or row.type == PROCESSED:
            self.previewed.pop(row.id, None)
            self.push(Entry(row, None))

    def push(self, entry: Entry) -> None:
        self.ring.append(entry)
        self.bytes += entry.bytes
        while len(self.ring) > RING or (self.bytes > RING_BYTES and len(self.ring) > 1):
            self.bytes -= self.ring.popleft().bytes
            self.base += 1

    def hold(self, preview: Preview) -> bool:
        """Keep a preview from elsewhere until the row that it belongs behind is here. False when it is of no use: seen
        before, after one that is missing, or after its event."""
        due = self.previewed.get(preview.event_id)
        if preview.number != (due or 0) or (due is None and self._late(preview)):
            if due is not None and preview.number > due:
                self.previewed[preview.event_id] = BROKEN
            return False
        self.previewed[preview.event_id] = preview.number + 1
        if len(self.previewed) > PREVIEWED:
            del self.previewed[next(iter(self.previewed))]
        self.held.append(preview)
        self.target = max(self.target, preview.after)
        if len(self.held) > RING:
            self._shed()
        return True

    def _late(self, preview: Preview) -> bool:
        return preview.after + RING < (self.known or 0) or self.recent(preview.event_id) is not None

    def _shed(self) -> None:
        """The rows before them do not come: their events are shown without previews."""
        self.previewed.update((preview.event_id, BROKEN) for preview in self.held)
        self.held.clear()

    def due(self) -> list[Preview]:
        """Held previews whose place has come, less those whose event has come as well."""
        ready: list[Preview] = []
        while self.held and self.known is not None and self.held[0].after <= self.known:
            preview = self.held.popleft()
            if preview.event_id in self.previewed:
                ready.append(preview)
        return ready

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
