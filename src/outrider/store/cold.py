"""Moves the logs of resting sessions to the blob store and back. Rows come back exactly as they were, once.

A segment is written, read back and compared before the rows go, in the transaction that notes where they lie. Segments
that were written in vain, or whose log is back, are erased by the sweep (`store.strays`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Protocol
from weakref import WeakValueDictionary

from outrider import faults
from outrider.errors import BlobDamaged, NotFound, Overloaded
from outrider.ports.blobs import BlobKey, Blobs
from outrider.ports.cold import ColdLogs, Segment
from outrider.ports.log import EventLog, Row, SessionKey
from outrider.store.segments import Packer, Unpacker

SEGMENT = "cold"
PAGE = 500
NOTHING: list[Row] = []

log = logging.getLogger("outrider.store")


class Rows(EventLog, ColdLogs, Protocol):
    """A store as it is, without the layers over it."""


class Freezer:
    """Works on the rows as they are stored: bodies outside of them stay where they are."""

    def __init__(self, store: Rows, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs
        self._locks: WeakValueDictionary[SessionKey, asyncio.Lock] = WeakValueDictionary()

    async def freeze(self, key: SessionKey) -> bool:
        """Move a log out; False when the session is not at rest, or cold already. Raises NotFound, BlobDamaged."""
        before = await self._store.counters(key)
        if before is None:
            raise NotFound(f"Session {key.session} was not found.")
        if before.segment is not None or before.head == 0:
            return False
        name = f"{SEGMENT}.{before.epoch}.{before.head}"
        packer = Packer()
        faults.point("cold.put.before")
        await self._blobs.put(_blob(key, name), packer.pack(self._pages(key, before.head)))
        faults.point("cold.put.after")
        segment = Segment(name, packer.rows, packer.sha256)
        await self._compare(key, segment, before.head)
        faults.point("cold.freeze.before")
        frozen = await self._store.freeze(key, segment, if_head=before.head, epoch=before.epoch)
        faults.point("cold.freeze.after")
        return frozen

    async def thaw(self, key: SessionKey, *, after: int = 0) -> bool:
        """Bring a log back if it is cold. True when it now has rows beyond `after`, which whoever found none has to
        read again: another reader may have brought it back in between. Raises BlobDamaged; nothing is changed then."""
        before = await self._store.counters(key)
        if before is None or before.head <= after:
            return False
        if before.segment is not None:
            async with self._locks.setdefault(key, asyncio.Lock()):
                await self._thaw(key)
        return True

    async def _thaw(self, key: SessionKey) -> None:
        before = await self._store.counters(key)
        if before is None or before.segment is None:
            return  # another reader has just done it
        segment = before.segment
        try:
            rows = [row async for page in self._segment(key, segment) for row in page]
        except NotFound:
            if (now := await self._store.counters(key)) is None or now.segment != segment:
                return  # another process was faster
            raise BlobDamaged(
                f"The cold log of session {key.session} is missing ({_blob(key, segment.name)})."
            ) from None
        faults.point("cold.thaw.before")
        changed = await self._store.thaw(key, segment, rows)
        faults.point("cold.thaw.after")
        if changed:
            await self._erase(key, segment)

    async def _erase(self, key: SessionKey, segment: Segment) -> None:
        try:
            await self._blobs.delete(_blob(key, segment.name))
        except Overloaded as error:
            log.warning("session %s: its segment is left to the next sweep: %s", key.session, error.message)

    async def _compare(self, key: SessionKey, segment: Segment, head: int) -> None:
        """Read the segment back: it must hold the very rows that the log holds."""
        stored = self._pages(key, head)
        left: list[Row] = []
        async for page in self._segment(key, segment):
            for row in page:
                left = left or list(reversed(await anext(stored, NOTHING)))
                if not left or left.pop() != row:
                    raise BlobDamaged(f"The segment {_blob(key, segment.name)} is not what was written to it.")
        if left or await anext(stored, NOTHING) or segment.rows != head:
            raise BlobDamaged(f"The segment {_blob(key, segment.name)} does not hold the whole log.")

    async def _segment(self, key: SessionKey, segment: Segment) -> AsyncIterator[list[Row]]:
        """Its rows. Raises BlobDamaged at the end when they are not what was put there."""
        blob, unpacker = _blob(key, segment.name), Unpacker()
        try:
            async for page in unpacker.unpack(self._blobs.get(blob)):
                yield page
        except ValueError as error:
            raise BlobDamaged(f"The cold log of session {key.session} can't be read ({blob}): {error}.") from None
        if (unpacker.rows, unpacker.sha256) != (segment.rows, segment.sha256):
            raise BlobDamaged(f"The cold log of session {key.session} is not what was written ({blob}).")

    async def _pages(self, key: SessionKey, head: int) -> AsyncIterator[list[Row]]:
        after = 0
        while after < head:
            rows = await self._store.read(key, after=after, limit=min(PAGE, head - after))
            if not rows:
                return
            after = rows[-1].seq
            yield rows


def _blob(key: SessionKey, name: str) -> BlobKey:
    return BlobKey(key.workspace, key.session, name)
