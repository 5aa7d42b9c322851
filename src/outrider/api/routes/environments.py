"""Environments: what a session's sandbox is made from."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from outrider.api.endpoint import Call, Reply
from outrider.api.lists import ORDER_OF_LISTS, mark_created, page_of
from outrider.api.lookup import environment_record
from outrider.ports.records import EnvironmentRecord
from outrider.resources.environments import (
    Environment,
    deleted_environment,
    environment_object,
    new_environment,
    updated_environment,
)
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query
from outrider.wire.requests import parse


async def _store(call: Call, environment: Environment, *, read: EnvironmentRecord | None = None) -> Reply:
    """`read`: what this was made from. Raises Conflict when it is not like that any more."""
    body = msgspec.json.encode(environment)
    record = EnvironmentRecord(
        call.workspace, environment["id"], environment["created_at"], environment["archived_at"], body
    )
    await call.services.records.put_environment(record, if_body=None if read is None else read.body)
    return Reply(encoded=body)


async def create(call: Call) -> Reply:
    request = parse("environments.create", call.body)
    services = call.services
    return await _store(call, new_environment(request, id=services.ids.new("env"), now=services.clock.now()))


async def get(call: Call) -> Reply:
    return Reply(environment_object(await environment_record(call, call.path["environment_id"])))


async def update(call: Call) -> Reply:
    request = parse("environments.update", call.body)

    def change(current: Environment) -> Environment | None:
        return updated_environment(current, request, now=call.services.clock.now())

    return await _change(call, change)


async def archive(call: Call) -> Reply:
    def change(current: Environment) -> Environment | None:
        now = call.services.clock.now()
        return None if current["archived_at"] is not None else current | {"archived_at": now, "updated_at": now}

    return await _change(call, change)


async def _change(call: Call, change: Callable[[Environment], Environment | None]) -> Reply:
    async def attempt() -> Reply:
        record = await environment_record(call, call.path["environment_id"])
        current = environment_object(record)
        changed = change(current)
        return Reply(current) if changed is None else await _store(call, changed, read=record)

    return await call.in_turn(attempt)


async def delete(call: Call) -> Reply:
    record = await environment_record(call, call.path["environment_id"])
    await call.services.records.delete_environment(call.workspace, record.id, at=call.services.clock.now())
    return Reply(deleted_environment(record.id))


async def list_environments(call: Call) -> Reply:
    query = Query(call.query)
    limit = query.limit(default=20, most=100)
    cursor = read_cursor(query.text("page"), "environments", ORDER_OF_LISTS)
    page = page_of(limit, cursor, created={}, include_archived=query.boolean("include_archived"))
    found = await call.services.records.environments(call.workspace, page)
    shown = cut(found, limit, kind="environments", order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([environment_object(record) for record in shown.items], shown.next_page))
