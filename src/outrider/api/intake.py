"""Client events on their way into a log: the state is read, the events are admitted, and the rows appended only if the
log is still where it was; otherwise once more from the start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from outrider import faults
from outrider.api.answers import Keep
from outrider.api.turns import Turns
from outrider.errors import HeadMoved, Overloaded
from outrider.ports.log import Lease, Row, SessionKey, is_last
from outrider.session import state as states
from outrider.session.events import EventFactory
from outrider.session.fold import fold
from outrider.session.inbox import NO_FILES, Admission, admit, answered_ids
from outrider.session.named import Facts
from outrider.session.state import State

if TYPE_CHECKING:
    from outrider.api.services import Services

T = TypeVar("T")
PAGE = 1000
LONG_TAIL = 256  # rows after the last snapshot from which on the state is worth keeping
STATES_KEPT = 64


async def light_state(services: Services, key: SessionKey) -> State:
    """The folded state without the model's context. Raises NotFound for an unknown session."""
    kept = services.intake.long_tails.copy(key)
    if kept is None:
        snapshot, rows = await services.log.resume(key, states.VERSION, limit=PAGE)
        state = State() if snapshot is None else states.load(snapshot.body, light=True)
    else:
        state = kept
        rows = await services.log.read(key, after=state.seq, limit=PAGE)
    start = state.seq
    fold(rows, state)
    while not is_last(rows, PAGE):
        rows = await services.log.read(key, after=state.seq, limit=PAGE)
        fold(rows, state)
    if state.seq == 0:
        await services.log.head(key)
    if kept is not None or state.seq - start > LONG_TAIL:
        services.intake.long_tails.put(key, state)
    return state


def factory_for(services: Services, state: State) -> EventFactory:
    return EventFactory(state.thread, state.agent_name, services.ids, services.clock)


class _LongTails:
    """States of the few sessions that got many rows since their last snapshot, so that each further request reads
    the new rows only. A state is a function of the rows before it, and rows never change: it can't be stale."""

    def __init__(self) -> None:
        self._states: dict[SessionKey, State] = {}

    def copy(self, key: SessionKey) -> State | None:
        state = self._states.pop(key, None)
        if state is None:
            return None
        self._states[key] = state  # now the youngest
        return states.copy_light(state)

    def put(self, key: SessionKey, state: State) -> None:
        self._states.pop(key, None)
        self._states[key] = states.copy_light(state)
        if len(self._states) > STATES_KEPT:
            del self._states[next(iter(self._states))]


class Intake:
    """Takes what clients change in one session one request after the other, so that a burst does not collide."""

    def __init__(self) -> None:
        self.long_tails = _LongTails()
        self._turns = Turns()

    async def send(
        self,
        services: Services,
        key: SessionKey,
        requests: Sequence[Mapping[str, Any]],
        *,
        allow_system: bool,
        keep: Keep,
        trace: str = "",
        files: Facts = NO_FILES,
    ) -> bytes:
        """Append client events, all or none, and wake a harness; the response's body, which is kept for retries.

        Raises InvalidRequest, NotFound, StorageFull.
        """

        async def attempt() -> bytes:
            return await send_once(
                services, key, requests, allow_system=allow_system, keep=keep, trace=trace, files=files
            )

        return await self.in_turn(key, attempt)

    async def in_turn(self, key: SessionKey, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until no other writer gets in between. Requests of this process take turns; what is left to collide with
        are the session's owner and other processes. Raises Overloaded when they never leave a gap."""
        try:
            return await self._turns.take(key, attempt, again=HeadMoved)
        except HeadMoved:
            raise Overloaded("The session is changing too fast; try again.", retry_after=1) from None


async def send_once(
    services: Services,
    key: SessionKey,
    requests: Sequence[Mapping[str, Any]],
    *,
    allow_system: bool,
    keep: Keep,
    trace: str = "",
    files: Facts = NO_FILES,
) -> bytes:
    """One attempt of `Intake.send`. Raises HeadMoved when another writer came in between."""
    state = await light_state(services, key)
    named = answered_ids(requests)
    known = await services.log.find(key, named) if named else dict[str, Row]()
    factory = factory_for(services, state)
    admission = admit(state, requests, factory, known, allow_system=allow_system, trace=trace, files=files)
    answer = b'{"data":[' + b",".join(admission.echoes) + b"]}"
    faults.point("api.take.before")
    head, lease = await services.log.take_in(
        key,
        admission.rows,
        if_head=state.seq,
        patch=admission.patch,
        wake=admission.wake,
        worker=services.dispatch.claimant(),
        keep=keep(answer),
    )
    faults.point("api.take.after")
    if admission.rows:
        services.feed.note_client(key, head - len(admission.rows) + 1)
    hand_over(services, admission, lease)
    if lease is not None:
        await _head_start()
    return answer


async def _head_start() -> None:
    """The driver is on the way to the model: it goes first, up to its append (a turn of the event loop) and the handing
    over of that to the store (another). The client's answer is written while the store writes."""
    for _ in range(2):
        await asyncio.sleep(0)


def hand_over(services: Services, admission: Admission, lease: Lease | None) -> None:
    """Have a woken session driven: here, if it was claimed for this process, else by whoever hears the ring."""
    if lease is not None:
        services.dispatch.take(lease)
    elif admission.wake:
        services.dispatch.ring()
