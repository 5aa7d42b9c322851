"""Cold logs: the rows of a session that rests lie in the blob store; its record, counters and snapshot stay.

Not to be confused with a session that a client archived, which is a matter of its status only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

from outrider.ports.log import Row, SessionKey


@dataclass(frozen=True, slots=True)
class Segment:
    """The blob that holds a cold log: how many rows, and the SHA-256 (hex) of their uncompressed lines."""

    name: str
    rows: int
    sha256: str

    def text(self) -> str:
        """The form in which stores keep it."""
        return json.dumps({"name": self.name, "rows": self.rows, "sha256": self.sha256})

    @classmethod
    def read(cls, text: str | None) -> Segment | None:
        return None if text is None else cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Counters:
    """A log's counters, read at one moment. `segment` None: its rows are in the store."""

    head: int
    writer_head: int
    epoch: int
    segment: Segment | None


class ColdLogs(Protocol):
    """What a store must offer so that logs can rest elsewhere. While a log is cold the store finds no row of it, and
    every append by a client or to its record raises LogCold with nothing written."""

    async def counters(self, key: SessionKey) -> Counters | None:
        """None for an unknown session."""
        ...

    async def freeze(self, key: SessionKey, segment: Segment, *, if_head: int, epoch: int) -> bool:
        """Delete the rows and remember where they lie, in one transaction that raises the epoch, so that no owner of
        before can append. False, with nothing changed, when head or epoch have moved, the log is cold already, or
        the session has or awaits an owner. A snapshot older than the head is dropped."""
        ...

    async def thaw(self, key: SessionKey, segment: Segment, rows: list[Row]) -> bool:
        """Put the rows back exactly as they were, and forget the segment, in one transaction. Nobody is told of them
        as new. False, with nothing changed, when this segment is not (or no longer) the log's."""
        ...

    async def resting(self, before: str, limit: int, *, cold_too: bool = False) -> list[SessionKey]:
        """Sessions not cold (unless `cold_too`), idle or terminated, without an owner, last changed before this time
        (RFC 3339); the longest unchanged first."""
        ...
