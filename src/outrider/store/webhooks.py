"""Webhook endpoints, deliveries and the courier, on every store. No secret comes by here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from outrider.errors import Conflict, Fenced, InvalidRequest, NotFound
from outrider.ids import IdSource
from outrider.ports.records import Page
from outrider.ports.vaults import Change
from outrider.ports.webhooks import MOST_WEBHOOKS, Courier, Delivery, Settled, Until, WebhookRecord
from outrider.resources.webhooks import DISABLED, enabled_events, listeners, payload, told_as
from outrider.store import shapes
from outrider.store.answers import erase_about
from outrider.store.steps import Recorded, Steps, erase, first, rows, run

EVERY = 1_000_000
NOBODY = Courier("", 0, 0)
SUSTAINED = "sustained_failure"


class StoredWebhooks(Recorded):
    """Implements `WebhookRecords`."""

    async def create_webhook(self, record: WebhookRecord, ids: IdSource) -> None:
        await self._walks.walk(partial(_create, record, ids))

    async def webhook(self, workspace: str, webhook_id: str) -> WebhookRecord | None:
        return next(iter(await self._reads.one("webhook", {"workspace": workspace, "id": webhook_id}, _webhooks)), None)

    async def webhooks(self, workspace: str, page: Page) -> list[WebhookRecord]:
        name = shapes.ordered("webhooks", descending=page.descending)
        return await self._reads.fetch(name, shapes.page_values(workspace, page), _webhooks)

    async def update_webhook(self, record: WebhookRecord, ids: IdSource, *, if_updated: str) -> None:
        await self._walks.walk(partial(_update, record, ids, if_updated))

    async def delete_webhook(self, workspace: str, webhook_id: str) -> None:
        await self._walks.walk(partial(_delete, {"workspace": workspace, "id": webhook_id}))

    async def untold(self) -> bool:
        return await self._reads.one("untold", {}, bool)

    async def fan_out(self, ids: IdSource, now: str, *, limit: int) -> int:
        return await self._walks.walk(partial(_fan_out, ids, now, None, limit))

    async def webhooks_due(self, until: Until) -> list[WebhookRecord]:
        return await self._reads.fetch("webhooks_due", shapes.fields(until), _webhooks)

    async def due(self, workspace: str, webhook_id: str, until: Until, *, limit: int) -> list[Delivery]:
        values = {"workspace": workspace, "id": webhook_id, "limit": limit, **shapes.fields(until)}
        return await self._reads.fetch("due", values, _deliveries)

    async def settle(self, courier: Courier, settled: Sequence[Settled], *, sustained: tuple[int, str]) -> None:
        await self._walks.walk(partial(_settle, courier, settled, sustained))

    async def delivery(self, workspace: str, webhook_id: str, delivery_id: str) -> Delivery | None:
        values = {"workspace": workspace, "webhook": webhook_id, "id": delivery_id}
        return next(iter(await self._reads.one("delivery", values, _deliveries)), None)

    async def deliveries(
        self, workspace: str, webhook_id: str, *, state: str | None, after: tuple[str, str] | None, limit: int
    ) -> list[Delivery]:
        time, id = after or (shapes.HIGHEST_TEXT, "")
        values = {"workspace": workspace, "webhook": webhook_id, "state": state, "limit": limit}
        place = {"after_time": time, "after_id": id}
        return await self._reads.fetch("deliveries_newest_first", values | place, _deliveries)

    async def resend(self, workspace: str, webhook_id: str, delivery_id: str, now: str) -> None:
        values = {"workspace": workspace, "webhook": webhook_id, "id": delivery_id, "now": now}
        await self._walks.walk(partial(_resend, values))

    async def forget_told(self, before: str) -> None:
        await self._walks.walk(partial(_forget, before))

    async def courier(self) -> Courier:
        return await self._reads.one("courier", {}, lambda found: Courier(*found[0]) if found else NOBODY)

    async def appoint(self, owner: str, instead_of: Courier) -> Courier | None:
        done = await self._walks.walk(partial(_appoint, owner, instead_of))
        return Courier(owner, instead_of.epoch + 1, 0) if done else None

    async def beat_courier(self, courier: Courier) -> bool:
        return await self._walks.walk(partial(_beat, courier, 1))

    async def resign_courier(self, courier: Courier) -> None:
        await self._walks.walk(partial(run, "resign_courier", shapes.fields(courier)))


def _webhooks(found: list[Any]) -> list[WebhookRecord]:
    return [WebhookRecord(*row) for row in found]


def _deliveries(found: list[Any]) -> list[Delivery]:
    return [Delivery(*row) for row in found]


def _create(record: WebhookRecord, ids: IdSource) -> Steps[None]:
    names = {"workspace": record.workspace}
    yield from run("hold_workspace_of_webhooks", names)
    if (yield from rows("count_webhooks", names))[0][0] >= MOST_WEBHOOKS:
        raise InvalidRequest(f"The workspace has {MOST_WEBHOOKS} webhooks, the most that it may.")
    yield from _fan_out(ids, record.updated_at, record.workspace, EVERY)
    yield from run("insert_webhook", shapes.fields(record))


def _update(record: WebhookRecord, ids: IdSource, if_updated: str) -> Steps[None]:
    yield from _fan_out(ids, record.updated_at, record.workspace, EVERY)
    if (yield from run("update_webhook", {**shapes.fields(record), "if_updated": if_updated})) != 1:
        raise Conflict(f"Webhook {record.id} was changed or deleted at the same time.")
    if record.state == "disabled":
        yield from run("drop_pending", {"workspace": record.workspace, "id": record.id, "problem": DISABLED})


def _delete(names: dict[str, str]) -> Steps[None]:
    if (yield from erase("delete_webhook", names)) != 1:
        raise NotFound(f"Webhook {names['id']} was not found.")
    yield from erase("delete_deliveries", names)
    yield from erase_about(names["workspace"], names["id"])


def _fan_out(ids: IdSource, now: str, workspace: str | None, limit: int) -> Steps[int]:
    taken = yield from rows("take_changes", {"workspace": workspace, "limit": limit})
    changes = sorted((Change(*row) for row in taken), key=lambda change: change.seq)
    endpoints: dict[str, list[tuple[str, frozenset[str]]]] = {}
    for change in changes:
        if change.workspace not in endpoints:
            found = yield from rows("listening", {"workspace": change.workspace})
            endpoints[change.workspace] = [(row[0], enabled_events(row[1])) for row in found]
        for kind in told_as(change):
            event = ids.new("whe")
            for webhook in listeners(endpoints[change.workspace], kind):
                text = payload(change, kind, event)
                made = Delivery(change.workspace, webhook, ids.new("whd"), event, kind, text, now, due=now)
                yield from run("insert_delivery", shapes.fields(made))
    return len(changes)


def _settle(courier: Courier, settled: Sequence[Settled], sustained: tuple[int, str]) -> Steps[None]:
    if not (yield from _beat(courier, 0)):
        raise Fenced("Another process delivers the webhooks.")
    for one in settled:
        done = one.delivery
        names = {"workspace": done.workspace, "webhook": done.webhook, "at": done.tried_at}
        if (yield from run("settle_delivery", shapes.fields(done))) != 1:
            continue
        if done.state == "delivered":
            yield from run("webhook_answered", names)
            continue
        yield from run("webhook_failed", names | {"dropped": int(done.state == "failed")})
        reason = one.disable or (yield from _failed_for_long(names, sustained))
        if reason and (yield from run("disable_webhook", names | {"reason": reason})):
            yield from run("drop_pending", {"workspace": done.workspace, "id": done.webhook, "problem": DISABLED})


def _failed_for_long(names: dict[str, Any], sustained: tuple[int, str]) -> Steps[str | None]:
    found = yield from first("webhook", {"workspace": names["workspace"], "id": names["webhook"]})
    if found is None:
        return None
    record, (failures, since) = WebhookRecord(*found), sustained
    long = record.failing_since is not None and record.failing_since <= since
    return SUSTAINED if long and record.failures >= failures else None


def _resend(values: dict[str, str]) -> Steps[None]:
    if (yield from run("resend", values)) != 1 and (yield from first("delivery", values)) is None:
        raise NotFound(f"Delivery {values['id']} was not found.")


def _forget(before: str) -> Steps[None]:
    yield from run("forget_deliveries", {"before": before})
    yield from run("forget_changes", {"before": before})


def _appoint(owner: str, instead_of: Courier) -> Steps[bool]:
    yield from run("first_courier", {})
    values = {"owner": owner, "if_epoch": instead_of.epoch, "if_beats": instead_of.beats}
    return (yield from run("appoint", values)) == 1


def _beat(courier: Courier, count: int) -> Steps[bool]:
    return (yield from run("beat_courier", {**shapes.fields(courier), "count": count})) == 1
