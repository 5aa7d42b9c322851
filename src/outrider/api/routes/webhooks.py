"""Our own extra: a workspace's webhook endpoints, for its admins, and what became of what they were told.

Addresses and signing secrets go to the vault process; only the answer that made a secret shows it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import Any

from outrider import faults
from outrider.api.endpoint import Call, Reply
from outrider.api.lists import ORDER_OF_LISTS, mark_created, page_of
from outrider.errors import InvalidRequest, NotFound, OutriderError, Overloaded
from outrider.ports.vaults import LATEST, SecretRef
from outrider.ports.webhooks import IN_VAULT, Delivery, WebhookRecord
from outrider.resources.webhooks import (
    delivery_object,
    new_signing_secret,
    new_webhook,
    stored_body,
    updated_body,
    webhook_object,
    webhook_update,
)
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query

RANDOM_BITS = 24
STATES = ("pending", "delivered", "failed")


async def create(call: Call) -> Reply:
    """Never kept for retries: an answer with a secret in it must not lie in the store."""
    services, now = call.services, call.services.clock.now()
    request = new_webhook(call.body, anywhere=_anywhere(call))
    body = stored_body(request.name, request.description, request.enabled_events)
    name, secret = services.ids.new("whk"), new_signing_secret()
    record = WebhookRecord(call.workspace, name, now, now, request.url, "enabled", "", 1, 0, None, body)
    kept = {"type": "webhook", "url": record.url, "signing_secret": secret}
    await services.secrets.put(_ref(record), kept)
    faults.point("api.webhook.before")
    try:
        await services.webhooks.create_webhook(record, services.ids)
    except OutriderError:
        await _let_go(call, record)
        raise
    faults.point("api.webhook.after")
    return Reply(webhook_object(record) | {"signing_secret": secret}, kept=True)


def _anywhere(call: Call) -> bool:
    return bool(call.services.settings.webhooks.allow_private)


def _ref(record: WebhookRecord) -> SecretRef:
    return SecretRef(record.workspace, IN_VAULT, record.id, record.secret)


async def _let_go(call: Call, record: WebhookRecord) -> None:
    """Erase a secret whose record was refused; if the vault does not answer now, the sweep does it."""
    with contextlib.suppress(Overloaded):
        await call.services.secrets.purge_one(_ref(record))


async def get(call: Call) -> Reply:
    return Reply(webhook_object(await _record(call)))


async def update(call: Call) -> Reply:
    request = webhook_update(call.body, anywhere=_anywhere(call))

    async def attempt() -> Reply:
        record = await _record(call)
        changed = replace(record, body=updated_body(record, request), url=request.url or record.url)
        if request.state is not None and request.state != record.state:
            changed = replace(changed, state=request.state, reason="")
        if changed == record:
            return Reply(webhook_object(record))
        moved = {"url": changed.url} if changed.url != record.url else {}
        return Reply(webhook_object(await _put(call, record, changed, moved)))

    return await call.in_turn(attempt)


async def regenerate(call: Call) -> Reply:
    record, secret = await _record(call), new_signing_secret()
    await _put(call, record, record, {"signing_secret": secret})
    return Reply({"signing_secret": secret}, kept=True)


async def _put(call: Call, record: WebhookRecord, changed: WebhookRecord, secret: dict[str, Any]) -> WebhookRecord:
    """Store a change; what the vault has to know goes there first, as a version of its own."""
    services = call.services
    changed = replace(changed, updated_at=services.clock.now())
    if not secret:
        await services.webhooks.update_webhook(changed, services.ids, if_updated=record.updated_at)
        return changed
    changed = replace(changed, secret=_next_secret(record.secret))
    await services.secrets.patch(_ref(changed), record.secret, secret)
    try:
        await services.webhooks.update_webhook(changed, services.ids, if_updated=record.updated_at)
    except OutriderError:
        await _let_go(call, changed)
        raise
    with contextlib.suppress(Overloaded):
        await services.secrets.purge(_ref(record))
    return changed


def _next_secret(before: int) -> int:
    """A version above all earlier ones, and another one for each of two updates at once."""
    return ((before >> RANDOM_BITS) + 1) << RANDOM_BITS | int.from_bytes(os.urandom(3), "big")


async def delete(call: Call) -> Reply:
    record = await _record(call)
    await call.services.webhooks.delete_webhook(call.workspace, record.id)
    with contextlib.suppress(Overloaded):
        await call.services.secrets.purge(replace(_ref(record), version=LATEST))
    return Reply({"id": record.id, "type": "webhook_endpoint_deleted"})


async def list_webhooks(call: Call) -> Reply:
    query = Query(call.query)
    limit = query.limit(default=20, most=100)
    cursor = read_cursor(query.text("page"), "webhooks", ORDER_OF_LISTS)
    found = await call.services.webhooks.webhooks(
        call.workspace, page_of(limit, cursor, created={}, include_archived=True)
    )
    shown = cut(found, limit, kind="webhooks", order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([webhook_object(record) for record in shown.items], shown.next_page))


async def list_deliveries(call: Call) -> Reply:
    record, query = await _record(call), Query(call.query)
    limit, kind = query.limit(default=20, most=100), f"deliveries of {record.id}"
    state = query.text("state")
    if state is not None and state not in STATES:
        raise InvalidRequest(f"state: Input should be one of {', '.join(STATES)}")
    cursor = read_cursor(query.text("page"), kind, ORDER_OF_LISTS)
    page = page_of(limit, cursor, created={}, include_archived=True)
    found = await call.services.webhooks.deliveries(
        call.workspace, record.id, state=state, after=page.after, limit=page.limit
    )
    shown = cut(found, limit, kind=kind, order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([delivery_object(one) for one in shown.items], shown.next_page))


async def get_delivery(call: Call) -> Reply:
    return Reply(delivery_object(await _delivery(call)))


async def resend(call: Call) -> Reply:
    """The same event under the same id, with as many attempts as a new one."""
    record, delivery = await _record(call), await _delivery(call)
    if record.state != "enabled":
        raise InvalidRequest(f"Webhook {record.id} is disabled: enable it first.")
    now = call.services.clock.now()
    await call.services.webhooks.resend(call.workspace, record.id, delivery.id, now)
    return Reply(delivery_object(await _delivery(call)))


async def _record(call: Call) -> WebhookRecord:
    webhook_id = call.path["webhook_id"]
    record = await call.services.webhooks.webhook(call.workspace, webhook_id)
    if record is None:
        raise NotFound(f"Webhook {webhook_id} not found.")
    return record


async def _delivery(call: Call) -> Delivery:
    delivery_id = call.path["delivery_id"]
    found = await call.services.webhooks.delivery(call.workspace, call.path["webhook_id"], delivery_id)
    if found is None:
        raise NotFound(f"Delivery {delivery_id} not found.")
    return found
