"""Webhooks in memory, for tests and trials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from outrider.errors import Conflict, Fenced, InvalidRequest, NotFound
from outrider.ids import IdSource
from outrider.ports.log import Row, SessionKey
from outrider.ports.records import Page
from outrider.ports.vaults import Change, SecretRef
from outrider.ports.webhooks import (
    DETAILS,
    IN_VAULT,
    MOST_WEBHOOKS,
    TOLD,
    Courier,
    Delivery,
    Settled,
    Until,
    WebhookRecord,
)
from outrider.resources.webhooks import DISABLED, enabled_events, listeners, payload, told_as
from outrider.testing.memory_vaults import MemoryVaults
from outrider.testing.paging import newest_first, one_stretch


class MemoryWebhooks(MemoryVaults):
    """Implements `WebhookRecords`."""

    def __init__(self) -> None:
        super().__init__()
        self._webhooks: dict[tuple[str, str], WebhookRecord] = {}
        self._deliveries: dict[tuple[str, str, str], Delivery] = {}
        self._untold: list[Change] = []
        self._couriers = [Courier("", 0, 0)]

    def _listening(self, workspace: str) -> list[WebhookRecord]:
        found = (one for one in self._webhooks.values() if (one.workspace, one.state) == (workspace, "enabled"))
        return sorted(found, key=lambda one: (one.created_at, one.id))

    async def add_change(self, change: Change) -> None:
        await super().add_change(change)
        if self._listening(change.workspace):
            self._untold.append(change)

    def _tell(self, key: SessionKey, rows: Iterable[Row]) -> None:
        """Of what enters a log."""
        for row in rows:
            if row.type in TOLD:
                why = (word for word in DETAILS if b'"stop_reason":{"type":"%s"' % word.encode() in row.body)
                detail = next(why, None) if row.type == "session.status_idle" else None
                at = row.processed_at or ""
                change = Change(key.workspace, row.type, key.session, at, thread=row.thread, detail=detail)
                self._note_untold(change)

    def _note_untold(self, change: Change) -> None:
        """Only where somebody listens."""
        if self._listening(change.workspace):
            self._changes.append(replace(change, seq=len(self._changes) + 1))
            self._untold.append(change)

    async def secret_refs(self) -> set[SecretRef]:
        ours = {SecretRef(one.workspace, IN_VAULT, one.id, one.secret) for one in self._webhooks.values()}
        return await super().secret_refs() | ours

    async def create_webhook(self, record: WebhookRecord, ids: IdSource) -> None:
        if sum(workspace == record.workspace for workspace, _ in self._webhooks) >= MOST_WEBHOOKS:
            raise InvalidRequest(f"The workspace has {MOST_WEBHOOKS} webhooks, the most that it may.")
        self._take_changes(ids, record.updated_at, record.workspace)
        self._webhooks[record.workspace, record.id] = record

    async def webhook(self, workspace: str, webhook_id: str) -> WebhookRecord | None:
        return self._webhooks.get((workspace, webhook_id))

    async def webhooks(self, workspace: str, page: Page) -> list[WebhookRecord]:
        return one_stretch((one for one in self._webhooks.values() if one.workspace == workspace), page)

    async def update_webhook(self, record: WebhookRecord, ids: IdSource, *, if_updated: str) -> None:
        self._take_changes(ids, record.updated_at, record.workspace)
        current = self._webhooks.get((record.workspace, record.id))
        if current is None or current.updated_at != if_updated:
            raise Conflict(f"Webhook {record.id} was changed or deleted at the same time.")
        same = current.state == record.state
        failures, since = (current.failures, current.failing_since) if same else (0, None)
        self._webhooks[record.workspace, record.id] = replace(
            record, created_at=current.created_at, failures=failures, failing_since=since
        )
        if record.state == "disabled":
            self._give_up(record.workspace, record.id)

    def _give_up(self, workspace: str, webhook_id: str) -> None:
        for place, one in self._deliveries.items():
            if place[:2] == (workspace, webhook_id) and one.state == "pending":
                self._deliveries[place] = replace(one, state="failed", problem=DISABLED)

    async def delete_webhook(self, workspace: str, webhook_id: str) -> None:
        if self._webhooks.pop((workspace, webhook_id), None) is None:
            raise NotFound(f"Webhook {webhook_id} was not found.")
        self._erase_about(workspace, webhook_id)
        for place in [place for place in self._deliveries if place[:2] == (workspace, webhook_id)]:
            del self._deliveries[place]

    async def untold(self) -> bool:
        return bool(self._untold)

    async def fan_out(self, ids: IdSource, now: str, *, limit: int) -> int:
        return self._take_changes(ids, now, None, limit)

    def _take_changes(self, ids: IdSource, now: str, workspace: str | None, limit: int | None = None) -> int:
        taken = [one for one in self._untold if workspace in (None, one.workspace)][:limit]
        for change in taken:
            self._untold.remove(change)
            listening = [(one.id, enabled_events(one.body)) for one in self._listening(change.workspace)]
            for kind in told_as(change):
                event = ids.new("whe")
                for id in listeners(listening, kind):
                    text, name = payload(change, kind, event), ids.new("whd")
                    made = Delivery(change.workspace, id, name, event, kind, text, now, due=now)
                    self._deliveries[change.workspace, id, name] = made
        return len(taken)

    async def webhooks_due(self, until: Until) -> list[WebhookRecord]:
        places = sorted({place[:2] for place, one in self._deliveries.items() if _is_due(one, until)})
        return [self._webhooks[place] for place in places if self._webhooks[place].state == "enabled"]

    async def due(self, workspace: str, webhook_id: str, until: Until, *, limit: int) -> list[Delivery]:
        found = (one for place, one in self._deliveries.items() if place[:2] == (workspace, webhook_id))
        return sorted((one for one in found if _is_due(one, until)), key=lambda one: one.due)[:limit]

    async def settle(self, courier: Courier, settled: Sequence[Settled], *, sustained: tuple[int, str]) -> None:
        if not self._is_current(courier):
            raise Fenced("Another process delivers the webhooks.")
        for one in settled:
            done = one.delivery
            place = (done.workspace, done.webhook, done.id)
            before = self._deliveries.get(place)
            if before is not None and before.state == "pending":
                self._deliveries[place] = done
                self._judge(done, one.disable, sustained)

    def _judge(self, done: Delivery, disable: str | None, sustained: tuple[int, str]) -> None:
        place = (done.workspace, done.webhook)
        record = self._webhooks[place]
        if done.state == "delivered":
            self._webhooks[place] = replace(record, failures=0, failing_since=None)
            return
        if record.state != "enabled":
            return
        failures, since = record.failures + (done.state == "failed"), record.failing_since or done.tried_at
        record = replace(record, failures=failures, failing_since=since)
        if since is not None and since <= sustained[1] and failures >= sustained[0]:
            disable = disable or "sustained_failure"
        if disable is not None:
            record = replace(record, state="disabled", reason=disable, updated_at=done.tried_at or "")
        self._webhooks[place] = record
        if disable is not None:
            self._give_up(*place)

    async def delivery(self, workspace: str, webhook_id: str, delivery_id: str) -> Delivery | None:
        return self._deliveries.get((workspace, webhook_id, delivery_id))

    async def deliveries(
        self, workspace: str, webhook_id: str, *, state: str | None, after: tuple[str, str] | None, limit: int
    ) -> list[Delivery]:
        found = (one for place, one in self._deliveries.items() if place[:2] == (workspace, webhook_id))
        listed = newest_first(one for one in found if state in (None, one.state))
        return [one for one in listed if after is None or (one.created_at, one.id) < after][:limit]

    async def resend(self, workspace: str, webhook_id: str, delivery_id: str, now: str) -> None:
        place = (workspace, webhook_id, delivery_id)
        if place not in self._deliveries:
            raise NotFound(f"Delivery {delivery_id} was not found.")
        if self._deliveries[place].state != "pending":
            self._deliveries[place] = replace(self._deliveries[place], state="pending", attempts=0, due=now)

    async def forget_told(self, before: str) -> None:
        for place, one in list(self._deliveries.items()):
            if one.state != "pending" and one.created_at < before:
                del self._deliveries[place]
        old = [one for one in self._changes[:-1] if one.at < before and one not in self._untold]
        self._changes[:] = [one for one in self._changes if one not in old]

    def _is_current(self, courier: Courier) -> bool:
        now = self._couriers[0]
        return (now.owner, now.epoch) == (courier.owner, courier.epoch)

    async def courier(self) -> Courier:
        return self._couriers[0]

    async def appoint(self, owner: str, instead_of: Courier) -> Courier | None:
        now = self._couriers[0]
        if now.epoch != instead_of.epoch or (now.owner and now.beats != instead_of.beats):
            return None
        self._couriers[0] = Courier(owner, now.epoch + 1, 0)
        return self._couriers[0]

    async def beat_courier(self, courier: Courier) -> bool:
        if not self._is_current(courier):
            return False
        now = self._couriers[0]
        self._couriers[0] = replace(now, beats=now.beats + 1)
        return True

    async def resign_courier(self, courier: Courier) -> None:
        if self._is_current(courier):
            self._couriers[0] = replace(self._couriers[0], owner="")


def _is_due(one: Delivery, until: Until) -> bool:
    return one.state == "pending" and (one.due <= until.now or one.due > until.beyond)
