"""Looks at one session for what is wrong with it, and mends that through the log's own rules: a silent owner is buried,
rows are appended under a new epoch, projections and snapshots are written by an owner. Judges nothing itself; see
`session/repair.py`. Does not promise that what it woke has come to rest."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from outrider.api.intake import factory_for
from outrider.api.services import Services
from outrider.errors import Fenced, HeadMoved, NotFound, Overloaded
from outrider.ports.log import Attendance, Lease, Row, SessionKey, Snapshot, is_last
from outrider.session import state as states
from outrider.session.repair import AT_WORK, Fault, Seen, examine, mending_rows, whole_state

PAGE = 1000
TRIES = 20
PAUSE_SECONDS = 0.1
SILENT_SECONDS = 3.0  # as long as harnesses wait before they bury one another
UNDRIVEN_SECONDS = 1.0
PASSED_OVER_SECONDS = 2.5  # harnesses with room look each second

log = logging.getLogger("outrider.api")


@dataclass(frozen=True, slots=True)
class Report:
    """`found` before anything was done; `left` after it, None when nothing was to be done."""

    found: list[Fault]
    left: list[Fault] | None = None


async def inspect(services: Services, key: SessionKey) -> Report:
    """What is wrong, changing nothing. Raises NotFound; Overloaded when the session never stands still."""
    return Report(examine(await _look(services, key)))


async def mend(services: Services, key: SessionKey) -> Report:
    """Mend what can be mended; a session in order is not touched. Raises as `inspect`."""
    seen = await _look(services, key)
    found = examine(seen)
    if not found or whole_state(seen) is None:
        return Report(found, found)
    log.warning("session %s is repaired: %s", key.session, ", ".join(sorted({fault.kind for fault in found})))
    if seen.silent and seen.attendance is not None and seen.attendance.owner is not None:
        await services.log.bury(seen.attendance.owner)
    if _to_rewrite(seen, found):
        await _rewrite(services, key)
    elif seen.attendance is None:
        await services.log.append_client(key, [], if_head=None, wake=True)
    services.dispatch.ring()
    return Report(found, examine(await _look(services, key)))


def _to_rewrite(seen: Seen, found: list[Fault]) -> bool:
    """Whether there is more to do than to find the session an owner."""
    kinds = {fault.kind for fault in found}
    state = whole_state(seen)
    at_rest = state is not None and state.status not in AT_WORK
    return bool(kinds & {"snapshot-differs", "record-differs"}) or (at_rest and bool(kinds))


async def _look(services: Services, key: SessionKey) -> Seen:
    """The session, and how its owner or its wait went while it was watched for up to some seconds."""
    for _ in range(TRIES):
        first = (await _see(services, key)).attendance
        silent = first is not None and first.owner is not None and await _silent(services, key, first.owner)
        waits = Attendance(None)
        passed_over = first == waits and not await _changes(services, key, waits, PASSED_OVER_SECONDS)
        seen = await _see(services, key)
        if seen.attendance == first:
            return replace(seen, silent=silent, passed_over=passed_over)
    raise _restless()


async def _see(services: Services, key: SessionKey) -> Seen:
    """All that is stored of it, at one place of its log."""
    for _ in range(TRIES):
        head = await services.log.head(key)
        rows = await _rows(services, key)
        record = await services.records.session(key)
        snapshot, attendance = await services.log.snapshot(key), await services.log.attendance(key)
        if record is None:
            raise NotFound(f"Session {key.session} not found.")
        if head == len(rows) == await services.log.head(key):
            return Seen(record, rows, snapshot, attendance)
        await asyncio.sleep(PAUSE_SECONDS)
    raise _restless()


async def _rows(services: Services, key: SessionKey) -> list[Row]:
    rows: list[Row] = []
    while True:
        page = await services.log.read(key, after=len(rows), limit=PAGE)
        rows += page
        if is_last(page, PAGE):
            return rows


async def _silent(services: Services, key: SessionKey, owner: str) -> bool:
    """On a shared store: no beat of the owner's for as long as harnesses wait for one. Else it is this process that
    owns everything: then what counts is whether it works on the session."""
    if not services.log.shared:
        if key.session in services.driving():
            return False
        same = not await _changes(services, key, Attendance(owner), UNDRIVEN_SECONDS)
        return same and key.session not in services.driving()
    before = (await services.log.beats()).get(owner)
    ends = services.clock.monotonic() + SILENT_SECONDS
    while services.clock.monotonic() < ends:
        await asyncio.sleep(PAUSE_SECONDS)
        if (await services.log.beats()).get(owner) != before:
            return False
    return True


async def _changes(services: Services, key: SessionKey, first: Attendance, seconds: float) -> bool:
    ends = services.clock.monotonic() + seconds
    while services.clock.monotonic() < ends:
        if await services.log.attendance(key) != first:
            return True
        await asyncio.sleep(PAUSE_SECONDS)
    return False


async def _rewrite(services: Services, key: SessionKey) -> None:
    """As the session's owner, under an epoch of our own: whoever owned it until now is fenced off."""
    worker = services.ids.new("repair")
    for _ in range(TRIES):
        try:
            lease = await _own(services, key, worker)
            if lease is not None:
                return await _rewrite_owned(services, lease)
        except (HeadMoved, Fenced):
            pass  # a client's rows came in between, or somebody took it for dead: once more
        finally:
            await services.log.surrender(key, worker)  # does nothing if it was released
        await asyncio.sleep(PAUSE_SECONDS)
    raise _restless()


async def _own(services: Services, key: SessionKey, worker: str) -> Lease | None:
    """None if a harness was faster."""
    there = await services.log.attendance(key)
    if there is None:
        await services.log.append_client(key, [], if_head=None, wake=True)
    elif there.owner is not None:
        await services.log.surrender(key, there.owner)
    return next(iter(await services.log.claim(worker, limit=1, key=key)), None)


async def _rewrite_owned(services: Services, lease: Lease) -> None:
    seen = await _see(services, lease.key)
    state = whole_state(seen)
    if state is None:
        return
    rows = mending_rows(state, factory_for(services, state))
    await services.log.append_owned(
        lease,
        rows,
        patch=states.patch_for(state, services.clock.now()),
        snapshot=Snapshot(state.seq, states.VERSION, states.dump(state)),
        if_head=len(seen.rows),
        release=state.status not in AT_WORK,
    )


def _restless() -> Overloaded:
    return Overloaded("The session is changing too fast to be looked at; try again.", retry_after=1)
