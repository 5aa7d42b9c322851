"""Client events on their way into a log: the state is read, the events are admitted, and the rows appended only if the
log is still where it was; otherwise once more from the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outrider.api.services import Services
from outrider.errors import HeadMoved, Overloaded
from outrider.ports.log import Row, SessionKey
from outrider.session import state as states
from outrider.session.events import EventFactory
from outrider.session.fold import fold
from outrider.session.inbox import Admission, admit, answered_ids
from outrider.session.state import State

TRIES = 50
PAGE = 1000


async def light_state(services: Services, key: SessionKey) -> State:
    """The folded state without the model's context. Raises NotFound for an unknown session."""
    snapshot = await services.log.snapshot(key)
    usable = snapshot is not None and snapshot.version == states.VERSION
    state = states.load(snapshot.body, light=True) if snapshot is not None and usable else State()
    while True:
        rows = await services.log.read(key, after=state.seq, limit=PAGE)
        fold(rows, state)
        if len(rows) < PAGE:
            break
    if state.seq == 0:
        await services.log.head(key)
    return state


def factory_for(services: Services, state: State) -> EventFactory:
    return EventFactory(state.thread, state.agent_name, services.ids, services.clock)


async def send(
    services: Services, key: SessionKey, requests: Sequence[Mapping[str, Any]], *, allow_system: bool
) -> Admission:
    """Append client events, all or none, and wake a harness. Raises InvalidRequest, NotFound, StorageFull."""
    for _ in range(TRIES):
        state = await light_state(services, key)
        known = await _known(services, key, requests)
        admission = admit(state, requests, factory_for(services, state), known, allow_system=allow_system)
        if not admission.rows:
            return admission
        try:
            head = await services.log.append_client(
                key, admission.rows, if_head=state.seq, patch=admission.patch, wake=admission.wake
            )
        except HeadMoved:
            continue
        services.feed.note_client(key, head - len(admission.rows) + 1)
        if admission.wake:
            services.doorbell.ring()
        return admission
    raise Overloaded("The session's log is changing too fast; try again.", retry_after=1)


async def _known(services: Services, key: SessionKey, requests: Sequence[Mapping[str, Any]]) -> dict[str, Row]:
    named = answered_ids(requests)
    return await services.log.find(key, named) if named else {}
