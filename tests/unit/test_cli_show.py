"""What `demo` and `session tail` print of a session, on a terminal that would obey what it is sent."""

from __future__ import annotations

import io
from typing import Any

import pytest
from anthropic.types.beta.sessions import BetaManagedAgentsStreamSessionEvents
from pydantic import TypeAdapter
from rich.console import Console

from outrider.cli.show import Show

_events: TypeAdapter[Any] = TypeAdapter(BetaManagedAgentsStreamSessionEvents)
AT = "2026-01-01T00:00:00Z"
HOSTILE = "a\x1b[2J\x1b]52;c;aGk=\x07b\x9b1Ac\x08\x00\x7f\u202ed\u2066"
TAMED = "a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}]52;c;aGk=\N{REPLACEMENT CHARACTER}b"


def printed(*events: dict[str, Any]) -> str:
    out = io.StringIO()
    show = Show(Console(file=out, highlight=False, force_terminal=True, color_system=None, width=200))
    for event in events:
        show.event(_events.validate_python({"id": "sevt_1", "processed_at": AT, **event}))
    return out.getvalue()


def blocks(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "agent.message", "content": blocks(HOSTILE)},
        {"type": "user.message", "content": blocks(HOSTILE)},
        {"type": "agent.tool_use", "name": "bash", "input": {"command": HOSTILE}},
        {"type": "agent.tool_use", "name": "read", "input": {"file_path": HOSTILE}},
        {"type": "agent.tool_result", "tool_use_id": "sevt_0", "content": blocks(HOSTILE)},
        {"type": "agent.custom_tool_use", "name": HOSTILE, "input": {}},
        {"type": "agent.mcp_tool_use", "name": "n", "mcp_server_name": HOSTILE, "input": {}},
        {"type": "session.error", "error": {
            "type": "unknown_error", "message": HOSTILE, "retry_status": {"type": "terminal"}}},
        {"type": "event_delta", "event_id": "sevt_1", "delta": {
            "type": "content_delta", "index": 0, "content": {"type": "text", "text": HOSTILE}}},
    ],
    ids=lambda event: event["type"],
)  # fmt: skip
def test_nothing_that_is_printed_moves_the_terminal(event: dict[str, Any]) -> None:
    shown = printed(event)
    assert TAMED in shown
    assert all(character.isprintable() for character in shown if character != "\n")


def test_a_line_of_a_text_never_stands_where_a_label_does() -> None:
    forged = "hello\r\nerror  all is lost\n\tuser"
    delta = {"type": "content_delta", "index": 0, "content": {"type": "text", "text": forged}}
    told = printed({"type": "agent.message", "content": blocks(forged)})
    assert told == "agent  hello\n       error  all is lost\n       \tuser\n".expandtabs()
    assert "\n       error  all is lost\n" in printed({"type": "event_delta", "event_id": "sevt_1", "delta": delta})
