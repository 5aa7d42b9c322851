"""The live feed over a store in memory: readers that fall behind, previews, sessions that end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from harness_room import KEY, WAIT, MeddledStore, Room, WrittenModel

from outrider.api.answers import StreamReply, keep_nothing
from outrider.api.endpoint import Call
from outrider.api.routes.events import stream_events
from outrider.ports.access import ApiKey
from outrider.session import events
from outrider.session.events import EventFactory

pytestmark = pytest.mark.anyio
PREVIEWS = frozenset({"agent.message"})


@pytest.fixture
async def room() -> Room:
    made = Room(WrittenModel(), store=MeddledStore)
    await made.open()
    return made


def factory(room: Room) -> EventFactory:
    return EventFactory("sthr_1", "worker", room.ids, room.clock)


async def write(room: Room, kind: str, fields: dict[str, Any] | None = None, *, id: str | None = None) -> None:
    row = factory(room).public(kind, fields, id=id)
    await room.store.append_client(KEY, [row], if_head=None, wake=False)


def start(room: Room, event_id: str) -> None:
    frame = {"type": "event_start", "event": {"type": "agent.message", "id": event_id}}
    room.feed.preview(KEY, "sthr_1", event_id, events.encode(frame), kind="agent.message", start=True)


def delta(room: Room, event_id: str, text: str) -> None:
    change = {"type": "content_delta", "index": 0, "content": {"type": "text", "text": text}}
    frame = {"type": "event_delta", "event_id": event_id, "delta": change}
    room.feed.preview(KEY, "sthr_1", event_id, events.encode(frame), kind="agent.message", start=False)


async def types_until(frames: AsyncIterator[bytes | None], last: str) -> list[str]:
    seen: list[str] = []
    async with asyncio.timeout(WAIT):
        async for frame in frames:
            if frame is not None:
                seen.append(events.decode(frame)["type"])
                if seen[-1] == last:
                    return seen
    raise AssertionError(f"the stream ended without {last}: {seen}")


async def test_a_reader_gets_the_previews_of_a_message_and_then_the_message(room: Room) -> None:
    stream = await room.feed.subscribe(KEY, previews=PREVIEWS)
    await write(room, "span.model_request_start")
    start(room, "sevt_m")
    delta(room, "sevt_m", "hel")
    await write(room, "agent.message", {"content": events.text_blocks("hello")}, id="sevt_m")
    seen = await types_until(stream.frames(), "agent.message")
    assert seen == ["span.model_request_start", "event_start", "event_delta", "agent.message"]
    stream.close()


async def test_a_stream_whose_start_is_replayed_shows_no_preview_after_its_message(room: Room) -> None:
    await room.say("hi")
    room.feed.note_client(KEY, 2)
    stream = await room.feed.subscribe(KEY, previews=PREVIEWS)
    await write(room, "span.model_request_start")
    start(room, "sevt_m")
    delta(room, "sevt_m", "hel")
    await write(room, "agent.message", {"content": events.text_blocks("hello")}, id="sevt_m")
    await write(room, "span.model_request_end")
    frames = stream.frames()
    seen = await types_until(frames, "span.model_request_end")
    await write(room, "session.usage")
    seen += await types_until(frames, "session.usage")
    assert seen.index("agent.message") < seen.index("span.model_request_end")
    assert "event_start" not in seen[seen.index("agent.message") :]
    assert "event_delta" not in seen
    stream.close()


async def test_what_was_sent_while_nobody_read_is_shown_to_one_late_stream(room: Room) -> None:
    await room.say("hi")
    room.feed.note_client(KEY, 2)
    late = await room.feed.subscribe(KEY, previews=PREVIEWS)
    again = await room.feed.subscribe(KEY, previews=PREVIEWS)
    await write(room, "span.model_request_start")
    room.feed.note_client(KEY, 4)
    later = await room.feed.subscribe(KEY, previews=PREVIEWS)
    await write(room, "session.usage")
    told = [await types_until(stream.frames(), "session.usage") for stream in (late, again, later)]
    assert told[0][0] == "user.message"
    assert told[1:] == [["span.model_request_start", "session.usage"], ["session.usage"]]
    for stream in (late, again, later):
        stream.close()


async def test_a_reader_that_the_ring_has_left_behind_gets_every_row_and_no_preview_of_the_past(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outrider.session.hub.RING", 4)
    stream = await room.feed.subscribe(KEY, previews=PREVIEWS)
    for number in range(6):
        start(room, f"sevt_{number}")
        delta(room, f"sevt_{number}", "x")
        await write(room, "agent.message", {"content": events.text_blocks("xy")}, id=f"sevt_{number}")
    await write(room, "session.usage")
    room.feed.close()
    async with asyncio.timeout(WAIT):
        seen = [events.decode(frame)["type"] async for frame in stream.frames() if frame is not None]
    assert seen == ["agent.message"] * 6 + ["session.usage"]
    stream.close()


async def test_previews_go_on_for_a_second_reader_who_came_between_them(room: Room) -> None:
    first = await room.feed.subscribe(KEY, previews=PREVIEWS)
    await write(room, "span.model_request_start")
    second = await room.feed.subscribe(KEY, previews=PREVIEWS)
    start(room, "sevt_m")
    for stream in (first, second):
        assert (await types_until(stream.frames(), "event_start"))[-1] == "event_start"
        stream.close()


async def test_a_stream_opened_while_its_session_is_archived_ends(room: Room) -> None:
    async def archive() -> None:
        rows = factory(room).terminated()
        record = await room.store.session(KEY)
        assert record is not None
        head = await room.store.head(KEY)
        ended = replace(record, status="terminated")
        await room.store.update_session(ended, rows, if_head=head, columns="archive")

    assert isinstance(room.store, MeddledStore)
    room.store.after_record = archive
    key = ApiKey("key_1", KEY.workspace, "", "", "admin", "")
    call = Call(room.services(), key, {"session_id": KEY.session}, "", b"", keep_nothing)
    reply = await stream_events(call)
    assert isinstance(reply, StreamReply)
    async with asyncio.timeout(WAIT):
        seen = [events.decode(frame)["type"] async for frame in reply.frames]
    reply.close()
    assert seen[-1] == "session.status_terminated"
