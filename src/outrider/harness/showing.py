"""Files that messages name, put into a request as the model wants them: their bytes, or words where there are none.

What is shown is settled by the log and the files themselves: the newest ones first, as far as a request has room.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from outrider.errors import BlobDamaged, NotFound
from outrider.ports.blobs import Blobs, read_whole
from outrider.ports.files import FileRecords, content_of
from outrider.resources.events import MOST_NAMED_BYTES, PDF
from outrider.session.events import text_blocks
from outrider.session.named import Block, naming
from outrider.session.state import Message


class Shows(Protocol):
    async def shown(self, workspace: str, messages: list[Message]) -> list[Message]:
        """The messages with the files that they name. Raises Overloaded."""
        ...


class ShowsNothing:
    """Implements `Shows`, where no message names a file."""

    async def shown(self, workspace: str, messages: list[Message]) -> list[Message]:
        return messages


class NamedFiles:
    """Implements `Shows`."""

    def __init__(self, files: FileRecords, blobs: Blobs) -> None:
        self._files = files
        self._blobs = blobs

    async def shown(self, workspace: str, messages: list[Message]) -> list[Message]:
        named = [block for message in messages for block in naming(message["content"])]
        if not named:
            return messages
        fitting = _fitting(named)
        wanted = {block["source"]["file_id"] for block in named if id(block) in fitting}
        held = {file_id: await self._read(workspace, file_id) for file_id in wanted}
        return [{**message, "content": _filled(message["content"], held, fitting)} for message in messages]

    async def _read(self, workspace: str, file_id: str) -> bytes | None:
        record = await self._files.file(workspace, file_id)
        if record is None or record.blob is None:
            return None
        try:
            return await read_whole(self._blobs, content_of(workspace, record.blob))
        except (NotFound, BlobDamaged):
            return None


def _fitting(named: Sequence[Mapping[str, Any]]) -> set[int]:
    """Which blocks (by identity) a request has room for."""
    room, found = MOST_NAMED_BYTES, set[int]()
    for block in reversed(named):
        room -= block["source"].get("size", 0)
        if room < 0:
            break
        found.add(id(block))
    return found


def _filled(blocks: Iterable[Any], held: Mapping[str, bytes | None], fitting: set[int]) -> list[Block]:
    return [_block(block, held, fitting) for block in blocks]


def _block(block: Block, held: Mapping[str, bytes | None], fitting: set[int]) -> Block:
    if block["type"] == "tool_result" and block.get("content"):
        return {**block, "content": _filled(block["content"], held, fitting)}
    if not any(naming([block])):
        return block
    source = block["source"]
    if id(block) not in fitting:
        return _words(block, "left out: all files that this conversation names are too large together")
    data = held.get(source["file_id"])
    if data is None:
        return _words(block, "no longer there")
    return {**block, "source": _source(block["type"], source["media_type"], data)}


def _source(kind: str, media_type: str, data: bytes) -> dict[str, str]:
    if kind == "image" or media_type == PDF:
        return {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
    return {"type": "text", "media_type": "text/plain", "data": data.decode(errors="replace") or " "}


def _words(block: Block, why: str) -> Block:
    """In its place, with the mark of a cache if it has one."""
    (words,) = text_blocks(f"[{block['type']} {block['source']['file_id']}: {why}]")
    return words | {key: value for key, value in block.items() if key == "cache_control"}
