"""Our own extra: a workspace's server keys, for its admins. Only the answer that made a key has its value."""

from __future__ import annotations

from outrider.api.endpoint import Call, Reply
from outrider.api.lists import ORDER_OF_LISTS, mark_created, page_of
from outrider.errors import NotFound
from outrider.ports.access import ApiKey
from outrider.resources.keys import key_object, key_request, new_key, new_value
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query


async def create(call: Call) -> Reply:
    """Never kept for retries: an answer with a key in it must not lie in the store."""
    services, value = call.services, new_value()
    request = key_request(call.body)
    key = new_key(request, value, id=services.ids.new("apikey"), workspace=call.workspace, now=services.clock.now())
    await services.ring.access.add_key(key)
    return Reply(key_object(key) | {"key": value}, kept=True)


async def get(call: Call) -> Reply:
    return Reply(key_object(await _key(call)))


async def revoke(call: Call) -> Reply:
    services, key = call.services, await _key(call)
    await services.ring.access.revoke_key(call.workspace, key.id, services.clock.now())
    await services.ring.everywhere(shared=services.log.shared)
    return Reply(key_object(await _key(call)))


async def list_keys(call: Call) -> Reply:
    query = Query(call.query)
    limit = query.limit(default=20, most=100)
    cursor = read_cursor(query.text("page"), "keys", ORDER_OF_LISTS)
    page = page_of(limit, cursor, created={}, include_archived=query.boolean("include_revoked"))
    found = await call.services.ring.access.keys(call.workspace, page)
    shown = cut(found, limit, kind="keys", order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([key_object(key) for key in shown.items], shown.next_page))


async def _key(call: Call) -> ApiKey:
    key_id = call.path["key_id"]
    key = await call.services.ring.access.key(call.workspace, key_id)
    if key is None:
        raise NotFound(f"Key {key_id} not found.")
    return key
