"""What a scripted model says: turns made of blocks, failures, and stops at named barriers. Plain values, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Barrier:
    """The stream stands still here until a test lets it go on."""

    name: str


@dataclass(frozen=True, slots=True)
class Pause:
    """The stream sends nothing for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection breaks here."""


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """An `error` event ends the stream here."""

    type: str = "overloaded_error"
    message: str = "Overloaded"


Stop = Barrier | Pause | Cut | ErrorEvent


class Text:
    """A text block. Each string is sent as one delta (cut up further by the turn's `chunk`), with stops between."""

    def __init__(self, *parts: str | Stop, citations: Sequence[Mapping[str, Any]] = ()) -> None:
        self.parts = parts
        self.citations = citations


class Thinking:
    """A thinking block; without a `signature` the server signs it, and checks the signature when it comes back."""

    def __init__(self, *parts: str | Stop, signature: str | None = None) -> None:
        self.parts = parts
        self.signature = signature


@dataclass(frozen=True, slots=True)
class Redacted:
    """A redacted thinking block."""

    data: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call. `raw` replaces the input's JSON text, valid or not; an `id` is made up when there is none."""

    name: str
    input: Mapping[str, Any] = field(default_factory=dict[str, Any])
    id: str | None = None
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """Any other block (a server tool's result, say), sent whole as it is."""

    block: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts to report instead of the ones that the server works out from the request."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0


Item = Text | Thinking | Redacted | ToolUse | Raw | Stop


class Turn:
    """One answer. A string stands for a text block. `stop_reason` is `tool_use` or `end_turn` unless it is given.

    `chunk` cuts texts into deltas of so many characters (0: as written); `delay` seconds pass before each delta, and
    `first_byte` happens before the status line. `expect` looks at the request and returns what is wrong with it.
    """

    def __init__(
        self,
        *content: str | Item,
        stop_reason: str | None = None,
        stop_details: Mapping[str, Any] | None = None,
        usage: Usage | None = None,
        chunk: int = 0,
        delay: float = 0.0,
        first_byte: Stop | None = None,
        expect: Callable[[Request], str | None] | None = None,
    ) -> None:
        self.content = tuple(Text(item) if isinstance(item, str) else item for item in content)
        uses_tools = any(isinstance(item, ToolUse) for item in self.content)
        self.stop_reason = stop_reason or ("tool_use" if uses_tools else "end_turn")
        self.stop_details = stop_details
        self.usage = usage
        self.chunk = chunk
        self.delay = delay
        self.first_byte = first_byte
        self.expect = expect


@dataclass(frozen=True, slots=True)
class HttpError:
    """An answer that is an error. `retry_after` becomes the header of that name."""

    status: int
    type: str = "api_error"
    message: str = "Scripted failure"
    retry_after: str | None = None


Answer = Turn | HttpError


@dataclass(frozen=True, slots=True)
class Request:
    """A Messages request as the server got it, with what scripts ask of it most."""

    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def messages(self) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self.body.get("messages", []))

    @property
    def tools(self) -> list[str]:
        return [str(tool.get("name", "")) for tool in cast(list[dict[str, Any]], self.body.get("tools", []))]

    @property
    def replies(self) -> int:
        """How many answers the model gave in this conversation so far."""
        return sum(message.get("role") == "assistant" for message in self.messages)

    def last_text(self) -> str:
        """The text of the last user message that has any."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                text = "".join(block["text"] for block in blocks(message) if block.get("type") == "text")
                if text:
                    return text
        return ""


Decide = Callable[[Request], Answer]


class Script:
    """How a scripted model answers: a function of the request. Use `in_order` or `by_turn` for a list of answers.

    `models` are the names it goes by; None takes any name.
    """

    def __init__(self, decide: Decide, *, models: Sequence[str] | None = None) -> None:
        self.decide = decide
        self.models = models


class Unexpected(Exception):
    """A request that the script has no answer for; the server answers 500 and keeps the reason."""


def in_order(*answers: Answer, models: Sequence[str] | None = None) -> Script:
    """The first request gets the first answer, whatever it asks, and so on; a request too many is unexpected."""
    left = list(answers)

    def decide(request: Request) -> Answer:
        if not left:
            raise Unexpected(f"request number {len(answers) + 1}, but the script has {len(answers)} answers")
        return left.pop(0)

    return Script(decide, models=models)


def by_turn(*answers: Answer, models: Sequence[str] | None = None) -> Script:
    """The answer for a conversation's n-th reply, so that a repeated request gets the same one again."""

    def decide(request: Request) -> Answer:
        if request.replies >= len(answers):
            raise Unexpected(f"turn {request.replies + 1}, but the script has {len(answers)} turns")
        return answers[request.replies]

    return Script(decide, models=models)


def blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A message's content as blocks; a string is one text block."""
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return cast(list[dict[str, Any]], content or [])
