"""Short words for what most tests do with a session: send something, wait, look at what happened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2
import pytest
from session_talk import Event, Talk, message

TOOLSET: dict[str, Any] = {"type": "agent_toolset_20260401"}


def refused(code: int, *words: str, error_code: str | None = None) -> Any:
    """A block that must raise this status, with these words in the message, and this code if one is given."""

    def fits(error: anthropic.APIStatusError) -> bool:
        named = error_code is None or error.error_code == error_code
        return error.status_code == code and named and all(word in error.message for word in words)

    return pytest.raises(anthropic.APIStatusError, check=fits)


def error_of(answer: httpx2.Response, status: int, kind: str) -> str:
    """The message of an answer that must be this error, in the envelope."""
    body = answer.json()
    assert answer.status_code == status, body
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert body["request_id"] == answer.headers["request-id"]
    return body["error"]["message"]


def said(talk: Talk, *texts: str) -> list[Event]:
    """Say these, one turn each; the history after the last turn."""
    for text in texts:
        talk.send(message(text))
        talk.wait()
    return talk.history()


def every(events: Iterable[Event], kind: str) -> list[Event]:
    return [event for event in events if event.type == kind]


def only(events: Iterable[Event], kind: str) -> Event:
    (event,) = every(events, kind)
    return event


def kinds(events: Iterable[Event]) -> list[str]:
    return [event.type for event in events]


def text_of(event: Event) -> str:
    """The joined text of an event's content."""
    return "".join(block.text for block in event.content if block.type == "text")
