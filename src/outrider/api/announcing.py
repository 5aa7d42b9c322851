"""Bytes that come in under an announcement and are given out again: what files and skills share."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from outrider.api.endpoint import Call
from outrider.errors import BlobDamaged, NotFound, Overloaded, StorageFull
from outrider.ports.files import Announced, all_of, content_of
from outrider.resources import announced as announcements

log = logging.getLogger("outrider.api")


def check_room(call: Call, what: str) -> None:
    """Also while bytes come in: they must not take the room that the log needs. Raises StorageFull."""
    if not call.services.has_room():
        raise StorageFull(f"The server's disk is nearly full; no {what} taken until there is room.")


async def withdraw(call: Call, announced: Announced) -> None:
    """What came to nothing leaves nothing."""
    await announcements.withdraw(call.services.files, call.services.blobs, announced)


async def erase_bytes(call: Call, owner: str) -> None:
    """Of what is deleted already."""
    try:
        await call.services.blobs.delete_all(all_of(call.workspace, owner))
    except Overloaded as error:
        log.warning("%s: its bytes are left to the next sweep: %s", owner, error.message)


async def opened(
    call: Call, owner: str, name: str, still_there: Callable[[], Awaitable[object | None]]
) -> AsyncIterator[bytes]:
    """The owner's bytes. Raises NotFound when `name` was deleted meanwhile, BlobDamaged."""
    pieces = call.services.blobs.get(content_of(call.workspace, owner))
    try:
        first = await anext(pieces, b"")
    except NotFound:
        if await still_there() is None:
            raise NotFound(f"{name} not found.") from None
        raise BlobDamaged(f"The bytes of {owner} are missing.") from None
    return _all(first, pieces)


async def _all(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
