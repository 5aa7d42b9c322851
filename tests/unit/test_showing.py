"""Files that messages name, as they go into a request."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.harness.showing import NamedFiles
from outrider.ports.files import FileRecord, content_of
from outrider.resources.events import MOST_NAMED_BYTES
from outrider.session import size
from outrider.session.events import text_blocks
from outrider.session.named import with_facts
from outrider.testing.memory_blobs import MemoryBlobs
from outrider.testing.memory_log import MemoryStore

pytestmark = pytest.mark.anyio
AT = "2026-01-01T00:00:00.000000Z"


def naming(file_id: str, kind: str = "image", **facts: Any) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "file", "file_id": file_id, **facts}}


def said(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": [*blocks]}


async def held(*files: str) -> NamedFiles:
    store, blobs = MemoryStore(), MemoryBlobs()
    for file in files:
        record = FileRecord("w", file, AT, None, None, "a", "text/plain", 4, False, True, file)
        await store.announce_file("w", file, AT)
        await store.add_file(record, most_bytes=100)
        await blobs.put(content_of("w", file), file.encode())
    return NamedFiles(store, blobs)


async def test_the_newest_are_shown_as_far_as_there_is_room() -> None:
    half: Any = {"media_type": "image/png", "size": MOST_NAMED_BYTES // 2}
    messages = [said(naming("a", **half)), said(naming("b", **half)), said(naming("c", **half))]
    shown = await (await held("a", "b", "c")).shown("w", messages)
    first: Any = shown[0]["content"][0]
    assert first["text"].startswith("[image a: left out")
    assert [one["content"][0]["source"]["data"] for one in shown[1:]] == ["Yg==", "Yw=="]
    assert messages[1]["content"][0]["source"]["type"] == "file", "what was folded stays as it was"


async def test_a_file_within_a_result_is_shown_and_a_cache_mark_kept() -> None:
    facts: Any = {"media_type": "text/plain", "size": 1}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [naming("a", "document", **facts)]}
    marked = naming("gone", "document", **facts) | {"cache_control": {"type": "ephemeral"}}
    (message,) = await (await held("a")).shown("w", [said(result, marked)])
    inner, words = message["content"]
    assert inner["content"][0]["source"] == {"type": "text", "media_type": "text/plain", "data": "a"}
    assert words == {**text_blocks("[document gone: no longer there]")[0], "cache_control": {"type": "ephemeral"}}


async def test_messages_that_name_none_are_left_alone() -> None:
    messages = [said(*text_blocks("hi"))]
    assert await NamedFiles(MemoryStore(), MemoryBlobs()).shown("w", messages) is messages


async def test_another_workspaces_file_is_not_shown() -> None:
    (message,) = await (await held("a")).shown("other", [said(naming("a", media_type="image/png", size=1))])
    assert message["content"][0]["text"] == "[image a: no longer there]"


def test_the_size_of_what_is_named_is_known() -> None:
    facts = {"a": {"media_type": "application/pdf", "size": 30_000}, "b": {"media_type": "text/csv", "size": 4_000}}
    blocks = [naming("a", "document"), naming("b", "document"), naming("a")]
    assert [size.of_blocks([one]) for one in with_facts(blocks, facts)] == [1_001, 1_001, size.IMAGE_TOKENS]
