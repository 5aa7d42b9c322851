"""What MCP servers say, in wire form: blocks of a result, tools of a listing. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
PDF = "application/pdf"
LARGEST_IMAGE = 5 * 1024 * 1024  # as base64, like those that `read` shows
LARGEST_DOCUMENT = 20 * 1024 * 1024
MOST_BLOCKS = 1000
SHORTEST_SECRET = 8  # characters: masking fewer would change ordinary words

Block = dict[str, Any]


def masked(value: Any, secrets: Iterable[str]) -> Any:
    """The same with every secret taken out of every string, also where it came as base64; keys too."""
    words = [form for secret in secrets if len(secret) >= SHORTEST_SECRET for form in _forms(secret)]
    return _masked(value, words) if words else value


def _forms(secret: str) -> list[str]:
    """As it is, and as base64 shows it; of that only whole groups, which don't depend on what comes after."""
    sent = (secret.encode(), b"Bearer " + secret.encode())
    return [secret, *(base64.b64encode(text[: len(text) // 3 * 3]).decode() for text in sent)]


def _masked(value: Any, words: list[str]) -> Any:
    if isinstance(value, str):
        for word in words:
            value = value.replace(word, "*" * len(word))
        return value
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {_masked(key, words): _masked(child, words) for key, child in pairs}
    if isinstance(value, list):
        return [_masked(child, words) for child in cast("list[Any]", value)]
    return value


def blocks(result: Mapping[str, Any]) -> list[Block]:
    """The content of a `tools/call` result as an event's content blocks."""
    given = cast("list[Block]", result.get("content") or [])
    shown = [_block(part) for part in given[:MOST_BLOCKS]]
    if len(given) > MOST_BLOCKS:
        shown.append(_text(f"[{len(given) - MOST_BLOCKS} more blocks are left out]"))
    structured = result.get("structuredContent")
    if not shown and structured is not None:
        shown.append(_text(msgspec.json.encode(structured).decode()))
    return shown or [_text("(no output)")]


def _block(part: Block) -> Block:
    kind = part.get("type")
    if kind == "text":
        return _text(part["text"])
    if kind == "image":
        return _image(part["mimeType"], part["data"])
    if kind == "audio":
        return _text(f"[audio of type {part['mimeType']}, which can't be shown]")
    if kind == "resource_link":
        about = part.get("description") or part.get("title") or part.get("name") or ""
        return _text(f"[resource {part['uri']}{f': {about}' if about else ''}]")
    if kind == "resource":
        return _resource(part["resource"])
    return _text(f"[content of type {kind}, which can't be shown]")


def _resource(resource: Block) -> Block:
    uri, kind = resource.get("uri", ""), resource.get("mimeType") or "no type"
    if "text" in resource:
        return _text(f"[resource {uri}]\n{resource['text']}")
    data = resource.get("blob", "")
    if kind in IMAGES:
        return _image(kind, data)
    if kind == PDF and len(data) <= LARGEST_DOCUMENT and _is_base64(data):
        return {"type": "document", "source": {"type": "base64", "media_type": PDF, "data": data}}
    return _text(f"[resource {uri} of type {kind}, which can't be shown]")


def _image(kind: str, data: str) -> Block:
    if kind not in IMAGES or not _is_base64(data):
        return _text(f"[image of type {kind}, which can't be shown]")
    if len(data) > LARGEST_IMAGE:
        return _text(f"[image of {len(data):,} characters, which is too large to be shown]")
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


def _is_base64(data: str) -> bool:
    try:
        return bool(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return False


def _text(text: str) -> Block:
    return {"type": "text", "text": text.replace("\x00", "")}


def tool(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """A listed tool as the harness takes it; None for one that no model could call."""
    schema = dict(given.get("inputSchema") or {})
    if schema.setdefault("type", "object") != "object" or not given.get("name"):
        return None
    about = given.get("description") or given.get("title") or ""
    return {"name": given["name"], "description": about, "input_schema": schema}
