"""Files that blocks of messages name. A row before the event says of each what it is; in the model's context its
block's source has that, too, so that the size is known and the bytes can be put in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

Block = dict[str, Any]
Facts = Mapping[str, Mapping[str, Any]]
"""By file: its `media_type` and `size`."""

FILE = "file"


def naming(blocks: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The blocks that name a file, in order; those within results, too."""
    for block in blocks:
        source: Any = block.get("source")
        if isinstance(source, dict) and cast("Block", source)["type"] == FILE:
            yield block
        elif block["type"] == "tool_result":
            yield from naming(block.get("content") or ())


def files_in(blocks: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(block["source"]["file_id"] for block in naming(blocks)))


def with_facts(blocks: list[Block], facts: Facts) -> list[Block]:
    """Of an event's content, which has no blocks within blocks."""
    known = {id(block): facts.get(block["source"]["file_id"], {}) for block in naming(blocks)}
    return [
        {**block, "source": {**block["source"], **known[id(block)]}} if id(block) in known else block
        for block in blocks
    ]  # fmt: skip
