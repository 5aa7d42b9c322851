"""Memory stores, on every store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from typing import Any

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
from outrider.store import shapes
from outrider.store.answers import erase_about
from outrider.store.steps import Recorded, Steps, erase, first, rows, run
from outrider.store.vaults import note

BEHIND_SLASH = "0"  # the character that follows the slash


class StoredMemories(Recorded):
    """Implements `MemoryStores`."""

    async def create_memory_store(self, record: MemoryStoreRecord) -> None:
        await self._walks.walk(partial(_create_store, record))

    async def memory_store(self, workspace: str, store: str) -> MemoryStoreRecord | None:
        values = {"workspace": workspace, "id": store}
        return next(iter(await self._reads.one("memory_store", values, _stores)), None)

    async def memory_stores(self, workspace: str, page: Page) -> list[MemoryStoreRecord]:
        name = shapes.ordered("memory_stores", descending=page.descending)
        return await self._reads.fetch(name, shapes.page_values(workspace, page), _stores)

    async def update_memory_store(self, record: MemoryStoreRecord, *, if_updated: str) -> None:
        await self._walks.walk(partial(_update_store, record, if_updated))

    async def archive_memory_store(self, workspace: str, store: str, at: str) -> None:
        await self._walks.walk(partial(_archive_store, workspace, store, at))

    async def delete_memory_store(self, workspace: str, store: str, at: str) -> None:
        await self._walks.walk(partial(_delete_store, workspace, store, at))

    async def create_memory(self, write: Write, memory: str, path: str, content: bytes) -> MemoryRecord:
        return MemoryRecord(*await self._walks.walk(partial(_create, write, memory, path, content)))

    async def memory(self, workspace: str, store: str, memory: str) -> MemoryRecord | None:
        values = {"workspace": workspace, "store": store, "id": memory}
        return next(iter(await self._reads.one("memory", values, _memories)), None)

    async def memories(self, workspace: str, store: str, prefix: str, *, after: str, limit: int) -> list[MemoryRecord]:
        values = {"workspace": workspace, "store": store, "after": after, "limit": limit, **_below(prefix)}
        return await self._reads.fetch("memories", values, _memories)

    async def contents(self, workspace: str, store: str, versions: list[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for version in versions:
            one = await self.memory_version(workspace, store, version)
            if one is not None and one.content is not None:
                found[version] = one.content
        return found

    async def update_memory(
        self, write: Write, memory: str, *, path: str | None, content: bytes | None, if_sha256: str | None
    ) -> MemoryRecord:
        return MemoryRecord(*await self._walks.walk(partial(_update, write, memory, path, content, if_sha256)))

    async def delete_memory(self, write: Write, memory: str, *, if_sha256: str | None) -> None:
        await self._walks.walk(partial(_delete, write, memory, if_sha256))

    async def memory_version(self, workspace: str, store: str, version: str) -> MemoryVersion | None:
        values = {"workspace": workspace, "store": store, "id": version}
        return next(iter(await self._reads.one("memory_version", values, _versions)), None)

    async def memory_versions(
        self, workspace: str, store: str, where: VersionFilter, *, after: tuple[str, str] | None, limit: int
    ) -> list[MemoryVersion]:
        time, id = after or (shapes.HIGHEST_TEXT, "")
        kind, actor = where.actor or (None, None)
        values = {
            "workspace": workspace,
            "store": store,
            "after_time": time,
            "after_id": id,
            "memory": where.memory,
            "operation": where.operation,
            "actor_type": kind,
            "actor": actor,
            "limit": limit,
            **shapes.time_bounds(where.created),
        }
        return await self._reads.fetch("memory_versions", values, _versions)

    async def redact_memory_version(self, write: Write) -> None:
        await self._walks.walk(partial(_redact, write))

    async def current(
        self, workspace: str, store: str, *, after: str, limit: int, most_bytes: int
    ) -> list[tuple[MemoryRecord, bytes]]:
        values = {"workspace": workspace, "store": store, "after": after, "limit": limit}
        sizes = await self._reads.fetch("memory_sizes", values, lambda found: [row[0] for row in found])
        fitting = sum(total <= most_bytes for total in accumulate(sizes))
        return await self._reads.fetch("current_memories", {**values, "limit": max(1, fitting)}, _with_contents)

    async def attach(self, key: SessionKey, stores: list[str], at: str) -> list[MemoryStoreRecord]:
        found = await self._walks.walk(partial(_attach, key, stores, at))
        return _stores([[*row[:5], row[5].encode()] for row in found])

    async def forget_attachments(self, since: str, before: str) -> None:
        await self._walks.walk(partial(run, "forget_attachments", {"since": since, "before": before}))

    async def orphans(self, limit: int) -> list[Attachment]:
        return await self._reads.fetch(
            "orphaned_attachments", {"limit": limit}, lambda found: [Attachment(*row) for row in found]
        )

    async def note_erased(self, attachment: Attachment, at: str) -> None:
        await self._walks.walk(partial(run, "note_erased", {**shapes.fields(attachment), "at": at}))


def _stores(found: list[Any]) -> list[MemoryStoreRecord]:
    return [MemoryStoreRecord(*row) for row in found]


def _memories(found: list[Any]) -> list[MemoryRecord]:
    return [MemoryRecord(*row) for row in found]


def _versions(found: list[Any]) -> list[MemoryVersion]:
    return [MemoryVersion(*row) for row in found]


def _with_contents(found: list[Any]) -> list[tuple[MemoryRecord, bytes]]:
    return [(MemoryRecord(*row[:9]), bytes(row[9] or b"")) for row in found]


def _below(prefix: str) -> dict[str, str]:
    """Bounds of the paths that begin with this prefix, which ends with a slash or is empty."""
    return {"least": prefix, "beyond": prefix[:-1] + BEHIND_SLASH if prefix else shapes.HIGHEST_TEXT}


def _create_store(record: MemoryStoreRecord) -> Steps[None]:
    yield from run("insert_memory_store", shapes.fields(record))
    yield from note(Change(record.workspace, "memory_store.created", record.id, record.created_at))


def _update_store(record: MemoryStoreRecord, if_updated: str) -> Steps[None]:
    if (yield from run("update_memory_store", {**shapes.fields(record), "if_updated": if_updated})) != 1:
        raise Conflict(f"Memory store {record.id} is archived, or was changed at the same time.")


def _archive_store(workspace: str, store: str, at: str) -> Steps[None]:
    names = {"workspace": workspace, "id": store, "at": at}
    if (yield from run("archive_memory_store", names)) == 1:
        yield from note(Change(workspace, "memory_store.archived", store, at))
    elif (yield from first("memory_store", names)) is None:
        raise _no_store(store)


def _delete_store(workspace: str, store: str, at: str) -> Steps[None]:
    names = {"workspace": workspace, "id": store}
    if (yield from run("delete_memory_store", names)) != 1:
        raise _no_store(store)
    yield from run("orphan_attachments", {**names, "at": at})
    yield from erase("delete_memories", names)
    yield from erase("delete_memory_versions", names)
    yield from erase_about(workspace, store)
    yield from note(Change(workspace, "memory_store.deleted", store, at))


def _attach(key: SessionKey, stores: list[str], at: str) -> Steps[list[Any]]:
    found: list[Any] = []
    for store in sorted(stores):  # in one order, so that two sessions never wait for one another
        names = yield from _hold(Write(key.workspace, store, "", at, "", ""), live=True)
        yield from run("attach_memory_store", {**names, "session": key.session, "at": at})
        found.append((yield from first("memory_store", {**names, "id": store})))
    return [[*row[:5], bytes(row[5]).decode()] for row in found]


def erase_with_session(key: SessionKey) -> Steps[None]:
    """That it had stores; what is in them stays."""
    yield from run("erase_attachments", shapes.named(key))


def _no_store(store: str) -> NotFound:
    return NotFound(f"Memory store {store} not found.")


def _hold(write: Write, *, live: bool) -> Steps[dict[str, str]]:
    """The names that the store's rows go by, with its row held, and that of the session that writes."""
    owner = {"workspace": write.workspace, "session": write.actor, "epoch": write.epoch}
    if write.epoch is not None and (yield from run("hold_epoch", owner)) != 1:
        raise Fenced(f"Session {write.actor} has another owner, or is gone.")
    names = {"workspace": write.workspace, "store": write.store}
    held = yield from first("hold_memory_store", names)
    if held is None:
        raise _no_store(write.store)
    if live and held[0] is not None:
        raise InvalidRequest(f"Memory store {write.store} is archived: memories can't be created or updated in it.")
    return names


