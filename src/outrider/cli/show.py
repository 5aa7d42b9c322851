"""A session's events as lines for people, used by `demo` and `session tail`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

LONGEST = 12  # lines shown of one text
INDENT = " " * 7
UNPRINTED = dict.fromkeys(
    [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\N{REPLACEMENT CHARACTER}"
)
"""What a terminal obeys instead of showing it: escapes and other controls, and what turns the direction of a line."""
KEPT = {ord("\t"): "\t", ord("\n"): "\n", ord("\r"): None}


class Show:
    """Prints events as they come; texts that were previewed are not printed again."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._previewed: set[str] = set()
        self._line_open = False

    def event(self, event: Any) -> None:
        if self._line_open and event.type != "event_delta":
            self._console.print()
            self._line_open = False
        handler = getattr(self, "_" + event.type.replace(".", "_"), None)
        if handler is not None:
            handler(event)

    def _event_start(self, event: Any) -> None:
        self._previewed.add(event.event.id)
        if event.event.type == "agent.thinking":
            self._console.print(Text("agent  (thinks)", "dim"))
        elif event.event.type == "agent.message":
            self._console.print(Text("agent  ", "bold green"), end="")
            self._line_open = True

    def _event_delta(self, event: Any) -> None:
        text = plain(event.delta.content.text).replace("\n", f"\n{INDENT}")
        self._console.print(Text(text), end="", soft_wrap=True)

    def _agent_message(self, event: Any) -> None:
        if event.id not in self._previewed:
            self._lines("agent  ", "bold green", _texts(event.content))

    def _agent_thinking(self, event: Any) -> None:
        if event.id not in self._previewed:
            self._console.print(Text("agent  (thinks)", "dim"))

    def _user_message(self, event: Any) -> None:
        if event.processed_at is not None:
            self._lines("user   ", "bold cyan", _texts(event.content))

    def _agent_tool_use(self, event: Any) -> None:
        self._lines(f"{event.name:<7}", "bold yellow", _call(event.name, event.input))

    def _agent_custom_tool_use(self, event: Any) -> None:
        self._lines(f"{event.name:<7}", "bold yellow", str(event.input))

    def _agent_mcp_tool_use(self, event: Any) -> None:
        self._lines(f"{event.name:<7}", "bold yellow", f"{event.mcp_server_name}: {event.input}")

    def _agent_mcp_tool_result(self, event: Any) -> None:
        self._agent_tool_result(event)

    def _agent_tool_result(self, event: Any) -> None:
        self._lines("  |    ", "red" if event.is_error else "dim", _texts(event.content or []))

    def _session_error(self, event: Any) -> None:
        status = event.error.retry_status.type
        self._lines("error  ", "bold red", f"{event.error.message} ({status})")

    def _session_status_idle(self, event: Any) -> None:
        self._console.print(Text(f"idle   {event.stop_reason.type}", "bold"))

    def _lines(self, label: str, style: str, text: str) -> None:
        label, lines = plain(label), plain(text).rstrip("\n").split("\n")
        shown = (
            lines if len(lines) <= LONGEST else [*lines[: LONGEST - 1], f"... {len(lines) - LONGEST + 1} more lines"]
        )
        for number, line in enumerate(shown):
            body = Text(line, style if style in ("red", "dim") else "")
            head = Text(label if number == 0 or label.startswith("  |") else INDENT, style)
            self._console.print(head + body, soft_wrap=True)


def plain(text: str) -> str:
    """As a terminal may have it: models, tools and servers write what they like."""
    return text.translate(UNPRINTED | KEPT)


def _texts(content: Iterable[Any]) -> str:
    return "\n".join(block.text if block.type == "text" else f"[{block.type}]" for block in content)


def _call(name: str, given: dict[str, Any]) -> str:
    if name == "bash":
        return str(given.get("command", "restart"))
    if name == "write":
        return f"{given.get('file_path')}\n{given.get('content', '')}"
    if name == "edit":
        changed = [*_marked("-", given.get("old_string")), *_marked("+", given.get("new_string"))]
        return "\n".join([str(given.get("file_path")), *changed])
    return " ".join(str(value) for value in given.values())


def _marked(sign: str, text: Any) -> list[str]:
    return [f"{sign} {line}" for line in str(text or "").splitlines()]
