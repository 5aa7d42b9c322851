"""Blocks of messages that name a file: checked when they are sent, shown to the model as their bytes."""

from __future__ import annotations

import base64
import os
from typing import Any

import pytest
from anthropic import Anthropic
from conftest_types import CUSTOM, Play
from live_server import Stage
from turns import only, refused, said

from conformance.requirements import requirement
from outrider.models.scripted.script import ToolUse, Turn

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TEXT = {"type": "text", "text": "look"}


def uploaded(client: Anthropic, content: bytes, name: str, kind: str) -> str:
    return client.files.upload(file=(name, content, kind)).id


def block(kind: str, file_id: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "file", "file_id": file_id}, **more}


def message(*content: Any) -> Any:
    return {"type": "user.message", "content": [*content, TEXT]}


def in_base64(kind: str, media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
    return {"type": kind, "source": source, **more}


def sent(stage: Stage, model: str, number: int = -1) -> list[Any]:
    return stage.requests(model)[number]["messages"][-1]["content"]


@requirement(
    "events:content:image:file", "events:content:document:file", "events:content:image", "events:content:document"
)
def test_files_reach_the_model_as_their_bytes_and_the_history_as_they_were_named(
    client: Anthropic, play: Play, stage: Stage, model_name: str
) -> None:
    pdf = b"%PDF-1.4 " + os.urandom(400_000)
    image, page = uploaded(client, PNG, "a.png", "image/png"), uploaded(client, pdf, "b.pdf", "application/pdf")
    notes = uploaded(client, "caf\u00e9".encode(), "c.csv", "text/csv")
    talk = play(Turn("Seen."), Turn("Still there."))
    titled = {"title": "Page", "context": "from the archive"}
    talk.send(message(block("image", image), block("document", page, **titled), block("document", notes)))
    talk.wait()
    text = {"type": "text", "media_type": "text/plain", "data": "caf\u00e9"}
    shown = [
        in_base64("image", "image/png", PNG), in_base64("document", "application/pdf", pdf, **titled),
        {"type": "document", "source": text},
    ]  # fmt: skip
    assert sent(stage, model_name)[:3] == shown
    content: Any = [one.to_dict() for one in only(talk.history(), "user.message").content]
    assert [one["source"] for one in content[:3]] == [{"type": "file", "file_id": one} for one in (image, page, notes)]
    client.files.delete(page)
    said(talk, "more")
    first: Any = stage.requests(model_name)[-1]["messages"][0]["content"]
    assert first[0] == shown[0]
    assert first[1] == {"type": "text", "text": f"[document {page}: no longer there]"}


@requirement("events:content:image:file", "events:custom-result:content")
def test_a_custom_result_may_name_a_file(client: Anthropic, play: Play, stage: Stage, model_name: str) -> None:
    talk = play(Turn(ToolUse("lookup", {"key": "a"})), Turn("Done."), tools=[CUSTOM])
    (use,) = said(talk, "go")[-1].stop_reason.event_ids
    image = uploaded(client, PNG, "a.png", "image/png")
    answer = {"type": "user.custom_tool_result", "custom_tool_use_id": use, "content": [block("image", image)]}
    talk.send(answer)
    talk.wait()
    assert sent(stage, model_name)[0]["content"] == [in_base64("image", "image/png", PNG)]
    before = talk.history()
    talk.send(answer)
    assert talk.history() == before


@requirement("sessions:initial-events:documents")
def test_a_session_may_begin_with_files(client: Anthropic, play: Play, stage: Stage, model_name: str) -> None:
    notes = uploaded(client, b"notes", "n.txt", "text/plain")
    talk = play(Turn("Read."), initial_events=[message(*[block("document", notes)] * 100)])
    talk.wait()
    assert len(sent(stage, model_name)) == 101
    assert sent(stage, model_name)[7]["source"]["data"] == "notes"
    halves = [message(*[block("document", notes)] * count) for count in (50, 51)]
    with refused(400, "initial_events", "100"):
        play(Turn("Never."), initial_events=halves)
    with refused(404, "initial_events.0.content.0.source.file_id"):
        play(Turn("Never."), initial_events=[message(block("image", "file_none"))])


@pytest.mark.parametrize(("kind", "media_type"), [("image", "application/pdf"), ("document", "image/png")])
def test_a_file_that_does_not_fit_its_block_is_refused_and_nothing_is_sent(
    client: Anthropic, play: Play, kind: str, media_type: str
) -> None:
    talk = play(Turn("Never."))
    wrong = uploaded(client, PNG, "x", media_type)
    with refused(400, "events.1.content.0.source.file_id", media_type):
        talk.send(message(), message(block(kind, wrong)))
    with refused(404, "events.0.content.0.source.file_id: File file_none not found"):
        talk.send(message(block(kind, "file_none")))
    large = uploaded(client, bytes(12 * 1024**2), "large", "application/pdf")
    with refused(400, "together"):
        talk.send(message(block("document", large)), message(block("document", large)))
    assert talk.history() == []
