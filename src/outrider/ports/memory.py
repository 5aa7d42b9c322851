"""Durable records of memory stores: named texts under paths, and one immutable version for each change of one.

A version outlives its memory; redaction is the only change that one ever sees. Deleting a store erases all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from outrider.ports.log import SessionKey
from outrider.ports.records import Page

MOST_MEMORIES = 2_000
"""In one store."""
Operation = Literal["created", "modified", "deleted"]


@dataclass(frozen=True, slots=True)
class MemoryStoreRecord:
    """`body` is JSON of the client-set fields."""

    workspace: str
    id: str
    created_at: str
    updated_at: str
    archived_at: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """A memory as it is now; its content is that of its version. Hash in lower-case hex, size in bytes."""

    workspace: str
    store: str
    id: str
    path: str
    version: str
    sha256: str
    size: int
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class MemoryVersion:
    """One change. `content`, hash and size are None for a deletion and after redaction, `path` after redaction alone.
    Actors are `(type, id)` of who did it, such as `("api_actor", "apikey_...")`, as two columns each."""

    workspace: str
    store: str
    id: str
    memory: str
    operation: Operation
    path: str | None
    content: bytes | None
    sha256: str | None
    size: int | None
    created_at: str
    actor_type: str
    actor: str
    redacted_at: str | None = None
    redactor_type: str | None = None
    redactor: str | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """Who changes a memory, when, and the id of the version that the change becomes. `version` is not used when
    nothing changes. With `epoch`, the actor is a session whose owner of that epoch writes; others are refused."""

    workspace: str
    store: str
    version: str
    at: str
    actor_type: str
    actor: str
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A session that has, or had, a store."""

    workspace: str
    store: str
    session: str


@dataclass(frozen=True, slots=True)
class VersionFilter:
    """Of a list of versions; what is None is no condition. `created` bounds their times as `Page.created` does."""

    memory: str | None = None
    operation: str | None = None
    actor: tuple[str, str] | None = None
    created: Mapping[str, str] = field(default_factory=dict[str, str])


class MemoryStores(Protocol):
    """Another workspace's id behaves like an unknown one (NotFound or None). Paths compare by their UTF-8 bytes. A
    write with an `epoch` that its session has left raises Fenced."""

    async def create_memory_store(self, record: MemoryStoreRecord) -> None: ...
    async def memory_store(self, workspace: str, store: str) -> MemoryStoreRecord | None: ...
    async def memory_stores(self, workspace: str, page: Page) -> list[MemoryStoreRecord]: ...
    async def update_memory_store(self, record: MemoryStoreRecord, *, if_updated: str) -> None:
        """Write `body` and `updated_at`. Raises Conflict when the store is archived or was changed since then."""
        ...

    async def archive_memory_store(self, workspace: str, store: str, at: str) -> None:
        """Once; a second call changes nothing. Raises NotFound."""
        ...

    async def delete_memory_store(self, workspace: str, store: str, at: str) -> None:
        """Erase it with its memories and versions. Raises NotFound."""
        ...

    async def create_memory(self, write: Write, memory: str, path: str, content: bytes) -> MemoryRecord:
        """Raises NotFound (no such store), InvalidRequest (it is archived or full), MemoryPathConflict (something is at
        this path, above it or below it)."""
        ...

    async def memory(self, workspace: str, store: str, memory: str) -> MemoryRecord | None: ...
    async def memories(self, workspace: str, store: str, prefix: str, *, after: str, limit: int) -> list[MemoryRecord]:
        """Those whose path begins with `prefix` and comes behind `after`, by path."""
        ...

    async def contents(self, workspace: str, store: str, versions: list[str]) -> dict[str, bytes]:
        """Contents by version; a version without one is left out."""
        ...

    async def update_memory(
        self, write: Write, memory: str, *, path: str | None, content: bytes | None, if_sha256: str | None
    ) -> MemoryRecord:
        """Change what is not None. What is so already is no change, whatever `if_sha256` says. Raises NotFound,
        InvalidRequest (the store is archived), MemoryPreconditionFailed, MemoryPathConflict."""
        ...

    async def delete_memory(self, write: Write, memory: str, *, if_sha256: str | None) -> None:
        """Raises NotFound, MemoryPreconditionFailed."""
        ...

    async def memory_version(self, workspace: str, store: str, version: str) -> MemoryVersion | None: ...
    async def memory_versions(
        self, workspace: str, store: str, where: VersionFilter, *, after: tuple[str, str] | None, limit: int
    ) -> list[MemoryVersion]:
        """Newest first, behind the position `after` (time, id). Contents are included."""
        ...

    async def redact_memory_version(self, write: Write) -> None:
        """Of `write.version`; a second call changes nothing. Raises NotFound, InvalidRequest (a living memory's
        current version)."""
        ...

    async def current(
        self, workspace: str, store: str, *, after: str, limit: int, most_bytes: int
    ) -> list[tuple[MemoryRecord, bytes]]:
        """Memories behind the path `after`, by path, with their contents: at least one if there is any, and no more
        than fit into `most_bytes`."""
        ...

    async def attach(self, key: SessionKey, stores: list[str], at: str) -> list[MemoryStoreRecord]:
        """Note that a session, which may be about to be made, has these stores, and read them. Raises NotFound, and
        InvalidRequest for an archived one; then nothing is noted."""
        ...

    async def forget_attachments(self, since: str, before: str) -> None:
        """Forget those from between these times whose session does not exist."""
        ...

    async def orphans(self, limit: int) -> list[Attachment]:
        """Sessions whose store is gone, but not, as far as was noted, what they have of it."""
        ...

    async def note_erased(self, attachment: Attachment, at: str) -> None:
        """Nothing of the store is left with this session."""
        ...
