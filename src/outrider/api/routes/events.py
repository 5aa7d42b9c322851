"""Events of a session: send, list, stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from outrider.api.endpoint import Call, Reply, StreamReply
from outrider.api.lookup import named_file_records, session_record
from outrider.api.scopes import require_may_send
from outrider.errors import StorageFull
from outrider.ports.log import HistoryEntry, HistoryQuery, SessionKey, is_last
from outrider.ports.records import SessionRecord
from outrider.resources.events import check_named, check_offered, named_files
from outrider.session.events import decode, with_time
from outrider.wire.names import EVENT_TYPES
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query
from outrider.wire.requests import parse

LIST_LIMIT = 1000
PREVIEWS = ("agent.message", "agent.thinking")
PING = b"event: ping\ndata: {}\n\n"


async def send_events(call: Call) -> Reply:
    key = SessionKey(call.workspace, call.path["session_id"])
    requests = parse("events.send", call.body)["events"]
    check_offered(requests)
    require_may_send(call.key, requests)
    if not call.services.has_room():
        raise StorageFull("The disk of the session log is nearly full; no events are taken until there is room.")
    allow_system = await _allows_system(call, requests)
    files = check_named(requests, await named_file_records(call, named_files(requests)), call.services.clock.now())
    answer = await call.services.intake.send(
        call.services, key, requests, allow_system=allow_system, keep=call.keep, trace=call.trace, files=files
    )
    return Reply(encoded=answer, kept=True)


async def _allows_system(call: Call, requests: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the session's model takes system messages; looked up only when there is one."""
    if all(request["type"] != "system.message" for request in requests):
        return False
    record = await session_record(call)
    return call.services.models.profile(decode(record.agent)["model"]["id"]).mid_conversation_system


async def list_events(call: Call) -> Reply:
    record = await session_record(call)
    query = Query(call.query)
    order = query.choice("order", ("asc", "desc"), default="asc")
    types = query.choices("types", EVENT_TYPES)
    return await _history(call, record, query, order=order, types=types, created=query.range("created_at"))


async def list_thread_events(call: Call) -> Reply:
    record = await session_record(call, thread=call.path["thread_id"])
    return await _history(call, record, Query(call.query), order="asc", types=(), created={})


async def _history(
    call: Call, record: SessionRecord, query: Query, *, order: Any, types: tuple[str, ...], created: dict[str, str]
) -> Reply:
    limit = query.limit(default=LIST_LIMIT, most=LIST_LIMIT)
    kind = f"events of {record.id}"
    cursor = read_cursor(query.text("page"), kind, order, shape=int, created=created)
    after = cursor.position if cursor is not None and isinstance(cursor.position, int) else None
    asked = HistoryQuery(limit + 1, descending=order == "desc", after=after, types=types, created=created)
    entries = await call.services.log.history(SessionKey(call.workspace, record.id), asked)
    if not is_last([entry.row for entry in entries], limit + 1):
        limit = max(1, len(entries) - 1)  # full, or ended early: the last one only says that there is more
    page = cut(entries, limit, kind=kind, order=order, cursor=cursor, mark=_mark)
    return Reply(encoded=page_bytes([msgspec.Raw(_shown(entry)) for entry in page.items], page.next_page))


def _mark(entry: HistoryEntry) -> tuple[int, str | None]:
    return entry.position, entry.processed_at


def _shown(entry: HistoryEntry) -> bytes:
    return with_time(entry.row.body, entry.processed_at)


async def stream_events(call: Call) -> StreamReply:
    return await _stream(call)


async def stream_thread_events(call: Call) -> StreamReply:
    return await _stream(call, thread=call.path["thread_id"])


async def _stream(call: Call, *, thread: str | None = None) -> StreamReply:
    previews = Query(call.query).choices("event_deltas", PREVIEWS)
    await session_record(call, thread=thread)
    key = SessionKey(call.workspace, call.path["session_id"])
    subscription = await call.services.feed.subscribe(key, previews=frozenset(previews))
    try:  # looked at now, so that its end is either in the record or still to come on the stream
        record = await session_record(call)
    except BaseException:
        subscription.close()
        raise
    if record.status == "terminated":
        subscription.close()
        return StreamReply(_last_event(call, key))

    async def frames() -> AsyncIterator[bytes]:
        async for frame in subscription.frames():
            yield PING if frame is None else frame

    return StreamReply(frames(), subscription.close)


async def _last_event(call: Call, key: SessionKey) -> AsyncIterator[bytes]:
    """A stream on a terminated session repeats its last event and ends, so that SDK runners stop."""
    types = ("session.status_terminated",)
    for entry in await call.services.log.history(key, HistoryQuery(1, descending=True, types=types)):
        yield call.services.feed.render(entry.row, entry.processed_at)
