"""A session's threads. There is one, the primary thread, until agents can have subagents."""

from __future__ import annotations

from outrider.api.endpoint import Call, Reply
from outrider.api.lookup import session_record
from outrider.errors import InvalidRequest
from outrider.resources.sessions import STATUSES, thread_object
from outrider.wire.pages import page_bytes, read_cursor
from outrider.wire.query import Query


async def list_threads(call: Call) -> Reply:
    record = await session_record(call)
    query = Query(call.query)
    query.limit(default=1000, most=1000)
    read_cursor(query.text("page"), "threads", "asc")
    statuses = query.choices("statuses", STATUSES)
    thread = thread_object(record, now=call.services.clock.now())
    shown = [thread] if not statuses or thread["status"] in statuses else []
    return Reply(encoded=page_bytes(shown, None))


async def get(call: Call) -> Reply:
    record = await session_record(call, thread=call.path["thread_id"])
    return Reply(thread_object(record, now=call.services.clock.now()))


async def archive(call: Call) -> Reply:
    record = await session_record(call, thread=call.path["thread_id"])
    raise InvalidRequest(
        f"Thread {record.thread} is the primary thread of its session and can't be archived; archive the session."
    )
