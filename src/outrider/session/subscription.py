"""One reader's place in a session's live feed. A reader that falls behind reads the log; previews may be shed, never
with a gap inside one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from outrider.ports.log import EventLog, Row, SessionKey, is_last
from outrider.session.events import PROCESSED
from outrider.session.hub import Entry, Frame, Hub

PAGE = 500  # most rows that a reader which fell behind takes from the log at once, if they are no more bytes than
PAGE_BYTES = 512 * 1024
FIRST_PAGE = 16
LAST_TYPES = frozenset({"session.status_terminated", "session.deleted"})

Render = Callable[[Row, str | None], Frame]
"""A row's frame, with the time at which it was processed."""


class Subscription:
    """One reader's place: the last `seq` it was given and its index in the hub's ring."""

    def __init__(
        self,
        log: EventLog,
        key: SessionKey,
        hub: Hub,
        render: Render,
        leave: Callable[[], None],
        previews: frozenset[str],
        seq: int,
        index: int,
        *,
        behind: bool,
    ) -> None:
        self._log = log
        self._key = key
        self._hub = hub
        self._render = render
        self._leave = leave
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
        self._leave()

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
            if is_last(rows, limit):
                break
            limit = next_limit(limit, sum(len(row.body) for row in rows))
        self._behind = False

    async def _entry_frame(self, entry: Entry) -> Frame | None:
        if entry.row is None:
            return entry.frame if self._wants(entry) else None
        if entry.row.seq <= self._seq:
            return None
        self._seq = entry.row.seq
        return await self._row_frame(entry.row, entry)

    async def _row_frame(self, row: Row, entry: Entry | None) -> Frame | None:
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
        frame = self._render(shown, row.processed_at if row.type == PROCESSED else shown.processed_at)
        if entry is not None:
            entry.frame = frame
        return frame

    async def _find(self, event_id: str) -> Row | None:
        return (await self._log.find(self._key, [event_id])).get(event_id)

    def _wants(self, entry: Entry) -> bool:
        if entry.kind == "session.deleted":
            return True
        if entry.kind not in self._previews:
            return False
        if entry.start and entry.after >= self._seq:  # else its event may have been read from the log already
            self._previewing.add(entry.event_id)
        return entry.event_id in self._previewing


def next_limit(limit: int, bytes_read: int) -> int:
    """How many rows to take next, after `limit` of them were so many bytes: a client may leave them unread."""
    return min(limit * 4, PAGE) if bytes_read * 4 <= PAGE_BYTES else max(limit // 4, 1)