def _create(write: Write, memory: str, path: str, content: bytes) -> Steps[list[Any]]:
    names = yield from _hold(write, live=True)
    yield from _check_free(names, path, memory)
    ((count,),) = yield from rows("count_memories", names)
    if count >= MOST_MEMORIES:
        raise InvalidRequest(f"Memory store {write.store} holds {MOST_MEMORIES} memories, the most that it may.")
    made = _state(write, memory, path, content, created_at=write.at)
    yield from run("insert_memory", shapes.fields(made))
    yield from run("insert_memory_version", shapes.fields(_version(write, made, "created", content)))
    return list(shapes.fields(made).values())


def _check_free(names: dict[str, str], path: str, memory: str) -> Steps[None]:
    """Nothing but this memory is at the path, at a directory above it, or below it."""
    for taken in (path, *_above(path)):
        found = yield from first("memory_at", {**names, "path": taken})
        if found is not None and found[2] != memory:
            raise _conflict(found)
    bounds = {"after": "", "limit": 2, **_below(f"{path}/")}
    for found in (yield from rows("memories", {**names, **bounds})):
        if found[2] != memory:
            raise _conflict(found)


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _conflict(found: Any) -> MemoryPathConflict:
    return MemoryPathConflict(memory=found[2], path=found[3])


