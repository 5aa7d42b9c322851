"""How a session comes to rest: which rows say so, and what its budget makes of the reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outrider.ports.log import NewEvent, SessionPatch
from outrider.session import costs
from outrider.session import state as states
from outrider.session.events import EventFactory, as_row
from outrider.session.fold import fold
from outrider.session.state import State

BUDGET_REACHED = {"type": "budget_reached"}


def updated_rows(
    factory: EventFactory, state: State, fields: Mapping[str, Any]
) -> tuple[list[NewEvent], SessionPatch | None]:
    """What an update of the session adds to its log. With a patch, the budget that stopped a turn has been changed, so
    that the turn goes on."""
    rows = [factory.public("session.updated", fields)]
    if "budget" not in fields or not state.paused or state.status != "idle":
        return rows, None
    rows += factory.running()
    after = states.copy_light(state)
    fold([as_row(row, after.seq + place, 0) for place, row in enumerate(rows, 1)], after)
    return rows, states.patch_for(after, factory.now())


def idle_rows(
    factory: EventFactory, state: State, reason: Mapping[str, Any], details: Mapping[str, Any] | None = None
) -> list[NewEvent]:
    """A turn that ends as the budget does says so for its thread; of the session it is said that the budget is reached,
    unless it waits for the client."""
    now = factory.now()
    capped = reason["type"] != "requires_action" and states.capped(state, now)
    return factory.idle(
        reason,
        states.counted_usage(state, now),
        details,
        budget=costs.limit(state.spending.budget),
        session_reason=BUDGET_REACHED if capped else None,
    )
