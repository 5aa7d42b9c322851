"""An event's content as a model takes it. What it would refuse is left out: it would refuse every later turn, too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Block = dict[str, Any]

LONGEST_TITLE = 500


def sendable(content: Iterable[Block]) -> list[Block]:
    """Without empty texts, titles and contexts, and with titles that are not too long."""
    return [block for given in content if (block := _SENT.get(given["type"], _as_it_is)(given)) is not None]


def _as_it_is(block: Block) -> Block:
    return block


def _text(block: Block) -> Block | None:
    return block if block["text"] else None


def _document(block: Block) -> Block:
    title, context = block.get("title"), block.get("context")
    if title is None and context is None:
        return block
    told = {"title": (title or "")[:LONGEST_TITLE], "context": context}
    plain = {name: value for name, value in block.items() if name not in told}
    return plain | {name: value for name, value in told.items() if value}


def _search_result(block: Block) -> Block | None:
    """One without any text is told of by its title and source."""
    texts = sendable(block["content"])
    if texts:
        return block if len(texts) == len(block["content"]) else {**block, "content": texts}
    told = "\n".join(filter(None, (block["title"], block["source"])))
    return {"type": "text", "text": told} if told else None


_SENT = {"text": _text, "document": _document, "search_result": _search_result}
