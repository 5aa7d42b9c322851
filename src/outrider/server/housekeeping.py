"""What a harness does beside its sessions: each minute, erase and forget what nobody needs any more.

Owns no session. Whatever fails, the other parts of the round are done, and the next one tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from outrider.api.sweep import Sweep, Withdrawal
from outrider.clock import SystemClock, rfc3339
from outrider.errors import OutriderError, Overloaded
from outrider.ids import MonotonicIds
from outrider.ports import metrics
from outrider.ports.log import SessionKey
from outrider.ports.sandbox import Sandboxes
from outrider.ports.secrets import Secrets
from outrider.ports.telemetry import Meter
from outrider.resources.mounts import secret_refs
from outrider.resources.sessions import opener_of
from outrider.server.forgetting import MemorySweep
from outrider.session.events import EventFactory
from outrider.session.feed import Feed
from outrider.store.opening import Store, Stores
from outrider.store.upkeep import Upkeep

HOUSEKEEPING_SECONDS = 60.0
ANSWERS_KEPT = timedelta(hours=24)
DELIVERIES_KEPT = timedelta(days=30)
Part = Callable[[], Awaitable[object]]
log = logging.getLogger("outrider.server")


def parts_of(
    store: Store, sandboxes: Sandboxes, upkeep: Upkeep, sweep: Sweep, withdrawal: Withdrawal, memory: MemorySweep
) -> dict[str, Part]:
    """By what they clear up: old answers and what webhooks were told are forgotten; what sandboxes of deleted sessions
    and memory stores left is erased, as are secrets that no credential has and what deleted sessions had declared."""
    return {
        "stored answers": lambda: store.forget_answers(rfc3339(datetime.now(UTC) - ANSWERS_KEPT)),
        "webhooks": lambda: store.forget_told(rfc3339(datetime.now(UTC) - DELIVERIES_KEPT)),
        "sandboxes": lambda: sandboxes.sweep(store.living),
        **upkeep.parts(),
        "secrets": sweep.run,
        "declarations": withdrawal.run,
        "memory": memory.run,
    }


async def housekeeping(
    sandboxes: Sandboxes, parts: Mapping[str, Part], meter: Meter, *, seconds: float = HOUSEKEEPING_SECONDS
) -> None:
    """All parts in turn, and again after so many seconds."""
    await _done("sandboxes", lambda: _say_if_unable(sandboxes), meter)
    while True:
        for name, part in parts.items():
            await _done(name, part, meter)
        await asyncio.sleep(seconds)


async def _done(name: str, part: Part, meter: Meter) -> None:
    """Or failed, in whatever way: nothing would clear up for as long as the server lives."""
    (result,) = await asyncio.gather(part(), return_exceptions=True)
    if isinstance(result, BaseException):
        meter.add(metrics.HOUSEKEEPING_FAILURES)
        if isinstance(result, OutriderError):
            log.warning("housekeeping: %s: %s", name, result.message)
        else:
            log.error("housekeeping: %s failed in an unforeseen way", name, exc_info=result)


async def _say_if_unable(sandboxes: Sandboxes) -> None:
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