def _update(
    write: Write, memory: str, path: str | None, content: bytes | None, if_sha256: str | None
) -> Steps[list[Any]]:
    names = yield from _hold(write, live=True)
    current = yield from _current(names, memory)
    wanted = (path or current.path, current.sha256 if content is None else hashlib.sha256(content).hexdigest())
    if wanted == (current.path, current.sha256):
        return list(shapes.fields(current).values())
    _check_hash(current, if_sha256)
    yield from _check_free(names, wanted[0], memory)
    if content is None:
        found = yield from first("memory_version", {**names, "id": current.version})
        assert found is not None, "a living memory's version is never redacted"
        content = bytes(found[6])
    changed = _state(write, memory, wanted[0], content, created_at=current.created_at)
    yield from run("put_memory", shapes.fields(changed))
    yield from run("insert_memory_version", shapes.fields(_version(write, changed, "modified", content)))
    return list(shapes.fields(changed).values())


def _current(names: dict[str, str], memory: str) -> Steps[MemoryRecord]:
    found = yield from first("memory", {**names, "id": memory})
    if found is None:
        raise NotFound(f"Memory {memory} not found in memory store {names['store']}.")
    return MemoryRecord(*found)


def _check_hash(current: MemoryRecord, if_sha256: str | None) -> None:
    if if_sha256 is not None and if_sha256 != current.sha256:
        raise MemoryPreconditionFailed(f"Memory {current.id} has the content hash {current.sha256}, not {if_sha256}.")


def _delete(write: Write, memory: str, if_sha256: str | None) -> Steps[None]:
    names = yield from _hold(write, live=False)
    current = yield from _current(names, memory)
    _check_hash(current, if_sha256)
    yield from erase("delete_memory", {**names, "id": memory})
    yield from erase_about(write.workspace, memory)
    yield from run("insert_memory_version", shapes.fields(_version(write, current, "deleted", None)))


def _redact(write: Write) -> Steps[None]:
    names = yield from _hold(write, live=False)
    found = yield from first("memory_version", {**names, "id": write.version})
    if found is None:
        raise NotFound(f"Memory version {write.version} not found in memory store {write.store}.")
    if (yield from first("is_head", {**names, "id": write.version, "memory": found[3]})) is not None:
        raise InvalidRequest(
            f"Memory version {write.version} is the current one of memory {found[3]}: change or delete that first."
        )
    yield from erase("redact_memory_version", shapes.fields(write))
    yield from erase_about(write.workspace, write.version)


def _state(write: Write, memory: str, path: str, content: bytes, *, created_at: str) -> MemoryRecord:
    hashed = hashlib.sha256(content).hexdigest()
    return MemoryRecord(
        write.workspace, write.store, memory, path, write.version, hashed, len(content), created_at, write.at
    )


def _version(write: Write, of: MemoryRecord, operation: Operation, content: bytes | None) -> MemoryVersion:
    return MemoryVersion(
        write.workspace,
        write.store,
        write.version,
        of.id,
        operation,
        of.path,
        content,
        None if content is None else of.sha256,
        None if content is None else of.size,
        write.at,
        write.actor_type,
        write.actor,
    )
