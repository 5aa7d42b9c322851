"""What a client's events may hold on this server."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from outrider.errors import InvalidRequest, NotFound, NotSupported
from outrider.ports.files import FileRecord
from outrider.resources.events import MOST_NAMED_BYTES, check_named, check_offered
from outrider.wire.requests import parse

FILE = {"type": "file", "file_id": "file_1"}
TEXT = {"type": "text", "text": "hi"}
NOW = "2026-01-01T00:00:00.000000Z"


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


def record(mime_type: str, *, size: int = 10, expires_at: str | None = None) -> FileRecord:
    return FileRecord("w", "file_1", NOW, expires_at, None, "a", mime_type, size, False, True, "file_1")


def named(kind: str, file: FileRecord | None) -> dict[str, Any]:
    events = parse("events.send", json.dumps({"events": [message(TEXT, {"type": kind, "source": FILE})]}).encode())
    return check_named(events["events"], {} if file is None else {"file_1": file}, NOW)


@pytest.mark.parametrize(
    ("kind", "mime_type"),
    [("image", "image/webp"), ("document", "application/pdf"), ("document", "text/csv"), ("document", "text/plain")],
)
def test_what_the_log_says_of_a_named_file_is_its_type_and_size(kind: str, mime_type: str) -> None:
    assert named(kind, record(mime_type)) == {"file_1": {"media_type": mime_type, "size": 10}}


@pytest.mark.parametrize(
    ("kind", "mime_type"), [("image", "application/pdf"), ("image", "image/svg+xml"), ("document", "image/png"),
                            ("document", "application/zip")],
)  # fmt: skip
def test_a_file_of_another_type_than_its_block_is_refused_by_path(kind: str, mime_type: str) -> None:
    with pytest.raises(
        InvalidRequest, match=r"events.0.content.1.source.file_id: File file_1 is " + re.escape(mime_type)
    ):
        named(kind, record(mime_type))


def test_a_named_file_must_be_there_and_not_too_large() -> None:
    with pytest.raises(NotFound, match=r"events.0.content.1.source.file_id: File file_1 not found"):
        named("image", None)
    with pytest.raises(NotFound, match="expired") as caught:
        named("image", record("image/png", expires_at=NOW))
    assert caught.value.error_code == "file_expired"
    named("document", record("application/pdf", size=MOST_NAMED_BYTES))
    with pytest.raises(InvalidRequest, match="at most"):
        named("document", record("application/pdf", size=MOST_NAMED_BYTES + 1))


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
