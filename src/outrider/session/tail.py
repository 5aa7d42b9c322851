"""What a session's owner hears of its log: that others have written to it."""

from __future__ import annotations

import asyncio

from outrider.ports.log import Row


class Tail:
    """A wish to hear of rows by other writers. The owner may set and clear `news` for its own ends too."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.seen: int | None = None
        self._fresh = False
        self._previews: dict[str, int] = {}

    def committed(self, rows: list[Row]) -> None:
        """Rows written in this process: the owner's own, or a client's."""
        missed = self.seen is not None and rows[0].seq > self.seen + 1
        if missed or any(row.epoch == 0 for row in rows):
            self._tell()
        self.seen = max(self.seen or 0, rows[-1].seq)
        if self._previews:
            for row in rows:
                self._previews.pop(row.id, None)

    def heard(self, seq: int) -> None:
        """The log holds this row: told at most once, and sometimes for nothing."""
        if self.seen is None or seq > self.seen:
            self.seen = seq
            self._tell()

    def number(self, event_id: str, *, start: bool) -> int | None:
        """The place of the next preview among those of its event; None if the first was not made under this tail."""
        if start:
            self._previews[event_id] = 0
        elif event_id in self._previews:
            self._previews[event_id] += 1
        return self._previews.get(event_id)

    def take(self) -> bool:
        """Whether there were such rows since the last call."""
        fresh, self._fresh = self._fresh, False
        return fresh

    def _tell(self) -> None:
        self._fresh = True
        self.news.set()
