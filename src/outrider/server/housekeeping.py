"""What a harness does beside its sessions: each minute, erase and forget what nobody needs any more.

Owns no session. An outage ends nothing: the next round tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from outrider.api.sweep import Sweep, Withdrawal
from outrider.clock import SystemClock, rfc3339
from outrider.errors import OutriderError, Overloaded
from outrider.ids import MonotonicIds
from outrider.ports import metrics
from outrider.ports.log import SessionKey
from outrider.ports.secrets import Secrets
from outrider.ports.telemetry import Meter
from outrider.resources.mounts import secret_refs
from outrider.resources.sessions import opener_of
from outrider.server.forgetting import MemorySweep
from outrider.server.hands import AnySandboxes
from outrider.session.events import EventFactory
from outrider.session.feed import Feed
from outrider.store.opening import Store, Stores
from outrider.store.upkeep import Upkeep

HOUSEKEEPING_SECONDS = 60.0
ANSWERS_KEPT = timedelta(hours=24)
DELIVERIES_KEPT = timedelta(days=30)
log = logging.getLogger("outrider.server")


async def housekeeping(
    store: Store,
    sandboxes: AnySandboxes,
    upkeep: Upkeep,
    meter: Meter,
    sweep: Sweep,
    withdrawal: Withdrawal,
    memory: MemorySweep,
) -> None:
    """Each minute: erase what sandboxes of deleted sessions and memory stores left, secrets that no credential has and
    what deleted sessions had declared, forget old answers and what webhooks were told, and the store's own upkeep."""
    await _say_if_unable(sandboxes)
    while True:
        try:
            await store.forget_answers(rfc3339(datetime.now(UTC) - ANSWERS_KEPT))
            await store.forget_told(rfc3339(datetime.now(UTC) - DELIVERIES_KEPT))
            await sandboxes.sweep(store.living)
            await upkeep.when_due()
            await sweep.run()
            await withdrawal.run()
            await memory.run()
        except OutriderError as error:
            meter.add(metrics.HOUSEKEEPING_FAILURES)
            log.warning("housekeeping: %s", error.message)
        await asyncio.sleep(HOUSEKEEPING_SECONDS)


async def _say_if_unable(sandboxes: AnySandboxes) -> None:
    """One line for the operator; agents learn it at their first tool call."""
    able = await sandboxes.probe()
    if not able.available:
        log.warning("tools will refuse: no sandbox can be made here: %s; to mend it: %s", able.problem, able.fix)


def deleter(
    stores: Stores,
    feed: Feed,
    ids: MonotonicIds,
    clock: SystemClock,
    forget: Callable[[SessionKey], Awaitable[None]],
    secrets: Secrets,
) -> Callable[[SessionKey, str], Awaitable[bool]]:
    """Deletes a session as a client would, unless it was changed at or after the time given."""

    async def delete(key: SessionKey, before: str) -> bool:
        counters, record = await stores.rows.counters(key), await stores.rows.session(key)
        if counters is None or record is None or record.updated_at >= before:
            return False
        gone = EventFactory(record.thread, "", ids, clock).public("session.deleted")
        await stores.whole.delete_session(key, if_head=counters.head, opened_by=opener_of(record), at=clock.now())
        feed.deleted(key, gone.body)
        with contextlib.suppress(Overloaded):  # then the sweep does it
            for ref in secret_refs(record):
                await secrets.purge(ref)
        await forget(key)
        return True

    return delete


@asynccontextmanager
async def going_on(loop: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """A loop for as long as the block runs."""
    task = asyncio.create_task(loop)
    task.add_done_callback(_tell_if_failed)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _tell_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a loop has stopped until the next start", exc_info=error)
