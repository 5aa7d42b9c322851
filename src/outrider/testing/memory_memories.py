"""Memory stores in memory, for tests and trials."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from outrider.errors import Conflict, Fenced, InvalidRequest, MemoryPathConflict, MemoryPreconditionFailed, NotFound
from outrider.ports.log import SessionKey
from outrider.ports.memory import (
    MOST_MEMORIES,
    Attachment,
    MemoryRecord,
    MemoryStoreRecord,
    MemoryVersion,
    Operation,
    VersionFilter,
    Write,
)
from outrider.ports.records import Page
from outrider.ports.vaults import Change
from outrider.testing.memory_sessions import KnowsSessions
from outrider.testing.memory_vaults import MemoryVaults
from outrider.testing.paging import one_page, within

Place = tuple[str, str]


class MemoryMemories(MemoryVaults, KnowsSessions):
    """Implements `MemoryStores`; changes of stores stand beside those of vaults."""

    def __init__(self) -> None:
        super().__init__()
        self._stores: dict[Place, MemoryStoreRecord] = {}
        self._memories: dict[Place, dict[str, MemoryRecord]] = {}
        self._versions: dict[Place, dict[str, MemoryVersion]] = {}
        self._attached: dict[Attachment, tuple[str, str | None]] = {}  # when, and when it was erased

    async def create_memory_store(self, record: MemoryStoreRecord) -> None:
        place = (record.workspace, record.id)
        self._stores[place], self._memories[place], self._versions[place] = record, {}, {}
        await self.add_change(Change(record.workspace, "memory_store.created", record.id, record.created_at))

    async def memory_store(self, workspace: str, store: str) -> MemoryStoreRecord | None:
        return self._stores.get((workspace, store))

    async def memory_stores(self, workspace: str, page: Page) -> list[MemoryStoreRecord]:
        return one_page((r for r in self._stores.values() if r.workspace == workspace), page)

    async def update_memory_store(self, record: MemoryStoreRecord, *, if_updated: str) -> None:
        current = self._stores.get((record.workspace, record.id))
        if current is None or current.archived_at is not None or current.updated_at != if_updated:
            raise Conflict(f"Memory store {record.id} is archived, or was changed at the same time.")
        self._stores[record.workspace, record.id] = replace(current, body=record.body, updated_at=record.updated_at)

    async def archive_memory_store(self, workspace: str, store: str, at: str) -> None:
        current = self._known_store(workspace, store)
        if current.archived_at is None:
            self._stores[workspace, store] = replace(current, archived_at=at, updated_at=at)
            await self.add_change(Change(workspace, "memory_store.archived", store, at))

    async def delete_memory_store(self, workspace: str, store: str, at: str) -> None:
        self._known_store(workspace, store)
        for kept in (self._stores, self._memories, self._versions):
            del kept[workspace, store]
        self._erase_about(workspace, store)
        await self.add_change(Change(workspace, "memory_store.deleted", store, at))

    def _known_store(self, workspace: str, store: str) -> MemoryStoreRecord:
        found = self._stores.get((workspace, store))
        if found is None:
            raise NotFound(f"Memory store {store} not found.")
        return found

    def _check_owner(self, write: Write) -> None:
        if write.epoch is not None and self._epoch(SessionKey(write.workspace, write.actor)) != write.epoch:
            raise Fenced(f"Session {write.actor} has another owner, or is gone.")

    def _writable(self, write: Write) -> dict[str, MemoryRecord]:
        self._check_owner(write)
        if self._known_store(write.workspace, write.store).archived_at is not None:
            raise InvalidRequest(f"Memory store {write.store} is archived.")
        return self._memories[write.workspace, write.store]

    async def create_memory(self, write: Write, memory: str, path: str, content: bytes) -> MemoryRecord:
        held = self._writable(write)
        self._check_free(held, path, memory)
        if len(held) >= MOST_MEMORIES:
            raise InvalidRequest(f"Memory store {write.store} is full.")
        return self._put(write, memory, path, content, "created", write.at)

    def _check_free(self, held: dict[str, MemoryRecord], path: str, memory: str) -> None:
        for other in held.values():
            taken = path == other.path or f"{path}/".startswith(f"{other.path}/") or other.path.startswith(f"{path}/")
            if taken and other.id != memory:
                raise MemoryPathConflict(memory=other.id, path=other.path)

    def _put(
        self, write: Write, memory: str, path: str, content: bytes, operation: Operation, created_at: str
    ) -> MemoryRecord:
        hashed = hashlib.sha256(content).hexdigest()
        named = (write.workspace, write.store, memory, path, write.version, hashed, len(content))
        made = MemoryRecord(*named, created_at, write.at)
        self._memories[write.workspace, write.store][memory] = made
        self._add_version(write, made, operation, content)
        return made

    def _add_version(self, write: Write, of: MemoryRecord, operation: Operation, content: bytes | None) -> None:
        hashed, size = (None, None) if content is None else (of.sha256, of.size)
        said = (content, hashed, size, write.at, write.actor_type, write.actor)
        version = MemoryVersion(write.workspace, write.store, write.version, of.id, operation, of.path, *said)
        self._versions[write.workspace, write.store][version.id] = version

    async def memory(self, workspace: str, store: str, memory: str) -> MemoryRecord | None:
        return self._memories.get((workspace, store), {}).get(memory)

    async def memories(self, workspace: str, store: str, prefix: str, *, after: str, limit: int) -> list[MemoryRecord]:
        def by_bytes(record: MemoryRecord) -> bytes:
            return record.path.encode()

        held = self._memories.get((workspace, store), {}).values()
        found = [r for r in held if r.path.startswith(prefix) and by_bytes(r) > after.encode()]
        return sorted(found, key=by_bytes)[:limit]

    async def contents(self, workspace: str, store: str, versions: list[str]) -> dict[str, bytes]:
        held = self._versions.get((workspace, store), {})
        return {id: held[id].content or b"" for id in versions if id in held and held[id].content is not None}

    async def update_memory(
        self, write: Write, memory: str, *, path: str | None, content: bytes | None, if_sha256: str | None
    ) -> MemoryRecord:
        held = self._writable(write)
        current = self._current(write, memory)
        before = self._versions[write.workspace, write.store][current.version].content
        wanted = (path or current.path, before if content is None else content)
        if wanted == (current.path, before):
            return current
        _check_hash(current, if_sha256)
        self._check_free(held, wanted[0], memory)
        return self._put(write, memory, wanted[0], wanted[1] or b"", "modified", current.created_at)

    def _current(self, write: Write, memory: str) -> MemoryRecord:
        found = self._memories[write.workspace, write.store].get(memory)
        if found is None:
            raise NotFound(f"Memory {memory} not found.")
        return found

    async def delete_memory(self, write: Write, memory: str, *, if_sha256: str | None) -> None:
        self._check_owner(write)
        self._known_store(write.workspace, write.store)
        current = self._current(write, memory)
        _check_hash(current, if_sha256)
        del self._memories[write.workspace, write.store][memory]
        self._erase_about(write.workspace, memory)
        self._add_version(write, current, "deleted", None)

    async def memory_version(self, workspace: str, store: str, version: str) -> MemoryVersion | None:
        return self._versions.get((workspace, store), {}).get(version)

    async def memory_versions(
        self, workspace: str, store: str, where: VersionFilter, *, after: tuple[str, str] | None, limit: int
    ) -> list[MemoryVersion]:
        def kept() -> Iterator[MemoryVersion]:
            for one in self._versions.get((workspace, store), {}).values():
                fits = where.memory in (None, one.memory) and where.operation in (None, one.operation)
                beyond = after is None or (one.created_at, one.id) < after
                by = where.actor in (None, (one.actor_type, one.actor))
                if fits and by and beyond and within(one.created_at, where.created):
                    yield one

        return sorted(kept(), key=lambda one: (one.created_at, one.id), reverse=True)[:limit]

    async def redact_memory_version(self, write: Write) -> None:
        self._known_store(write.workspace, write.store)
        held = self._versions[write.workspace, write.store]
        found = held.get(write.version)
        if found is None:
            raise NotFound(f"Memory version {write.version} not found.")
        living = self._memories[write.workspace, write.store].get(found.memory)
        if living is not None and living.version == found.id:
            raise InvalidRequest(f"Memory version {write.version} is a living memory's current one.")
        self._erase_about(write.workspace, write.version)
        if found.redacted_at is None:
            gone = replace(found, path=None, content=None, sha256=None, size=None, redacted_at=write.at)
            held[found.id] = replace(gone, redactor_type=write.actor_type, redactor=write.actor)

    async def current(
        self, workspace: str, store: str, *, after: str, limit: int, most_bytes: int
    ) -> list[tuple[MemoryRecord, bytes]]:
        records = await self.memories(workspace, store, "", after=after, limit=limit)
        held, total = self._versions.get((workspace, store), {}), 0
        found = list[tuple[MemoryRecord, bytes]]()
        for record in records:
            total += record.size
            if found and total > most_bytes:
                break
            found.append((record, held[record.version].content or b""))
        return found

    async def attach(self, key: SessionKey, stores: list[str], at: str) -> list[MemoryStoreRecord]:
        found = [self._known_store(key.workspace, store) for store in sorted(stores)]
        for record in found:
            if record.archived_at is not None:
                raise InvalidRequest(f"Memory store {record.id} is archived.")
        self._attached |= {Attachment(key.workspace, one.id, key.session): (at, None) for one in found}
        return found

    async def forget_attachments(self, since: str, before: str) -> None:
        for one, (at, _) in list(self._attached.items()):
            if since <= at < before and self._epoch(SessionKey(one.workspace, one.session)) is None:
                del self._attached[one]

    async def orphans(self, limit: int) -> list[Attachment]:
        left = [one for one, (_, erased) in self._attached.items() if erased is None]
        return [one for one in left if (one.workspace, one.store) not in self._stores][:limit]

    async def note_erased(self, attachment: Attachment, at: str) -> None:
        self._attached[attachment] = (self._attached[attachment][0], at)

    def _attached_to(self, key: SessionKey) -> set[str]:
        return {one.store for one in self._attached if (one.workspace, one.session) == (key.workspace, key.session)}

    def _erase_attachments(self, key: SessionKey) -> None:
        for store in self._attached_to(key):
            del self._attached[Attachment(key.workspace, store, key.session)]


def _check_hash(current: MemoryRecord, if_sha256: str | None) -> None:
    if if_sha256 is not None and if_sha256 != current.sha256:
        raise MemoryPreconditionFailed(f"Memory {current.id} has another content.")
