"""The finished message, put together from a stream's events. Blocks of unknown kinds stay as the model sent them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from outrider.errors import ModelFailure
from outrider.ports.model import INVALID_JSON, Delta, ModelReply

JSON_KINDS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
Event = dict[str, Any]


class ReplyBuilder:
    """Takes a stream's events in order; `reply` is there after `message_stop`.

    Raises ModelFailure (retryable) when events do not fit together: the server broke the protocol in this attempt.
    """

    def __init__(self, on_delta: Callable[[Delta], None]) -> None:
        self._on_delta = on_delta
        self._news: list[Delta] = []
        self._blocks: dict[int, dict[str, Any]] = {}
        self._json: dict[int, list[str]] = {}
        self._usage: dict[str, Any] = {}
        self._stop_reason: str | None = None
        self._stop_details: dict[str, Any] | None = None
        self._started = False
        self.finished = False

    def take(self, event: Event) -> None:
        kind = event.get("type")
        try:
            if kind == "content_block_delta":
                self._grow(event["index"], event["delta"])
            elif kind == "content_block_start":
                self._start(event["index"], event["content_block"])
            elif kind == "content_block_stop":
                self._stop(event["index"])
            elif kind == "message_start":
                self._open(event["message"])
            elif kind == "message_delta":
                self._change(event)
            elif kind == "message_stop":
                self.finished = True
        except (KeyError, TypeError, AttributeError) as error:
            raise broken(f"malformed {kind} event") from error
        news, self._news = self._news, []
        for delta in news:  # outside the try: a fault of the listener is not the model's
            self._on_delta(delta)

    def reply(self) -> ModelReply:
        if not (self.finished and self._started and self._stop_reason):
            raise broken("the stream ended before the message did")
        for index in list(self._json):  # blocks that the server never stopped
            self._close_input(index)
        content = [self._blocks[index] for index in sorted(self._blocks)]
        return ModelReply(content, self._stop_reason, self._stop_details, self._usage)

    def _open(self, message: dict[str, Any]) -> None:
        self._started = True
        self._usage = dict(message.get("usage") or {})
        self._stop_reason = message.get("stop_reason")

    def _change(self, event: Event) -> None:
        delta = event["delta"]
        self._stop_reason = delta.get("stop_reason") or self._stop_reason
        self._stop_details = delta.get("stop_details") or self._stop_details
        usage: dict[str, Any] = event.get("usage") or {}
        self._usage |= {key: value for key, value in usage.items() if value is not None}

    def _start(self, index: int, block: dict[str, Any]) -> None:
        if index in self._blocks:
            raise broken(f"content block {index} started twice")
        self._blocks[index] = dict(block)
        self._news.append(Delta("start", index, block["type"]))
        if block["type"] == "text" and block.get("text"):
            self._news.append(Delta("text", index, "text", block["text"]))

    def _grow(self, index: int, delta: dict[str, Any]) -> None:
        block = self._blocks[index]
        kind = delta["type"]
        if kind == "text_delta":
            block["text"] = block.get("text", "") + delta["text"]
            self._news.append(Delta("text", index, "text", delta["text"]))
        elif kind == "input_json_delta":
            self._json.setdefault(index, []).append(delta["partial_json"])
        elif kind == "thinking_delta":
            block["thinking"] = block.get("thinking", "") + delta["thinking"]
        elif kind == "signature_delta":
            block["signature"] = delta["signature"]
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        elif kind == "compaction_delta":
            _compact(block, delta)

    def _stop(self, index: int) -> None:
        block = self._blocks[index]
        self._close_input(index)
        self._news.append(Delta("stop", index, block["type"]))

    def _close_input(self, index: int) -> None:
        text = "".join(self._json.pop(index, ()))
        if text and self._blocks[index]["type"] in JSON_KINDS:
            self._blocks[index]["input"] = parse_input(text)


def parse_input(text: str) -> dict[str, Any]:
    """A tool's input, or the raw text under INVALID_JSON when it is no JSON object."""
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {INVALID_JSON: text}
    return cast(dict[str, Any], value) if isinstance(value, dict) else {INVALID_JSON: text}


def broken(what: str) -> ModelFailure:
    return ModelFailure(f"The model's answer broke off: {what}.", kind="model_request_failed_error", retryable=True)


def _compact(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for key in ("content", "encrypted_content"):
        if delta.get(key) is not None:
            block[key] = delta[key] if key == "encrypted_content" else (block.get(key) or "") + delta[key]
