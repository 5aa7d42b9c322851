"""Dreams: from a row to a session that rewrites a memory store, and on to its end.

Anybody may go on with a dream, and several may at once: it begins once, its session is kept as the answer named by the
dream, so one is made at most, and its outcome is decided once. Whoever dies in between leaves a row that says how far
it is. A dream is completed or failed only when nothing of it is left under way: its session archived, the transcripts
that this was given erased.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from outrider import faults
from outrider.api.answers import keep_nothing
from outrider.api.intake import light_state
from outrider.api.own_calls import once, own_call
from outrider.api.routes import resources, sessions
from outrider.api.services import Services
from outrider.api.transcribing import take_back, transcripts
from outrider.errors import AlreadyAnswered, Conflict, InvalidRequest, NotFound, OutriderError, Overloaded
from outrider.ports.dreams import TOO_LARGE, Copying, DreamRecord, Outcome
from outrider.ports.log import HistoryQuery, SessionKey
from outrider.ports.records import SessionRecord
from outrider.resources.dreamer import FOLDER, dreamer, place, session_request
from outrider.resources.dreams import (
    INTERNAL,
    SESSION_UNAVAILABLE,
    STORE_UNAVAILABLE,
    TIMEOUT,
    error_of,
    sessions_of,
    usage_of,
)

WORKING = ("running", "rescheduling")
INTERRUPT = "user.interrupt"


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    error: bytes | None = None


def failed(kind: str, message: str) -> Verdict:
    return Verdict("failed", error_of(kind, message))


async def advance(services: Services, dream: DreamRecord, *, may_open: bool = True) -> None:
    """Go on with it as far as it goes now. `may_open`: nobody else is about to make its session. Raises OutriderError
    when something does not answer; a later attempt goes on from there."""
    if dream.outcome is None:
        verdict = await _verdict(services, dream, may_open)
        if verdict is None:
            return
        faults.point("dream.decide.before")
        await services.dreams.decide_dream(dream, verdict.outcome, verdict.error, at=services.clock.now())
        faults.point("dream.decide.after")
    current = await services.dreams.dream(dream.workspace, dream.id)
    if current is not None and current.outcome is not None and current.settled_at is None:
        await _close(services, current)


async def _verdict(services: Services, dream: DreamRecord, may_open: bool) -> Verdict | None:
    """What it ends with; None while it does not."""
    problem = await _of_inputs(services, dream) or _of_time(services, dream)
    if problem is not None:
        return problem
    if dream.begun_at is None:
        return await _begin(services, dream)
    if dream.opened_at is None:
        return await _open(services, dream) if may_open else None
    return await _of_session(services, dream)


async def _of_inputs(services: Services, dream: DreamRecord) -> Verdict | None:
    store = await services.memories.memory_store(dream.workspace, dream.source)
    if store is None:
        return failed(STORE_UNAVAILABLE, f"Memory store {dream.source} was deleted.")
    if store.archived_at is not None and (dream.in_place or dream.begun_at is None):
        return failed(STORE_UNAVAILABLE, f"Memory store {dream.source} was archived.")
    keys = [SessionKey(dream.workspace, session) for session in sessions_of(dream)]
    there = await services.log.heads(keys)
    gone = [key.session for key in keys if key not in there]
    return failed(SESSION_UNAVAILABLE, f"Session {gone[0]} was deleted.") if gone else None


def _of_time(services: Services, dream: DreamRecord) -> Verdict | None:
    most = services.settings.limits.dream_seconds
    if dream.begun_at is None:
        return None
    age = datetime.fromisoformat(services.clock.now()) - datetime.fromisoformat(dream.begun_at)
    return failed(TIMEOUT, f"The dream took longer than {most:g} seconds.") if age > timedelta(seconds=most) else None


async def _begin(services: Services, dream: DreamRecord) -> Verdict | None:
    if any(one.id == dream.workspace and one.archived_at for one in await services.access.workspaces()):
        return failed(INTERNAL, f"Workspace {dream.workspace} is closed.")
    ids, most = services.ids, services.settings.limits.dream_store_bytes
    now = services.clock.now()
    faults.point("dream.begin.before")
    try:
        begun = await services.dreams.begin_dream(dream, Copying(ids.new("mem"), ids.new("memver"), most), at=now)
    except InvalidRequest as problem:
        return failed(TOO_LARGE if problem.error_code == TOO_LARGE else STORE_UNAVAILABLE, problem.message)
    except NotFound as problem:
        return failed(STORE_UNAVAILABLE, problem.message)
    faults.point("dream.begin.after")
    return await _open(services, replace(dream, status="running", begun_at=now)) if begun else None


async def _open(services: Services, dream: DreamRecord) -> Verdict | None:
    """Make its session. Raises OutriderError when that may still succeed."""
    if await _session(services, dream) is None:
        try:
            await _make(services, dream)
        except (AlreadyAnswered, Conflict):
            if await _session(services, dream) is None:
                return failed(INTERNAL, f"Session {dream.session} was deleted.")
        except Overloaded:
            raise
        except OutriderError as problem:
            return failed(INTERNAL, f"The dream's session could not be made: {problem.message}")
    await services.dreams.open_dream(dream, at=services.clock.now())
    return None


async def _session(services: Services, dream: DreamRecord) -> SessionRecord | None:
    return await services.records.session(SessionKey(dream.workspace, dream.session))


async def _make(services: Services, dream: DreamRecord) -> None:
    call = own_call(services, dream.workspace, once(services, dream.id))
    now, profiles = services.clock.now(), services.models.profile
    agent, request = dreamer(dream, now=now, profiles=profiles), session_request(dream)
    given = await transcripts(call, sessions_of(dream), for_session=dream.session, folder=FOLDER)
    try:
        ground = sessions.Ground(place(now), agent, given)
        await sessions.opened(call, request, given_id=dream.session, ground=ground)
    except OutriderError:
        await take_back(call, given)
        raise


async def _of_session(services: Services, dream: DreamRecord) -> Verdict | None:
    session, key = await _session(services, dream), SessionKey(dream.workspace, dream.session)
    if session is None:
        return failed(INTERNAL, f"Session {dream.session} was deleted.")
    if session.status in WORKING:
        return None
    state = await light_state(services, key)
    if state.status == "terminated":
        return failed(INTERNAL, f"Session {dream.session} was terminated or archived before it was done.")
    if state.status != "idle" or state.stop_reason is None or state.queue:
        return None
    reason = state.stop_reason["type"]
    if reason != "end_turn":
        return failed(INTERNAL, f"Session {dream.session} stopped before it was done: {reason}.")
    if await services.log.history(key, HistoryQuery(1, types=(INTERRUPT,))):
        return failed(INTERNAL, f"Session {dream.session} was interrupted.")
    return Verdict("completed")


async def _close(services: Services, dream: DreamRecord) -> None:
    """Stop, archive and clear its session; if that still works, a later attempt goes on from there."""
    session = await _session(services, dream)
    if session is not None and session.status in WORKING:
        await _interrupt(services, session)
        return
    if session is not None:
        faults.point("dream.close.before")
        await _clear(services, session)
        faults.point("dream.close.after")
    used = msgspec.json.encode(usage_of(session))
    faults.point("dream.settle.before")
    await services.dreams.settle_dream(dream, used, at=services.clock.now())
    faults.point("dream.settle.after")


async def _interrupt(services: Services, session: SessionRecord) -> None:
    """Unless that was said already."""
    key = SessionKey(session.workspace, session.id)
    state = await light_state(services, key)
    if not any(one.type == INTERRUPT for one in state.queue):
        await services.intake.send(services, key, [{"type": INTERRUPT}], allow_system=False, keep=keep_nothing)


async def _clear(services: Services, session: SessionRecord) -> None:
    """Archived, it keeps its log; the transcripts and its sandbox go."""
    call, key = own_call(services, session.workspace, session_id=session.id), SessionKey(session.workspace, session.id)
    try:
        await sessions.archive(call)
        await resources.drop_files(call, key)
    except NotFound:
        pass  # its user has just deleted it
    except InvalidRequest as problem:
        raise Overloaded(problem.message) from None  # it has just been given something to do
    await services.forget(key)
