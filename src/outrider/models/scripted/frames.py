"""A turn as the stream's events in order, with the stops between them. Pure; ids and signatures come from digests."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from outrider.models.scripted.script import Item, Raw, Redacted, Request, Stop, Text, Thinking, ToolUse, Turn, Usage

Event = dict[str, Any]
SIGNING_KEY = b"the scripted model signs so that a changed block is noticed"  # no secret: it guards nothing
JSON_CHUNK = 24
THOUGHT = "toolu_thought"


def sign(thinking: str) -> str:
    return hmac.new(SIGNING_KEY, thinking.encode(), hashlib.sha256).hexdigest()


def tool_use_id(request: Request, position: int, *, thought: bool) -> str:
    """The same for the same request, and another one for each reply of a conversation. It tells whether the model
    thought first, so that a later request which has lost the thinking block is noticed."""
    digest = hashlib.sha256(msgspec.json.encode([request.messages, position], order="sorted"))
    return f"{THOUGHT if thought else 'toolu_scripted'}{digest.hexdigest()[:24]}"


def message_id(request: Request) -> str:
    return f"msg_scripted{hashlib.sha256(msgspec.json.encode(request.messages)).hexdigest()[:24]}"


def events(turn: Turn, request: Request, usage: Usage) -> Iterator[Event | Stop]:
    """All events of the answer to `request`; a stop says what happens before the next event."""
    yield _message_start(request, usage)
    index = 0
    for item in turn.content:
        if isinstance(item, Stop):
            yield item
            continue
        yield from _block(item, index, turn.chunk, _identity(item, index, turn, request))
        if index == 0:
            yield {"type": "ping"}
        index += 1
    delta = {"stop_reason": turn.stop_reason, "stop_sequence": None, "stop_details": turn.stop_details}
    yield {"type": "message_delta", "delta": delta, "usage": counts(usage)}
    yield {"type": "message_stop"}


def counts(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "output_tokens": usage.output_tokens,
    }


def encode(event: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), msgspec.json.encode(event))


def message(turn: Turn, request: Request, usage: Usage) -> dict[str, Any]:
    """The same answer, not streamed."""
    start = _message_start(request, usage)["message"]
    content = [_whole(item, _identity(item, place, turn, request)) for place, item in enumerate(_items(turn))]
    return {
        **start,
        "content": content,
        "stop_reason": turn.stop_reason,
        "stop_details": turn.stop_details,
        "usage": counts(usage) | {"service_tier": "standard"},
    }


def _items(turn: Turn) -> list[Text | Thinking | Redacted | ToolUse | Raw]:
    return [item for item in turn.content if not isinstance(item, Stop)]


def output_text(turn: Turn) -> str:
    """Everything that the model writes, for counting tokens."""
    parts: list[str] = []
    for item in turn.content:
        if isinstance(item, Text | Thinking):
            parts.extend(part for part in item.parts if isinstance(part, str))
        elif isinstance(item, ToolUse):
            parts.append(item.name + _input_json(item))
    return "".join(parts)


def _message_start(request: Request, usage: Usage) -> Event:
    started = counts(usage) | {"output_tokens": 1, "service_tier": "standard"}
    if "speed" in request.body:
        started["speed"] = request.body["speed"]
    return {
        "type": "message_start",
        "message": {
            "id": message_id(request),
            "type": "message",
            "role": "assistant",
            "model": request.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": started,
        },
    }


def _block(item: Item, index: int, chunk: int, identity: str) -> Iterator[Event | Stop]:
    yield {"type": "content_block_start", "index": index, "content_block": _opening(item, identity)}
    for step in _deltas(item, chunk):
        yield step if isinstance(step, Stop) else {"type": "content_block_delta", "index": index, "delta": step}
    yield {"type": "content_block_stop", "index": index}


def _opening(item: Item, identity: str) -> dict[str, Any]:
    if isinstance(item, Text):
        return {"type": "text", "text": "", "citations": None}
    if isinstance(item, Thinking):
        return {"type": "thinking", "thinking": "", "signature": ""}
    if isinstance(item, ToolUse):
        return {"type": "tool_use", "id": identity, "name": item.name, "input": {}}
    return _whole(item, identity)


def _deltas(item: Item, chunk: int) -> Iterator[dict[str, Any] | Stop]:
    if isinstance(item, Text):
        yield from _texts(item.parts, chunk, "text_delta", "text")
        for citation in item.citations:
            yield {"type": "citations_delta", "citation": dict(citation)}
    elif isinstance(item, Thinking):
        yield from _texts(item.parts, chunk, "thinking_delta", "thinking")
        yield {"type": "signature_delta", "signature": _signature(item)}
    elif isinstance(item, ToolUse):
        text = _input_json(item)
        yield {"type": "input_json_delta", "partial_json": ""}
        for start in range(0, len(text), JSON_CHUNK):
            yield {"type": "input_json_delta", "partial_json": text[start : start + JSON_CHUNK]}


def _texts(parts: tuple[str | Stop, ...], chunk: int, kind: str, key: str) -> Iterator[dict[str, Any] | Stop]:
    for part in parts:
        if isinstance(part, Stop):
            yield part
            continue
        size = chunk or len(part) or 1
        for start in range(0, len(part), size):
            yield {"type": kind, key: part[start : start + size]}


def _whole(item: Item, identity: str) -> dict[str, Any]:
    if isinstance(item, Text):
        text = "".join(part for part in item.parts if isinstance(part, str))
        return {"type": "text", "text": text, "citations": [dict(one) for one in item.citations] or None}
    if isinstance(item, Thinking):
        return {"type": "thinking", "thinking": _thought(item), "signature": _signature(item)}
    if isinstance(item, Redacted):
        return {"type": "redacted_thinking", "data": item.data}
    if isinstance(item, ToolUse):
        return {"type": "tool_use", "id": identity, "name": item.name, "input": dict(item.input)}
    return dict(item.block) if isinstance(item, Raw) else {}


def _identity(item: Item, index: int, turn: Turn, request: Request) -> str:
    if not isinstance(item, ToolUse):
        return ""
    thought = any(isinstance(one, Thinking | Redacted) for one in turn.content)
    return item.id or tool_use_id(request, index, thought=thought)


def _thought(item: Thinking) -> str:
    return "".join(part for part in item.parts if isinstance(part, str))


def _signature(item: Thinking) -> str:
    return item.signature if item.signature is not None else sign(_thought(item))


def _input_json(item: ToolUse) -> str:
    return item.raw if item.raw is not None else msgspec.json.encode(dict(item.input)).decode()
