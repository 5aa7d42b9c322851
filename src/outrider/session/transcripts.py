"""What happened in a session, as a text for reading: who said what, which tools were used, and what came of it.

A transcript holds no more bytes than it may, and says of each part that is left out how large it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from outrider.session.events import encode

LONGEST = 8_192  # characters of one text; a result of a tool says mostly at its ends what it was
KINDS = (
    "user.message",
    "user.interrupt",
    "user.tool_confirmation",
    "user.custom_tool_result",
    "user.tool_result",
    "system.message",
    "agent.message",
    "agent.tool_use",
    "agent.tool_result",
    "agent.custom_tool_use",
    "agent.mcp_tool_use",
    "agent.mcp_tool_result",
    "session.error",
)
"""The events that a transcript is made of."""

Event = Mapping[str, Any]


class Transcript:
    """Grows event by event. Of one that becomes too long the beginning and the end stay, in equal parts."""

    def __init__(self, most_bytes: int) -> None:
        self._half = most_bytes // 2
        self._begin: list[str] = []
        self._end: deque[str] = deque()
        self._begin_bytes = self._end_bytes = 0
        self._cut = self._cut_bytes = 0

    def add(self, text: str) -> None:
        size = len(text.encode())
        if not self._end and self._begin_bytes + size <= self._half:
            self._begin.append(text)
            self._begin_bytes += size
            return
        self._end.append(text)
        self._end_bytes += size
        while self._end and self._end_bytes > self._half:
            gone = len(self._end.popleft().encode())
            self._end_bytes -= gone
            self._cut, self._cut_bytes = self._cut + 1, self._cut_bytes + gone

    def text(self) -> str:
        gap = [f"[cut: {self._cut} events with {self._cut_bytes} bytes between these]\n\n"] if self._cut else []
        return "".join([*self._begin, *gap, *self._end])


def event_text(event: Event) -> str:
    """One event of those in `KINDS`, with a heading line and an empty line behind it."""
    who, said = _TELLING[event["type"]](event)
    at = event.get("processed_at") or "not yet taken up"
    return f"## {who} ({at})\n{shortened(said)}\n\n" if said else f"## {who} ({at})\n\n"


def shortened(text: str) -> str:
    """A text, or its two ends. What can't be encoded is replaced."""
    text = text.encode(errors="replace").decode()
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n[cut: {len(text) - 2 * half} characters]\n{text[-half:]}"


def _texts(content: Iterable[Mapping[str, Any]] | None) -> str:
    return "\n".join(block["text"] if block["type"] == "text" else f"[{block['type']}]" for block in content or ())


def _said(who: str) -> Callable[[Event], tuple[str, str]]:
    return lambda event: (who, _texts(event["content"]))


def _used(event: Event) -> tuple[str, str]:
    of = f" of {event['mcp_server_name']}" if event.get("mcp_server_name") else ""
    return f"agent uses {event['name']}{of}", encode(event["input"]).decode()


def _came(event: Event) -> tuple[str, str]:
    return "tool fails" if event.get("is_error") else "tool answers", _texts(event.get("content"))


def _confirmed(event: Event) -> tuple[str, str]:
    verb = "allows" if event["result"] == "allow" else "denies"
    return f"user {verb} the call", event.get("deny_message") or ""


_TELLING: dict[str, Callable[[Event], tuple[str, str]]] = {
    "user.message": _said("user"),
    "system.message": _said("operator"),
    "agent.message": _said("agent"),
    "user.interrupt": lambda _: ("user interrupts", ""),
    "user.tool_confirmation": _confirmed,
    "agent.tool_use": _used,
    "agent.custom_tool_use": _used,
    "agent.mcp_tool_use": _used,
    "agent.tool_result": _came,
    "agent.mcp_tool_result": _came,
    "user.custom_tool_result": _came,
    "user.tool_result": _came,
    "session.error": lambda event: ("error", event["error"]["message"]),
}
