"""Memory stores: named places of texts that outlive sessions."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from outrider.api.endpoint import Call, Reply
from outrider.api.lists import ORDER_OF_LISTS, mark_created, page_of
from outrider.api.lookup import memory_store_record
from outrider.ports.memory import MemoryStoreRecord
from outrider.resources.memory import new_store, store_object, updated_store
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query
from outrider.wire.requests import parse


async def create(call: Call) -> Reply:
    body = new_store(parse("memory_stores.create", call.body))
    now = call.services.clock.now()
    id = call.services.ids.new("memstore")
    record = MemoryStoreRecord(call.workspace, id, now, now, None, msgspec.json.encode(body))
    await call.services.memories.create_memory_store(record)
    return Reply(store_object(record))


async def get(call: Call) -> Reply:
    return Reply(store_object(await memory_store_record(call)))


async def update(call: Call) -> Reply:
    request = parse("memory_stores.update", call.body)

    async def attempt() -> Reply:
        record = await memory_store_record(call)
        body = updated_store(record, request)
        if body is None:
            return Reply(store_object(record))
        changed = replace(record, body=msgspec.json.encode(body), updated_at=call.services.clock.now())
        await call.services.memories.update_memory_store(changed, if_updated=record.updated_at)
        return Reply(store_object(changed))

    return await call.in_turn(attempt)


async def archive(call: Call) -> Reply:
    store = call.path["memory_store_id"]
    await call.services.memories.archive_memory_store(call.workspace, store, call.services.clock.now())
    return Reply(store_object(await memory_store_record(call)))


async def delete(call: Call) -> Reply:
    store = call.path["memory_store_id"]
    await call.services.memories.delete_memory_store(call.workspace, store, call.services.clock.now())
    return Reply({"id": store, "type": "memory_store_deleted"})


async def list_stores(call: Call) -> Reply:
    query = Query(call.query)
    limit, created = query.limit(default=20, most=100), query.range("created_at")
    cursor = read_cursor(query.text("page"), "memory_stores", ORDER_OF_LISTS, created=created)
    page = page_of(limit, cursor, created=created, include_archived=query.boolean("include_archived"))
    found = await call.services.memories.memory_stores(call.workspace, page)
    shown = cut(found, limit, kind="memory_stores", order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([store_object(record) for record in shown.items], shown.next_page))
