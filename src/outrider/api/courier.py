"""Tells webhook endpoints what happened: takes changes up as deliveries, has the vault send them, records the outcome.

Of all processes on a store one does this at a time: the courier that was appointed last. What another one still sends
is sent twice, under the same id; what it still records is refused. Nothing is lost by a death at any point: a change
waits until its deliveries are stored, a delivery waits until its outcome is. Not promised: any order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from outrider import faults
from outrider.clock import Clock, rfc3339
from outrider.config import WebhookSettings
from outrider.errors import Fenced, NotFound, OutriderError, causes
from outrider.ids import IdSource
from outrider.ports import metrics
from outrider.ports.log import Row, SessionKey
from outrider.ports.telemetry import Meter
from outrider.ports.vaults import SecretRef
from outrider.ports.webhooks import (
    IN_VAULT,
    TOLD,
    Courier,
    Delivery,
    Sender,
    Sent,
    Settled,
    Until,
    WebhookRecord,
    WebhookRecords,
)

LOOK_SECONDS = 1.0
BEAT_SECONDS = 1.0
DEAD_AFTER = 3.0
IDLE_AFTER = 30.0
PAUSE_SECONDS = 0.02  # between two looks, however often the bell rings
AT_ONCE = 32
EACH_AT_ONCE = 8
CHANGES_AT_ONCE = 200
ATTEMPTS = 3
GROWTH = 4.0
SUSTAINED_EVENTS = 20
SUSTAINED = timedelta(hours=1)

log = logging.getLogger("outrider.api")


@dataclass(slots=True)
class _Outcome:
    settled: Settled
    stored: asyncio.Future[None]


@dataclass(slots=True)
class _Office:
    """What one term of this process as courier holds; it ends with the term."""

    courier: Courier
    group: asyncio.TaskGroup
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    serving: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    outcomes: list[_Outcome] = field(default_factory=list[_Outcome])
    more: asyncio.Event = field(default_factory=asyncio.Event)


class Deliveries:
    """`run` for as long as the process delivers; `name` is this process's own."""

    def __init__(
        self,
        store: WebhookRecords,
        sender: Sender,
        settings: WebhookSettings,
        about: tuple[IdSource, Clock, Meter],
        name: str,
        *,
        shared: bool,
        chance: random.Random | None = None,
    ) -> None:
        self._store = store
        self._sender = sender
        self._settings = settings
        self._ids, self._clock, self._meter = about
        self._name = name
        self._shared = shared
        self._chance = chance or random.Random()
        self._bell = asyncio.Event()
        self._busy = False
        self._seen: tuple[Courier, float] | None = None

    def ring(self, _key: SessionKey, rows: list[Row]) -> None:
        """Rows were appended: while there has been something to tell lately, look at once."""
        if self._busy and any(row.type in TOLD for row in rows):
            self._bell.set()

    async def run(self) -> None:
        """Until it is cancelled. An outage ends nothing: it looks again."""
        while True:
            try:
                courier = await self._appointed() if await self._is_work() else None
                if courier is not None:
                    await self._term(courier)
            except* OutriderError as errors:
                for words in dict.fromkeys(error.message for error in causes(errors)):
                    log.warning("webhooks: %s", words)
            await self._wait(LOOK_SECONDS)

    async def _is_work(self) -> bool:
        return await self._store.untold() or bool(await self._store.webhooks_due(self._until()))

    async def _appointed(self) -> Courier | None:
        """Our appointment, if nobody else is at work: a courier that has not moved for long enough, by our own clock,
        is taken for dead."""
        now, there = self._clock.monotonic(), await self._store.courier()
        if there.owner and self._shared:
            if self._seen is None or self._seen[0] != there:
                self._seen = (there, now)
            if now - self._seen[1] < DEAD_AFTER:
                return None
        self._seen = None
        return await self._store.appoint(self._name, there)

    async def _term(self, courier: Courier) -> None:
        """Deliver until there has been nothing to do for a while, or somebody else was appointed."""
        self._busy = True
        try:
            async with self._office(courier) as office:
                quiet_since = self._clock.monotonic()
                while self._clock.monotonic() - quiet_since < IDLE_AFTER:
                    if await self._round(office):
                        quiet_since = self._clock.monotonic()
                    await self._wait(LOOK_SECONDS)
        finally:
            self._busy = False
            with contextlib.suppress(OutriderError):
                await self._store.resign_courier(courier)

    @asynccontextmanager
    async def _office(self, courier: Courier) -> AsyncGenerator[_Office]:
        async with asyncio.TaskGroup() as group:
            office = _Office(courier, group)
            loops = [group.create_task(self._record(office))]
            if self._shared:
                loops.append(group.create_task(self._beat(courier)))
            yield office
            for loop in loops:
                loop.cancel()

    async def _round(self, office: _Office) -> bool:
        """Whether there was something to do, or still is."""
        told = await self._fan_out()
        due = await self._store.webhooks_due(self._until())
        for record in due:
            place = (record.workspace, record.id)
            if place not in office.serving:
                office.serving.add(place)
                office.group.create_task(self._serve(office, record))
        return told or bool(due) or bool(office.serving)

    async def _fan_out(self) -> bool:
        told = False
        while await self._store.untold():
            faults.point("webhook.fan_out.before")
            count = await self._store.fan_out(self._ids, self._clock.now(), limit=CHANGES_AT_ONCE)
            faults.point("webhook.fan_out.after")
            told = told or count > 0
            if count < CHANGES_AT_ONCE:
                break
        return told

    async def _serve(self, office: _Office, record: WebhookRecord) -> None:
        """All that is due for one endpoint, a few at a time."""
        place = (record.workspace, record.id)
        try:
            while due := await self._store.due(*place, self._until(), limit=EACH_AT_ONCE * 4):
                each = asyncio.Semaphore(EACH_AT_ONCE)
                async with asyncio.TaskGroup() as group:
                    for one in due:
                        group.create_task(self._deliver(office, record, one, each))
        except* OutriderError as errors:  # the vault or the store is away: it is tried again at the next look
            for error in causes(errors):
                if isinstance(error, Fenced):
                    raise error from None
            log.warning("webhook %s: %s", record.id, causes(errors)[0])
        finally:
            office.serving.discard(place)

    async def _deliver(
        self, office: _Office, record: WebhookRecord, delivery: Delivery, each: asyncio.Semaphore
    ) -> None:
        async with each, office.slots:
            sent = await self._sent(record, delivery)
        outcome = _Outcome(self._settled(delivery, sent), asyncio.get_running_loop().create_future())
        self._meter.add(metrics.WEBHOOK_ATTEMPTS, sent.disable or _word(sent.status))
        office.outcomes.append(outcome)
        office.more.set()
        await outcome.stored

    async def _sent(self, record: WebhookRecord, delivery: Delivery) -> Sent:
        ref = SecretRef(record.workspace, IN_VAULT, record.id, record.secret)
        faults.point("webhook.send.before")
        try:
            sent = await self._sender.send(ref, delivery.event, delivery.payload)
        except NotFound:
            sent = Sent(None, "the vault holds no signing secret for this endpoint: make a new one")
        faults.point("webhook.send.after")
        return sent

    def _settled(self, delivery: Delivery, sent: Sent) -> Settled:
        attempts, now = delivery.attempts + 1, self._clock.now()
        after = replace(delivery, attempts=attempts, tried_at=now, status=sent.status, problem=sent.problem)
        if sent.status is not None and sent.problem is None:
            return Settled(replace(after, state="delivered"))
        if sent.disable is not None or attempts >= ATTEMPTS:
            return Settled(replace(after, state="failed"), sent.disable)
        pause = self._pause(attempts)
        if pause < LOOK_SECONDS:
            asyncio.get_running_loop().call_later(pause, self._bell.set)
        return Settled(replace(after, due=_later(now, pause)))

    def _pause(self, attempts: int) -> float:
        """Before the next attempt, in seconds."""
        told = self._settings
        least = min(told.retry_most, told.retry_first * GROWTH ** (attempts - 1))
        return self._chance.uniform(least, min(told.retry_most, 2 * least))

    async def _record(self, office: _Office) -> None:
        """Outcomes that came while others were stored are stored together."""
        while True:
            await office.more.wait()
            office.more.clear()
            taken, office.outcomes = office.outcomes, []
            since = _later(self._clock.now(), -SUSTAINED.total_seconds())
            faults.point("webhook.settle.before")
            settled = [one.settled for one in taken]
            try:
                await self._store.settle(office.courier, settled, sustained=(SUSTAINED_EVENTS, since))
            except OutriderError as error:
                for one in taken:
                    if not one.stored.done():
                        one.stored.set_exception(error)
                continue
            faults.point("webhook.settle.after")
            for one in taken:
                if not one.stored.done():
                    one.stored.set_result(None)

    async def _beat(self, courier: Courier) -> None:
        """A courier that can't be seen to live, for as long as others wait, stops."""
        beaten = self._clock.monotonic()
        while True:
            try:
                async with asyncio.timeout(DEAD_AFTER):
                    if not await self._store.beat_courier(courier):
                        raise Fenced("Another process delivers the webhooks.")
                beaten = self._clock.monotonic()
            except Fenced:
                raise
            except (TimeoutError, OutriderError):
                if self._clock.monotonic() - beaten > DEAD_AFTER:
                    raise Fenced("Another process delivers the webhooks, or may.") from None
            await asyncio.sleep(BEAT_SECONDS)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(PAUSE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        self._bell.clear()

    def _until(self) -> Until:
        now = self._clock.now()
        return Until(now, _later(now, self._settings.retry_most + 1))


def _later(moment: str, seconds: float) -> str:
    return rfc3339(datetime.fromisoformat(moment) + timedelta(seconds=seconds))


def _word(status: int | None) -> str:
    return "no_answer" if status is None else f"{status // 100}xx"
