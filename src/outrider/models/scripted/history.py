"""What a script can see of the conversation: the tool calls since the last thing the user said, with their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from outrider.models.scripted.script import Request, blocks


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call and what came of it. `text` is the result's text; `failed` its error flag."""

    name: str
    input: Mapping[str, Any]
    text: str
    failed: bool


def rounds(request: Request) -> list[list[Call]]:
    """The tool rounds since the user last spoke, oldest first: the calls of one reply make a round."""
    results = {
        str(block["tool_use_id"]): block
        for message in request.messages
        for block in blocks(message)
        if block.get("type") == "tool_result"
    }
    found: list[list[Call]] = []
    for message in _since_user_spoke(request.messages):
        uses = [block for block in blocks(message) if block.get("type") == "tool_use"]
        if message.get("role") == "assistant" and uses:
            found.append([_call(use, results.get(str(use.get("id")), {})) for use in uses])
    return found


def _since_user_spoke(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    spoke = [
        number for number, message in enumerate(messages) if message.get("role") == "user" and not _results(message)
    ]
    return messages[spoke[-1] + 1 :] if spoke else messages


def _results(message: Mapping[str, Any]) -> bool:
    """Whether it brings tool results; a text beside them interrupts no round."""
    return any(block.get("type") == "tool_result" for block in blocks(message))


def _call(use: Mapping[str, Any], result: Mapping[str, Any]) -> Call:
    given = cast(Mapping[str, Any], use.get("input") or {})
    return Call(str(use.get("name", "")), given, result_text(result), bool(result.get("is_error")))


def result_text(result: Mapping[str, Any]) -> str:
    content = result.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(str(block.get("text", "")) for block in cast(list[dict[str, Any]], content))
