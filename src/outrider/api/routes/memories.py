"""The memories of a store, and their versions."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Literal

from outrider.api.endpoint import Call, Reply
from outrider.api.lists import ORDER_OF_LISTS, mark_created
from outrider.api.lookup import memory_record, memory_store_record, memory_version_record
from outrider.api.scopes import require_writable
from outrider.errors import InvalidRequest
from outrider.ports.memory import MOST_MEMORIES, MemoryRecord, VersionFilter, Write
from outrider.resources.memory import (
    check_hash,
    checked_content,
    checked_path,
    checked_prefix,
    expected_hash,
    memory_object,
    place,
    prefix_object,
    rolled_up,
    version_object,
)
from outrider.wire.pages import Cursor, cut, page_bytes, read_cursor
from outrider.wire.query import Query
from outrider.wire.requests import parse

VIEWS = ("basic", "full")
MOST_FULL = 20
OPERATIONS = ("created", "modified", "deleted")
ACTORS = {
    "session_id": "session_actor",
    "api_key_id": "api_actor",
    "service_account_id": "service_account_actor",
}


async def create(call: Call) -> Reply:
    full = _full(Query(call.query), default="basic")
    request = parse("memories.create", call.body)
    path, content = checked_path(request["path"]), checked_content(request["content"] or "")
    id = call.services.ids.new("mem")
    await _check_writable(call)
    record = await call.services.memories.create_memory(_write(call), id, path, content)
    return Reply(memory_object(record, content if full else None))


async def get(call: Call) -> Reply:
    full = _full(Query(call.query), default="full")
    record = await memory_record(call)
    return Reply((await _objects(call, [record], full))[0])


async def update(call: Call) -> Reply:
    full = _full(Query(call.query), default="basic")
    request = parse("memories.update", call.body)
    text, path = request.get("content"), request.get("path")
    await _check_writable(call)
    record = await call.services.memories.update_memory(
        _write(call),
        call.path["memory_id"],
        path=None if path is None else checked_path(path),
        content=None if text is None else checked_content(text),
        if_sha256=expected_hash(request),
    )
    return Reply((await _objects(call, [record], full))[0])


async def delete(call: Call) -> Reply:
    memory, expected = call.path["memory_id"], Query(call.query).text("expected_content_sha256")
    if expected is not None:
        check_hash("expected_content_sha256", expected)
    await _check_writable(call)
    await call.services.memories.delete_memory(_write(call), memory, if_sha256=expected)
    return Reply({"id": memory, "type": "memory_deleted"})


async def list_memories(call: Call) -> Reply:
    query = Query(call.query)
    full = _full(query, default="basic")
    limit = min(query.limit(default=20, most=100), MOST_FULL if full else 100)
    prefix = checked_prefix(query.text("path_prefix") or "")
    deep = query.integer("depth", least=0, most=1) != 1
    store = (await memory_store_record(call)).id
    kind = f"memories of {store}"
    cursor = read_cursor(query.text("page"), kind, "asc")
    after = _path_of(cursor)
    if deep:
        found: list[MemoryRecord | str] = list(
            await call.services.memories.memories(call.workspace, store, prefix, after=after, limit=limit + 1)
        )
    else:
        whole = await call.services.memories.memories(call.workspace, store, prefix, after="", limit=MOST_MEMORIES)
        found = [item for item in rolled_up(whole, prefix) if place(item).encode() > after.encode()][: limit + 1]
    shown = cut(found, limit, kind=kind, order="asc", cursor=cursor, mark=_mark)
    records = [item for item in shown.items if isinstance(item, MemoryRecord)]
    objects = dict(zip((record.id for record in records), await _objects(call, records, full), strict=True))
    data = [prefix_object(item) if isinstance(item, str) else objects[item.id] for item in shown.items]
    return Reply(encoded=page_bytes(data, shown.next_page))


async def get_version(call: Call) -> Reply:
    full = _full(Query(call.query), default="full")
    return Reply(version_object(await memory_version_record(call), full=full))


async def redact(call: Call) -> Reply:
    record = await memory_version_record(call)
    await call.services.memories.redact_memory_version(_write(call, record.id))
    return Reply(version_object(await memory_version_record(call), full=True))


async def list_versions(call: Call) -> Reply:
    query = Query(call.query)
    full, created = _full(query, default="basic"), query.range("created_at")
    limit = min(query.limit(default=20, most=100), MOST_FULL if full else 100)
    operation = query.text("operation") and query.choice("operation", OPERATIONS, default="created")
    where = VersionFilter(query.text("memory_id"), operation, _actor(query), created)
    store = (await memory_store_record(call)).id
    kind = f"versions of {store}"
    cursor = read_cursor(query.text("page"), kind, ORDER_OF_LISTS, created=created)
    after = cursor.position if cursor is not None and isinstance(cursor.position, tuple) else None
    found = await call.services.memories.memory_versions(call.workspace, store, where, after=after, limit=limit + 1)
    shown = cut(found, limit, kind=kind, order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([version_object(one, full=full) for one in shown.items], shown.next_page))


def _full(query: Query, *, default: Literal["basic", "full"]) -> bool:
    return query.choice("view", VIEWS, default=default) == "full"


def _write(call: Call, version: str | None = None) -> Write:
    services = call.services
    version = version or services.ids.new("memver")
    by = ("api_actor", call.key.id) if call.key.session is None else ("session_actor", call.key.session)
    return Write(call.workspace, call.path["memory_store_id"], version, services.clock.now(), *by)


async def _check_writable(call: Call) -> None:
    await require_writable(call.services.records, call.key, call.path["memory_store_id"])


async def _objects(call: Call, records: list[MemoryRecord], full: bool) -> list[dict[str, object]]:
    if not full:
        return [memory_object(record, None) for record in records]
    store, versions = call.path["memory_store_id"], [record.version for record in records]
    contents = await call.services.memories.contents(call.workspace, store, versions)
    return [memory_object(record, contents.get(record.version, b"")) for record in records]


def _actor(query: Query) -> tuple[str, str] | None:
    given = [(kind, value) for name, kind in ACTORS.items() if (value := query.text(name)) is not None]
    if len(given) > 1:
        raise InvalidRequest(f"Give at most one of {', '.join(ACTORS)}")
    return given[0] if given else None


def _mark(item: MemoryRecord | str) -> tuple[tuple[str, str], None]:
    """Paths may hold what cursors may not."""
    return (urlsafe_b64encode(place(item).encode()).decode().rstrip("="), ""), None


def _path_of(cursor: Cursor | None) -> str:
    if cursor is None or not isinstance(cursor.position, tuple):
        return ""
    text = cursor.position[0]
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        raise InvalidRequest("page: Input should be a cursor from an earlier page of this list") from None
