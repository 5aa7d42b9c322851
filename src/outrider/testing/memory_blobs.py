"""Blobs in memory behind the port `blobs`, for tests and trials. Nothing survives the process."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from outrider.errors import NotFound
from outrider.ports.blobs import BlobInfo, BlobKey, BlobPrefix


class MemoryBlobs:
    """Implements `Blobs`. `kept` may be looked at and tampered with."""

    def __init__(self) -> None:
        self.kept: dict[BlobKey, bytes] = {}

    async def put(self, key: BlobKey, content: bytes | AsyncIterable[bytes]) -> None:
        self.kept[key] = content if isinstance(content, bytes) else b"".join([piece async for piece in content])

    async def get(self, key: BlobKey) -> AsyncIterator[bytes]:
        if key not in self.kept:
            raise NotFound(f"Blob {key} was not found.")
        yield self.kept[key]

    async def exists(self, key: BlobKey) -> bool:
        return key in self.kept

    async def delete(self, key: BlobKey) -> None:
        self.kept.pop(key, None)

    async def delete_all(self, prefix: BlobPrefix) -> int:
        gone = [key for key in self.kept if prefix.holds(key)]
        for key in gone:
            del self.kept[key]
        return len(gone)

    async def list(self, prefix: BlobPrefix) -> AsyncIterator[BlobInfo]:
        for key, content in list(self.kept.items()):
            if prefix.holds(key):
                yield BlobInfo(key, len(content))

    async def close(self) -> None:
        """There is nothing to let go of."""
