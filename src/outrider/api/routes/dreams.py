"""Dreams: asked for, shown, canceled, archived. What becomes of one is done by `api.dreaming`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from outrider import faults
from outrider.api.endpoint import Call, Reply
from outrider.api.lists import ORDER_OF_LISTS, mark_created, page_of
from outrider.api.lookup import dream_record
from outrider.errors import InvalidRequest, NotFound
from outrider.ports.dreams import DreamFilter, DreamRecord
from outrider.ports.log import SessionKey
from outrider.resources.dreams import DREAM, IN_PLACE, STATUSES, Object, dream_object, new_dream
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query
from outrider.wire.requests import parse


async def create(call: Call) -> Reply:
    services, ids = call.services, call.services.ids
    body = new_dream(parse("dreams.create", call.body), profiles=services.models.profile)
    store, sessions = body["inputs"][0]["memory_store_id"], body["inputs"][1]["session_ids"]
    await _check_sessions(call, sessions)
    output = store if body["output_behavior"]["type"] == IN_PLACE else ids.new("memstore")
    record = DreamRecord(
        call.workspace,
        ids.new(DREAM),
        "pending",
        services.clock.now(),
        store,
        output,
        ids.new("sesn"),
        msgspec.json.encode(body),
    )
    shown = Reply(dream_object(record, None)).bytes()
    faults.point("dream.add.before")
    await services.dreams.create_dream(record, keep=call.keep(shown))
    faults.point("dream.add.after")
    return Reply(encoded=shown, kept=True)


async def _check_sessions(call: Call, sessions: Sequence[str]) -> None:
    there = await call.services.log.heads([SessionKey(call.workspace, session) for session in sessions])
    for session in sessions:
        if SessionKey(call.workspace, session) not in there:
            raise NotFound(f"inputs: Session {session} not found.")


async def _shown(call: Call, record: DreamRecord) -> Object:
    """What it has used is counted in its session's record until it is settled."""
    counted = record.opened_at is not None and record.usage is None
    session = await call.services.records.session(SessionKey(call.workspace, record.session)) if counted else None
    return dream_object(record, session)


async def get(call: Call) -> Reply:
    return Reply(await _shown(call, await dream_record(call)))


async def list_dreams(call: Call) -> Reply:
    query = Query(call.query)
    limit, created = query.limit(default=20, most=100), query.range("created_at", ("gt", "lt"))
    where = DreamFilter(query.choices("statuses", STATUSES))
    cursor = read_cursor(query.text("page"), "dreams", ORDER_OF_LISTS, created=created)
    page = page_of(limit, cursor, created=created, include_archived=query.boolean("include_archived"))
    found = await call.services.dreams.dreams(call.workspace, page, where)
    shown = cut(found, limit, kind="dreams", order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([await _shown(call, record) for record in shown.items], shown.next_page))


async def cancel(call: Call) -> Reply:
    record = await dream_record(call)
    faults.point("dream.decide.before")
    await call.services.dreams.decide_dream(record, "canceled", None, at=call.services.clock.now())
    faults.point("dream.decide.after")
    record = await dream_record(call)
    if record.status != "canceled":
        raise InvalidRequest(f"Dream {record.id} has {record.status} and can't be canceled.")
    return Reply(await _shown(call, record))


async def archive(call: Call) -> Reply:
    record = await dream_record(call)
    if not await call.services.dreams.archive_dream(call.workspace, record.id, call.services.clock.now()):
        raise InvalidRequest(f"Dream {record.id} is {record.status} and can't be archived; cancel it first.")
    return Reply(await _shown(call, await dream_record(call)))
