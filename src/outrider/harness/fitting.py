"""Messages made to fit a model's window, for the request that asks for their summary. Only what doesn't fit as it is
loses anything: long texts their middle, images and documents themselves, and at last the oldest messages."""

from __future__ import annotations

from typing import Any, cast

from outrider.session import size
from outrider.session.events import encode, text_blocks
from outrider.session.state import Message

Block = dict[str, Any]

AS_IT_IS = 0.9  # of the window; sizes are estimates, and system text and tools come on top
CLIPPED = 0.6
LONGEST_TEXTS = (32_768, 8_192, 2_048, 512)  # characters, tried one after the other
EARLIER_TEXT = "[Earlier messages are left out: all of them together don't fit.]"


def fitted(messages: list[Message], window: int) -> list[Message]:
    """The messages as they are, or shortened until they take up well less than `window` tokens."""
    if size.of_messages(messages) <= window * AS_IT_IS:
        return messages
    shortened = messages
    for longest in LONGEST_TEXTS:
        shortened = [{**message, "content": _blocks(message["content"], longest)} for message in messages]
        if size.of_messages(shortened) <= window * CLIPPED:
            return shortened
    return _latest(shortened, window * CLIPPED)


def answers_calls(message: Message) -> bool:
    """Whether it holds results, and so can't stand without the message before it."""
    return any(block["type"] == "tool_result" for block in message["content"])


def _latest(messages: list[Message], budget: float) -> list[Message]:
    kept = 0
    for count, message in enumerate(reversed(messages), start=1):
        budget -= size.of_blocks(message["content"])
        if budget < 0:
            break
        if not answers_calls(message):
            kept = count
    return [{"role": "user", "content": text_blocks(EARLIER_TEXT)}, *messages[len(messages) - kept :]]


def _blocks(blocks: list[Block], longest: int) -> list[Block]:
    return [_block(block, longest) for block in blocks]


def _block(block: Block, longest: int) -> Block:
    match block["type"]:
        case "text":
            return {**block, "text": _text(block["text"], longest)}
        case "tool_use":
            given = cast("dict[str, Any]", block["input"])
            return {**block, "input": {name: _value(value, longest) for name, value in given.items()}}
        case "tool_result" if block.get("content"):
            return {**block, "content": _blocks(block["content"], longest)}
        case "image" | "document" | "search_result":
            return text_blocks(f"[{block['type']} left out]")[0]
        case _:  # thinking: models take it back unchanged or not at all
            return block


def _value(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return _text(value, longest)
    return value if len(encode(value)) <= longest else "[left out]"


def _text(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
