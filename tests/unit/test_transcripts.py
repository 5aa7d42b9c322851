"""A session's transcript: every kind of event has its words, and what is too long is cut where it says so."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.session.transcripts import KINDS, LONGEST, Transcript, event_text

AT = "2026-01-01T00:00:00.000000Z"
TEXT: list[dict[str, Any]] = [{"type": "text", "text": "words"}, {"type": "image", "source": {}}]
EVENTS: dict[str, tuple[dict[str, Any], str]] = {
    "user.message": ({"content": TEXT}, f"## user ({AT})\nwords\n[image]\n\n"),
    "system.message": ({"content": TEXT}, f"## operator ({AT})\nwords\n[image]\n\n"),
    "agent.message": ({"content": TEXT}, f"## agent ({AT})\nwords\n[image]\n\n"),
    "user.interrupt": ({}, f"## user interrupts ({AT})\n\n"),
    "user.tool_confirmation": (
        {"result": "deny", "deny_message": "No."},
        f"## user denies the call ({AT})\nNo.\n\n",
    ),
    "agent.tool_use": ({"name": "bash", "input": {"a": "ä"}}, f'## agent uses bash ({AT})\n{{"a":"ä"}}\n\n'),
    "agent.custom_tool_use": ({"name": "find", "input": {}}, f"## agent uses find ({AT})\n{{}}\n\n"),
    "agent.mcp_tool_use": (
        {"name": "get", "mcp_server_name": "wiki", "input": {}},
        f"## agent uses get of wiki ({AT})\n{{}}\n\n",
    ),
    "agent.tool_result": ({"content": TEXT, "is_error": False}, f"## tool answers ({AT})\nwords\n[image]\n\n"),
    "agent.mcp_tool_result": ({"content": TEXT, "is_error": True}, f"## tool fails ({AT})\nwords\n[image]\n\n"),
    "user.custom_tool_result": ({"content": None}, f"## tool answers ({AT})\n\n"),
    "user.tool_result": ({}, f"## tool answers ({AT})\n\n"),
    "session.error": ({"error": {"message": "Gone."}}, f"## error ({AT})\nGone.\n\n"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_event_says_who_and_what(kind: str) -> None:
    fields, told = EVENTS[kind]
    assert event_text({"type": kind, "processed_at": AT, **fields}) == told


def test_a_long_text_keeps_its_two_ends() -> None:
    long = "a" * LONGEST + "b" * LONGEST
    told = event_text({"type": "user.message", "content": [{"type": "text", "text": long}], "processed_at": None})
    half = LONGEST // 2
    assert told.startswith("## user (not yet taken up)\naaa")
    assert told.count("a" * half) == told.count("b" * half) == 1
    assert f"\n[cut: {LONGEST} characters]\n" in told


def test_what_can_not_be_encoded_is_replaced() -> None:
    told = event_text({"type": "user.message", "content": [{"type": "text", "text": "\ud800!"}], "processed_at": AT})
    assert told.encode().endswith(b"?!\n\n")


def test_a_transcript_that_fits_is_whole() -> None:
    whole = Transcript(40)
    for number in range(4):
        whole.add(f"event {number}\n\n")
    assert whole.text() == "".join(f"event {number}\n\n" for number in range(4))


@pytest.mark.parametrize("most", [0, 1, 40, 100])
def test_a_long_transcript_keeps_its_beginning_and_end_and_counts_what_is_between(most: int) -> None:
    long = Transcript(most)
    for number in range(100):
        long.add(f"event {number:02}\n")
    kept = [line for line in long.text().splitlines() if line.startswith("event")]
    each = most // 2 // 9
    assert kept == [f"event {n:02}" for n in (*range(each), *range(100 - each, 100))]
    assert f"[cut: {100 - 2 * each} events with {9 * (100 - 2 * each)} bytes between these]" in long.text()
