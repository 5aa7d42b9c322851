"""Large immutable bytes beside the log: bodies of events, cold logs, files. Implementations:
`store/blobs/`, `testing/`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Protocol

PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True, slots=True, order=True)
class BlobKey:
    """A blob of its owner, a session or file, in a workspace. Parts are plain words, so that they can be names of files
    and paths."""

    workspace: str
    owner: str
    name: str

    def __post_init__(self) -> None:
        for part in (self.workspace, self.owner, self.name):
            if not PART.fullmatch(part):
                raise ValueError(f"{part!r} can't be part of a blob's key")

    def __str__(self) -> str:
        return f"{self.workspace}/{self.owner}/{self.name}"


@dataclass(frozen=True, slots=True)
class BlobPrefix:
    """All blobs, those of a workspace, or those of an owner in it."""

    workspace: str | None = None
    owner: str | None = None

    def __post_init__(self) -> None:
        if self.owner is not None and self.workspace is None:
            raise ValueError("an owner is named together with its workspace")
        for part in (self.workspace, self.owner):
            if part is not None and not PART.fullmatch(part):
                raise ValueError(f"{part!r} can't be part of a blob's key")

    def holds(self, key: BlobKey) -> bool:
        return self.workspace in (None, key.workspace) and self.owner in (None, key.owner)


@dataclass(frozen=True, slots=True)
class BlobInfo:
    key: BlobKey
    size: int


class Blobs(Protocol):
    """Promised: a blob is durable, whole, and seen by everybody when `put` returns, and never seen in part; what is
    deleted can't be got again. Every call has a deadline. Raises StorageFull when there is no room, BlobsUnavailable
    when the store does not answer. Not promised: locks, order, or that a key is written once (writers see to that)."""

    async def put(self, key: BlobKey, content: bytes | AsyncIterable[bytes]) -> None:
        """Store under this key; an earlier content is replaced at once."""
        ...

    def get(self, key: BlobKey) -> AsyncIterator[bytes]:
        """The content in pieces. Raises NotFound before the first piece."""
        ...

    async def exists(self, key: BlobKey) -> bool: ...

    async def delete(self, key: BlobKey) -> None:
        """An absent blob is no error."""
        ...

    async def delete_all(self, prefix: BlobPrefix) -> int:
        """Delete what the prefix holds when the call begins; returns how many."""
        ...

    def list(self, prefix: BlobPrefix) -> AsyncIterator[BlobInfo]:
        """In any order. What is put or deleted meanwhile may be in it or not; what was there all the time is."""
        ...

    async def close(self) -> None: ...


async def read_whole(blobs: Blobs, key: BlobKey) -> bytes:
    return b"".join([piece async for piece in blobs.get(key)])
