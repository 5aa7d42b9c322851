"""Bodies too large for a row: written to the blob store before the row that refers to them, brought back on reading.

A blob's name carries the fence of the append that may refer to it. Once a log has moved past that fence no row can come
to refer to the blob any more; that, and no clock, tells the sweep (`store.strays`) what is left over.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from outrider import faults
from outrider.errors import BlobDamaged, NotFound
from outrider.ports.blobs import BlobKey, Blobs, read_whole
from outrider.ports.cold import Counters
from outrider.ports.log import PAGE_BYTES, NewEvent, Row, SessionKey

LARGEST_IN_ROW = 64 * 1024
AT_ONCE = 4
MARK = b"\0"  # begins no JSON text
BODY = "body"

OnCommit = Callable[[SessionKey, list[Row]], None]


@dataclass(frozen=True, slots=True)
class Reference:
    """What a row holds in place of its body."""

    blob: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Fence:
    """What an append asks of its log: for a client's the head, for an owner's the epoch and the writer head."""

    head: int | None = None
    epoch: int = 0
    writer_head: int = 0

    def __str__(self) -> str:
        return f"c{self.head}" if self.head is not None else f"o{self.epoch}-{self.writer_head}"

    def passed(self, now: Counters) -> bool:
        """Whether no append with this fence can succeed any more."""
        if self.head is not None:
            return now.head > self.head
        return (now.epoch, now.writer_head) > (self.epoch, self.writer_head)


def read_fence(text: str) -> Fence:
    """Raises ValueError for what `str` of a fence did not make."""
    if text.startswith("c"):
        return Fence(head=int(text[1:]))
    if not text.startswith("o"):
        raise ValueError(text)
    epoch, writer_head = text[1:].split("-")
    return Fence(None, int(epoch), int(writer_head))


_decode = msgspec.json.Decoder(Reference).decode


def reference(body: bytes) -> Reference | None:
    return _decode(body[1:]) if body.startswith(MARK) else None


def any_outside(rows: Sequence[Row]) -> bool:
    return any(row.body.startswith(MARK) for row in rows)


def fitting(rows: Sequence[Row]) -> int:
    """How many of the rows make up a page: see PAGE_BYTES."""
    total = 0
    for count, row in enumerate(rows, 1):
        found = reference(row.body)
        total += len(row.body) if found is None else found.bytes
        if total >= PAGE_BYTES and count >= 2:
            return count
    return len(rows)


class Bodies:
    """`on_commit` is what the store tells of new rows; give the store `committed` in its place."""

    def __init__(
        self, blobs: Blobs, on_commit: OnCommit | None = None, *, largest_in_row: int = LARGEST_IN_ROW
    ) -> None:
        self._blobs = blobs
        self._largest_in_row = largest_in_row
        self._on_commit = on_commit
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[tuple[SessionKey, str], bytes] = {}

    def committed(self, key: SessionKey, rows: list[Row]) -> None:
        """Pass new rows on, whole: their bodies are still at hand in the process that appended them."""
        if self._on_commit is None:
            return
        if self._under_way:
            rows = [replace(row, body=self._under_way.get((key, row.id), row.body)) for row in rows]
        self._on_commit(key, rows)

    def any_large(self, events: Sequence[NewEvent]) -> bool:
        largest = self._largest_in_row
        return any(len(event.body) > largest for event in events)

    async def put(self, key: SessionKey, events: Sequence[NewEvent], fence: Fence) -> list[NewEvent]:
        """The events with references in place of large bodies, which are durable when this returns. Until `forget`
        the bodies are kept for `committed`."""
        return list(await asyncio.gather(*(self._put(key, event, fence) for event in events)))

    def forget(self, key: SessionKey, events: Sequence[NewEvent]) -> None:
        for event in events:
            self._under_way.pop((key, event.id), None)

    async def _put(self, key: SessionKey, event: NewEvent, fence: Fence) -> NewEvent:
        if len(event.body) <= self._largest_in_row:
            return event
        async with self._turns:
            digest = await asyncio.to_thread(_digest, event.body)
            made = Reference(f"{BODY}.{fence}.{event.id}.{digest[:16]}", len(event.body), digest)
            faults.point("blob.put.before")
            await self._blobs.put(BlobKey(key.workspace, key.session, made.blob), event.body)
            faults.point("blob.put.after")
        self._under_way[key, event.id] = event.body
        return replace(event, body=MARK + msgspec.json.encode(made))

    async def whole(self, key: SessionKey, rows: Sequence[Row]) -> list[Row]:
        """The rows with their bodies. Raises BlobDamaged, naming the blob."""
        return list(await asyncio.gather(*(self._whole(key, row) for row in rows)))

    async def _whole(self, key: SessionKey, row: Row) -> Row:
        found = reference(row.body)
        if found is None:
            return row
        blob = BlobKey(key.workspace, key.session, found.blob)
        async with self._turns:
            try:
                body = await read_whole(self._blobs, blob)
            except NotFound:
                raise BlobDamaged(f"Event {row.id}: its body is missing from the blob store ({blob}).") from None
            if len(body) != found.bytes or await asyncio.to_thread(_digest, body) != found.sha256:
                raise BlobDamaged(f"Event {row.id}: its body in the blob store ({blob}) is not what was written.")
        return replace(row, body=body)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
