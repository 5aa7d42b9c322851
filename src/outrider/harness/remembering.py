"""What an agent changed in a mounted memory store, stored as versions of its session's. Refusals are words for it."""

from __future__ import annotations

import hashlib

from outrider import faults
from outrider.clock import Clock
from outrider.errors import InvalidRequest, MemoryPathConflict, MemoryPreconditionFailed, NotFound
from outrider.ids import IdSource
from outrider.ports.log import Lease
from outrider.ports.memory import MOST_MEMORIES, MemoryRecord, MemoryStores, Write
from outrider.ports.mounted import Change
from outrider.resources.memory import checked_content, checked_path

TRIES = 3
SESSION_ACTOR = "session_actor"
CONFLICT = "it was changed by somebody else at the same time; read it again"
TAKEN = "the memory store has something else at this path, or at a directory above or below it"
DELETED = "the memory store was deleted"

Listing = dict[str, MemoryRecord]
"""A store's memories by path."""


class Remembering:
    """One owner's writes into the stores of its session. Every call may raise Fenced and Overloaded."""

    def __init__(self, stores: MemoryStores, lease: Lease, ids: IdSource, clock: Clock) -> None:
        self.stores = stores
        self.workspace = lease.key.workspace
        self._lease = lease
        self._ids = ids
        self._clock = clock
        self._listings: dict[str, Listing] = {}

    def look_anew(self) -> None:
        self._listings.clear()

    async def listing(self, store: str) -> Listing:
        """As it was when it was first asked for, with what was stored by us since. Empty for a store that is gone."""
        if store not in self._listings:
            found = await self.stores.memories(self.workspace, store, "", after="", limit=MOST_MEMORIES)
            self._listings[store] = {record.path: record for record in found}
        return self._listings[store]

    async def store(self, store: str, change: Change) -> str | None:
        """None once the store has what the agent made of it; else why it will not."""
        if change.problem is not None:
            return change.problem
        try:
            path = checked_path(change.path)
        except InvalidRequest as problem:
            return problem.message
        problem = CONFLICT
        for _ in range(TRIES):
            try:
                return await self._try(store, path, change)
            except (NotFound, MemoryPreconditionFailed):
                self._listings.pop(store, None)  # what we knew of it is old
            except MemoryPathConflict:
                self._listings.pop(store, None)
                problem = TAKEN
            except InvalidRequest as refusal:
                return refusal.message
        return problem if await self.stores.memory_store(self.workspace, store) is not None else DELETED

    async def _try(self, store: str, path: str, change: Change) -> str | None:
        listing = await self.listing(store)
        current = listing.get(path)
        if change.content is None:
            return await self._remove(store, current, change.base, listing)
        content = checked_content(change.content)
        if current is not None and current.sha256 == hashlib.sha256(content).hexdigest():
            return None
        if current is not None and current.sha256 != change.base:
            return CONFLICT
        faults.point("memory.write.before")
        listing[path] = await self._put(store, path, content, current)
        faults.point("memory.write.after")
        return None

    async def _put(self, store: str, path: str, content: bytes, current: MemoryRecord | None) -> MemoryRecord:
        write = self._write(store)
        if current is None:
            return await self.stores.create_memory(write, self._ids.new("mem"), path, content)
        return await self.stores.update_memory(write, current.id, path=None, content=content, if_sha256=current.sha256)

    async def _remove(self, store: str, current: MemoryRecord | None, base: str | None, listing: Listing) -> str | None:
        if current is None:
            return None
        if current.sha256 != base:
            return CONFLICT
        faults.point("memory.write.before")
        await self.stores.delete_memory(self._write(store), current.id, if_sha256=base)
        faults.point("memory.write.after")
        del listing[current.path]
        return None

    def _write(self, store: str) -> Write:
        lease, version = self._lease, self._ids.new("memver")
        session = lease.key.session
        return Write(self.workspace, store, version, self._clock.now(), SESSION_ACTOR, session, lease.epoch)
