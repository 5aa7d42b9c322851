"""Erases blobs that nothing refers to: what a crash left between a blob and its row, and what deleted sessions,
files and skills left.

A blob is erased only when no append can come to refer to it any more. Order matters: first the blob is seen, then the
log's counters, then its rows. A session exists before its first blob and never comes back after its deletion; an
append whose fence has been passed can't succeed; a freeze, which hides rows, raises the epoch. The bytes of files and
skills are announced before they are there, and what leads to them goes for good.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import islice
from typing import Protocol

from outrider.ports.blobs import BlobInfo, BlobKey, BlobPrefix, Blobs
from outrider.ports.cold import Counters
from outrider.ports.files import FILE, FileRecords, all_of
from outrider.ports.log import SessionKey
from outrider.ports.skills import VERSION
from outrider.store.bodies import BODY, read_fence, reference
from outrider.store.cold import SEGMENT, Rows


class Owners(Rows, FileRecords, Protocol):
    """The records that lead to blobs."""


ROWS_AT_ONCE = 200
ANNOUNCED = (f"{FILE}_", f"{VERSION}_")
"""What the owners of bytes begin with that are announced."""


async def sweep(store: Owners, blobs: Blobs, prefix: BlobPrefix | None = None) -> int:
    """Returns how many were erased. May run beside everything else, in several processes."""
    erased = 0
    async for session, names in _by_session(blobs.list(prefix or BlobPrefix())):
        if session.session.startswith(ANNOUNCED):
            erased += await _erase_unless_known(store, blobs, session.workspace, session.session)
            continue
        strays = await _strays(store, session, names)
        for name in strays:
            await blobs.delete(BlobKey(session.workspace, session.session, name))
        erased += len(strays)
    return erased


async def _erase_unless_known(store: FileRecords, blobs: Blobs, workspace: str, owner: str) -> int:
    if await store.owns_bytes(workspace, owner):
        return 0
    return await blobs.delete_all(all_of(workspace, owner))


async def _by_session(found: AsyncIterator[BlobInfo]) -> AsyncIterator[tuple[SessionKey, list[str]]]:
    """Neighbours in the list that belong together; an owner, which may be a file, may come more than once."""
    session: SessionKey | None = None
    names: list[str] = []
    async for info in found:
        of = SessionKey(info.key.workspace, info.key.owner)
        if session is not None and of != session:
            yield session, names
            names = []
        session = of
        names.append(info.key.name)
    if session is not None:
        yield session, names


async def _strays(store: Rows, session: SessionKey, names: list[str]) -> list[str]:
    before = await store.counters(session)
    if before is None:
        return names
    strays = [name for name in names if name.startswith(f"{SEGMENT}.") and _is_left_segment(name, before)]
    if before.segment is None:
        strays += await _left_bodies(store, session, before, names)
    return strays


def _is_left_segment(name: str, now: Counters) -> bool:
    if now.segment is not None and now.segment.name == name:
        return False
    epoch, head = map(int, name.split(".")[1:3])
    return now.epoch > epoch or now.head > head


async def _left_bodies(store: Rows, session: SessionKey, before: Counters, names: list[str]) -> list[str]:
    late = {name: _event_id(name) for name in names if name.startswith(f"{BODY}.") and _fence_passed(name, before)}
    referred: set[str] = set()
    ids = iter(set(late.values()))
    while some := list(islice(ids, ROWS_AT_ONCE)):
        for row in (await store.find(session, some)).values():
            if (found := reference(row.body)) is not None:
                referred.add(found.blob)
    after = await store.counters(session)
    if after is not None and (after.epoch != before.epoch or after.segment is not None):
        return []  # its rows may have been out of sight: next time
    return [name for name in late if name not in referred]


def _fence_passed(name: str, now: Counters) -> bool:
    return read_fence(name.split(".", 2)[1]).passed(now)


def _event_id(name: str) -> str:
    return name.split(".", 2)[2].rpartition(".")[0]
