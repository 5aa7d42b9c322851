"""Files that a session is given, in the loop: no call runs without them, and without any nothing is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from harness_room import KEY, WAIT, Room, WrittenModel, reply, use

from outrider.ports.copies import FileChanges, FileCopy
from outrider.ports.files import FileRecord, content_of
from outrider.ports.log import Row
from outrider.ports.sandbox import Upload
from outrider.session import events
from outrider.session.events import EventFactory
from outrider.testing.memory_sandbox import MemorySandboxes

pytestmark = pytest.mark.anyio
AT = "2026-01-01T00:00:00.000000Z"
CALLS = (reply(use("bash", command="one")), reply("1"), reply(use("bash", "toolu_2", command="two")), reply("2"))


def results(rows: list[Row]) -> list[str]:
    bodies = [json.loads(row.body) for row in rows if row.type == "agent.tool_result"]
    return [body["content"][0]["text"] for body in bodies]


async def give(room: Room, name: str = "file_1", *, size: int = 3) -> None:
    """As the API does, but for the bytes."""
    source = FileRecord(
        KEY.workspace, name, AT, None, None, "a.txt", "text/plain", size, downloadable=False, counted=True, blob=name
    )  # fmt: skip
    await room.store.announce_file(KEY.workspace, name, AT)
    await room.store.add_file(source, most_bytes=100)
    resource = {"id": f"r_{name}", "file_id": f"{name}_copy", "mount_path": f"/mnt/session/uploads/{name}",
                "filename": "a.txt", "mime_type": "text/plain", "size": size}  # fmt: skip
    row = EventFactory("sthr_1", "a", room.ids, room.clock).internal(events.FILE_GIVEN, {"resource": resource})
    record = await room.store.session(KEY)
    assert record is not None
    copies = FileChanges((FileCopy(name, f"{name}_copy", AT),))
    head = await room.store.head(KEY)
    await room.store.update_session(record, [row], if_head=head, columns="details", files=copies)


async def test_no_call_runs_without_the_files_and_its_result_says_so() -> None:
    room = Room(WrittenModel(*CALLS))
    await room.open()
    await give(room)
    async with room.worker():
        await room.say("go")
        rows = await room.until("session.status_idle")
        (text,) = results(rows)
        assert text.startswith("The files that the user gave could not be had: ")
        assert text.endswith("The call was not run.")
        assert not room.sandboxes.runs
        assert not [row for row in rows if row.type == events.INTENT]
        await room.blobs.put(content_of(KEY.workspace, "file_1"), b"abc")
        await room.say("again")
        rows = await room.until("session.status_idle", 2)
    assert results(rows)[1] == "bash {'command': 'two'}"
    assert room.sandboxes.uploads[KEY.session] == {"file_1": ("file_1_copy", b"abc")}


async def test_bytes_that_are_not_as_many_as_they_should_be_are_no_file() -> None:
    room = Room(WrittenModel(*CALLS))
    await room.open()
    await give(room, size=4)
    await room.blobs.put(content_of(KEY.workspace, "file_1"), b"abc")
    async with room.worker():
        await room.say("go")
        rows = await room.until("session.status_idle")
    assert "file_1_copy has 3 bytes, not 4" in results(rows)[0]
    assert not room.sandboxes.runs


class Slow(MemorySandboxes):
    """Takes files for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def put_upload(self, session: str, upload: Upload, content: AsyncIterator[bytes], *, epoch: int) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def test_an_interrupt_is_heard_while_files_are_on_their_way() -> None:
    sandboxes = Slow()
    room = Room(WrittenModel(*CALLS), sandboxes)
    await room.open()
    await give(room)
    await room.blobs.put(content_of(KEY.workspace, "file_1"), b"abc")
    async with room.worker(), asyncio.timeout(WAIT):
        await room.say("go")
        await sandboxes.asked.wait()
        await room.send({"type": "user.interrupt"})
        rows = await room.until("session.status_idle")
    assert results(rows) == [events.INTERRUPTED_TEXT]
    assert not sandboxes.runs


async def test_a_session_that_was_given_nothing_asks_the_sandbox_nothing() -> None:
    room = Room(WrittenModel(*CALLS))
    await room.open()
    async with room.worker():
        await room.say("go")
        await room.until("session.status_idle")
    assert room.sandboxes.uploads == {}
