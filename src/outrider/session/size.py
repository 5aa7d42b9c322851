"""How large a part of a prompt is, in tokens, where no model has counted it yet. A rough figure: four bytes of text a
token, and for what isn't text about what models charge for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

BYTES_A_TOKEN = 4
IMAGE_TOKENS = 1_600
PDF_BYTES_A_TOKEN = 40  # of base64: a page of text is some 80 kB of PDF and 2,000 tokens

_encode = msgspec.json.Encoder().encode


def of_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    return sum(of_blocks(message["content"]) for message in messages)


def of_blocks(blocks: Iterable[Mapping[str, Any]]) -> int:
    return sum(_of_block(block) for block in blocks)


def of_text(text: str) -> int:
    return len(text.encode()) // BYTES_A_TOKEN + 1


def _of_block(block: Mapping[str, Any]) -> int:
    match block["type"]:
        case "text":
            return of_text(block["text"])
        case "image":
            return IMAGE_TOKENS
        case "document" if block["source"]["type"] == "base64":
            return len(block["source"]["data"]) // PDF_BYTES_A_TOKEN + 1
        case "document" if block["source"]["type"] == "file":
            size = block["source"].get("size", 0)
            text = block["source"].get("media_type", "").startswith("text/")
            return (size // BYTES_A_TOKEN if text else size * 4 // 3 // PDF_BYTES_A_TOKEN) + 1
        case "tool_result":
            return of_blocks(cast("list[Mapping[str, Any]]", block.get("content") or [])) + 1
        case _:
            return len(_encode(block)) // BYTES_A_TOKEN + 1
