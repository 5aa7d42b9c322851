"""The work queue of a self-hosted environment: what its workers ask, and what operators look at."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from outrider import faults
from outrider.api.endpoint import Call, Reply
from outrider.api.lapsing import lapse
from outrider.api.leases import Place
from outrider.api.lists import ORDER_OF_LISTS, mark_created, page_of
from outrider.api.lookup import environment_record
from outrider.clock import rfc3339
from outrider.errors import InvalidRequest, NotFound, Overloaded
from outrider.ports.work import NO_HEARTBEAT, WorkItem
from outrider.resources.environments import environment_object, is_self_hosted
from outrider.resources.keys import digest, new_value
from outrider.resources.work import (
    changed_metadata,
    checked_worker_id,
    clamped_ttl,
    heartbeat_object,
    refused_heartbeat,
    secret_of,
    work_object,
)
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query
from outrider.wire.requests import parse

NOTHING = b"null"
RECLAIM_MS = 5000
POLLING = timedelta(seconds=30)
FORGOTTEN = timedelta(hours=1)
TURNS = 20


async def poll(call: Call) -> Reply:
    """JSON `null` when there is nothing, which the SDKs' workers wait for."""
    query = Query(call.query)
    block, reclaim = query.integer("block_ms", least=1, most=999), query.integer("reclaim_older_than_ms", least=0)
    place = await _place(call)
    await _note(call, place)
    await _look(call, place)
    older = (RECLAIM_MS if reclaim is None else reclaim) / 1000
    deadline = call.services.clock.monotonic() + (block or 0) / 1000
    while True:
        given = await _hand_out(call, place, older)
        left = deadline - call.services.clock.monotonic()
        if given is not None or left <= 0:
            return Reply(encoded=NOTHING) if given is None else Reply(given)
        await call.services.bell.wait(place[1], left)


async def _place(call: Call) -> Place:
    """Raises NotFound, and InvalidRequest for an environment whose sandboxes are this server's own."""
    environment = environment_object(await environment_record(call, call.path["environment_id"]))
    if not is_self_hosted(environment):
        raise InvalidRequest(f"Environment {environment['id']} is not self-hosted: it has no work queue.")
    return call.workspace, environment["id"]


async def _note(call: Call, place: Place) -> None:
    worker = call.headers.get("anthropic-worker-id")
    if worker and call.services.leases.should_note(place, checked_worker_id(worker)):
        forget = rfc3339(datetime.now(UTC) - FORGOTTEN)
        await call.services.work.note_poller(*place, worker, at=call.services.clock.now(), forget=forget)


async def _look(call: Call, place: Place) -> None:
    """See who holds what, and take from the dead what they hold."""
    call.services.leases.look(place, await call.services.work.held_work(*place))
    await lapse(call.services, place)


async def _hand_out(call: Call, place: Place, older: float) -> dict[str, object] | None:
    services, token = call.services, new_value()
    stale = services.leases.unacknowledged(place, older)
    faults.point("work.claim.before")
    item = await services.work.hand_out_work(
        *place, token=digest(token), at=services.clock.now(), stale=stale, taker=call.key.id
    )
    if item is None:
        return None
    faults.point("work.claim.after")
    return work_object(item, secret=secret_of(token))


async def ack(call: Call) -> Reply:
    place = await _place(call)
    faults.point("work.ack.before")
    item = await call.services.work.acknowledge_work(*place, call.path["work_id"], at=call.services.clock.now())
    faults.point("work.ack.after")
    return Reply(work_object(item))


async def heartbeat(call: Call) -> Reply:
    """Never answered from memory: what is asked is not in the body, and each is another."""
    query, place = Query(call.query), await _place(call)
    expected, ttl = query.text("expected_last_heartbeat"), clamped_ttl(query.integer("desired_ttl_seconds", least=1))
    faults.point("work.beat.before")
    judged, item = await call.services.work.beat_work(
        *place,
        call.path["work_id"],
        expected=expected,
        ttl=ttl,
        at=call.services.clock.now(),
        retry=_may_be_repeated(call, expected),
    )
    faults.point("work.beat.after")
    if judged == "refused":
        raise refused_heartbeat(item, expected)
    return Reply(heartbeat_object(item), kept=True)


def _may_be_repeated(call: Call, expected: str | None) -> bool:
    """The SDKs mark what they send again at once. A worker that heard nothing for long asks anew, unmarked: one that
    holds the item's token and knows its heartbeats is the same one."""
    marked = call.headers.get("x-stainless-retry-count", "0") != "0"
    return marked or (call.key.session is not None and expected != NO_HEARTBEAT)


async def stop(call: Call) -> Reply:
    request = parse("work.stop", call.body) if call.body.strip() else {}
    place, services = await _place(call), call.services
    faults.point("work.stop.before")
    item = await services.work.stop_work(
        *place,
        call.path["work_id"],
        force=request.get("force", False),
        at=services.clock.now(),
        successor=services.ids.new("work"),
    )
    faults.point("work.stop.after")
    services.bell.ring(place[1])
    return Reply(work_object(item))


async def get(call: Call) -> Reply:
    return Reply(work_object(await _item(call, await _place(call))))


async def _item(call: Call, place: Place) -> WorkItem:
    item = await call.services.work.work(*place, call.path["work_id"])
    if item is None:
        raise NotFound(f"Work item {call.path['work_id']} not found.")
    return item


async def update(call: Call) -> Reply:
    patch, place = parse("work.update", call.body)["metadata"], await _place(call)
    for _ in range(TURNS):
        item = await _item(call, place)
        after = changed_metadata(item, patch)
        if after == item.metadata:
            return Reply(work_object(item))
        await call.services.work.update_work(*place, item.id, before=item.metadata, metadata=after)
    raise Overloaded("The work item is changing too fast; try again.", retry_after=1)


async def list_work(call: Call) -> Reply:
    query, place = Query(call.query), await _place(call)
    limit = query.limit(default=20, most=100)
    kind = f"work of {place[1]}"
    cursor = read_cursor(query.text("page"), kind, ORDER_OF_LISTS)
    found = await call.services.work.works(*place, page_of(limit, cursor, created={}, include_archived=True))
    shown = cut(found, limit, kind=kind, order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([work_object(item) for item in shown.items], shown.next_page))


async def stats(call: Call) -> Reply:
    place = await _place(call)
    since = rfc3339(datetime.now(UTC) - POLLING)
    counted = await call.services.work.work_stats(*place, polled_since=since)
    return Reply({"type": "work_queue_stats", **asdict(counted)})
