"""What a client's events may hold on this server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outrider.errors import InvalidRequest, NotSupported
from outrider.resources.events import check_offered
from outrider.wire.requests import parse

FILE = {"type": "file", "file_id": "file_1"}
TEXT = {"type": "text", "text": "hi"}


def check(*events: dict[str, Any]) -> None:
    check_offered(parse("events.send", json.dumps({"events": events}).encode())["events"])


def message(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "user.message", "content": content}


def result(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "user.custom_tool_result", "custom_tool_use_id": "sevt_1", "content": content}


def test_content_in_the_request_itself_is_taken() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    page = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}, "title": None}
    found = {"type": "search_result", "source": "s", "title": "t", "content": [TEXT], "citations": {"enabled": True}}
    check(message(TEXT, image, page), result(TEXT, found), result(), {"type": "user.interrupt"})


@pytest.mark.parametrize("kind", ["image", "document"])
def test_content_in_uploaded_files_is_refused_by_path(kind: str) -> None:
    for event in (message(TEXT, {"type": kind, "source": FILE}), result(TEXT, {"type": kind, "source": FILE})):
        with pytest.raises(NotSupported, match=r"events.1.content.1.source: uploaded files are not offered"):
            check(message(TEXT), event)


def test_outcomes_are_refused() -> None:
    outcome = {"type": "user.define_outcome", "description": "d", "rubric": {"type": "text", "content": "c"}}
    with pytest.raises(NotSupported, match=r"events.0: user.define_outcome is not offered"):
        check(outcome)


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_prompt_without_text_is_refused_but_an_empty_tool_result_is_a_result(text: str) -> None:
    blank = {"type": "text", "text": text}
    for event in (message(TEXT, blank), {"type": "system.message", "content": [TEXT, blank]}):
        with pytest.raises(InvalidRequest, match=r"events.0.content.1.text: Input should have text"):
            check(event)
    check(result(blank))
