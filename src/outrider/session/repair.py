"""What is wrong with one session, judged from its log and what stands beside it, and the rows that end what was left
open. Pure: no I/O; whoever asks has read everything at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from outrider.ports.log import Attendance, NewEvent, Row, Snapshot
from outrider.ports.records import SessionRecord
from outrider.session import events
from outrider.session import state as states
from outrider.session.events import EventFactory
from outrider.session.fold import apply, fold
from outrider.session.inbox import END_TURN, close_call, span_end
from outrider.session.resting import idle_rows
from outrider.session.state import Call, State

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, StopIteration, IndexError, msgspec.MsgspecError)
AT_WORK = ("running", "rescheduling")
NEXT_OWNER = "its next owner attaches to it or closes it as interrupted"


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` is a word for scripts; `what` and `repair` are for people."""

    kind: str
    what: str
    repair: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One session at one moment. `silent`: its owner, if it has one, gives no sign of life; `passed_over`: it waited
    for an owner during the whole look, and nobody came."""

    record: SessionRecord
    rows: list[Row]
    snapshot: Snapshot | None
    attendance: Attendance | None
    silent: bool = False
    passed_over: bool = False


def whole_state(seen: Seen) -> State | None:
    """The fold of the whole log, never of a snapshot; None if a row can't be understood."""
    try:
        return fold(seen.rows)
    except UNREADABLE:
        return None


def examine(seen: Seen) -> list[Fault]:
    """Everything that is wrong, what is to be mended first in front."""
    state = whole_state(seen)
    if state is None:
        return [Fault("log-unreadable", "A row of the log can't be folded by this release.", "none: rows never change")]
    found = [*_attendance(seen, state), *_left_open(seen, state), *_queue(state)]
    if not _snapshot_holds(seen):
        what = f"The snapshot at row {seen.snapshot.seq if seen.snapshot else 0} is not the fold of the log."
        found.append(Fault("snapshot-differs", what, "it is made anew from the log"))
    return found + [
        Fault("record-differs", f"The record's {name} is not the log's.", "it is written anew from the log")
        for name in _differing(seen.record, state)
    ]


def _attendance(seen: Seen, state: State) -> list[Fault]:
    there = seen.attendance
    if there is None:
        if state.status not in AT_WORK:
            return []
        return [Fault("unattended", f"It is {state.status}, nobody owns it, and it waits for nobody.", "it is woken")]
    if there.owner is not None and seen.silent:
        what = f"Its owner {there.owner} gives no sign of life."
        return [Fault("owner-silent", what, "the owner is buried: its epoch ends, another one takes over")]
    if there.owner is None and seen.passed_over:
        what = "It waits for an owner and nobody takes it (it may be that all harnesses are full, or there is none)."
        return [Fault("unclaimed", what, "harnesses are rung")]
    return []


def _left_open(seen: Seen, state: State) -> list[Fault]:
    """At rest nobody will ever end it; at work the next owner does, if the one who began it is gone."""
    if state.status in AT_WORK:
        if seen.attendance is not None and not seen.silent:
            return []
        calls, ends = [call for call in state.open_calls if call.started], (NEXT_OWNER, "its next owner closes it")
    else:
        calls, ends = _stray_calls(state), ("it gets the result of an interrupted call", "it is closed as failed")
    found = [Fault("call-open", f"The call {call.id} ({call.name}) has no result.", ends[0]) for call in calls]
    if state.open_span is not None:
        what = f"The model request {state.open_span} has no end; previews of its reply may still be shown."
        found.append(Fault("request-open", what, ends[1]))
    return found


def _stray_calls(state: State) -> list[Call]:
    """Calls without a result that a session at rest doesn't wait for."""
    if not state.requires_action or not state.awaited:
        return state.open_calls
    return [call for call in state.open_calls if call.started]


def _queue(state: State) -> list[Fault]:
    if state.status != "idle" or state.requires_action or state.paused or state.waiting("user.message") is None:
        return []
    return [Fault("queue-left", "It is idle, and a message waits.", "it is set running, and woken")]


def _snapshot_holds(seen: Seen) -> bool:
    """One of another version is no fault: it is made anew when it is next needed."""
    snapshot = seen.snapshot
    if snapshot is None or snapshot.version != states.VERSION:
        return True
    try:
        return snapshot.seq <= len(seen.rows) and states.load(snapshot.body) == fold(seen.rows[: snapshot.seq])
    except UNREADABLE:
        return False


def _differing(record: SessionRecord, state: State) -> list[str]:
    """Which projections are not the fold's. Active seconds of a running session grow by themselves."""
    found = ["status"] if record.status != state.status else []
    ours = states.patch_for(state, record.updated_at)
    begun = states.patch_for(State(), record.created_at)
    if _merged(begun.usage, record.usage) != _merged(begun.usage, ours.usage):
        found.append("usage")
    return [*found, "stats"] if _merged(begun.stats, record.stats) != _merged(begun.stats, ours.stats) else found


def _merged(begun: bytes | None, body: bytes | None) -> Any:
    """A projection over what stands for nothing yet. (Of the usage, not its seconds; they are in `stats`, too.)"""
    try:
        merged = {**events.decode(begun or b"{}"), **events.decode(body or b"{}")}
    except (TypeError, msgspec.MsgspecError):
        return None
    return {name: value for name, value in merged.items() if name != "active_seconds" or "running_since" in merged}


def mending_rows(state: State, factory: EventFactory) -> list[NewEvent]:
    """The rows that bring a session at rest in order: what was left open is ended, what waits is set to work. `state`
    is folded on with them. None for a session at work: its owner does that."""
    rows: list[NewEvent] = []

    def add(*new: NewEvent) -> None:
        for row in new:
            apply(state, events.as_row(row, state.seq + 1, 0))
            rows.append(row)

    if state.status in AT_WORK:
        return rows
    if state.open_span is not None:
        add(span_end(factory, state.open_span, is_error=True))
    reason, awaited = state.stop_reason, state.awaited
    stray = _stray_calls(state)
    for call in stray:
        add(close_call(factory, call, events.text_blocks(events.INTERRUPTED_TEXT)))
    if rows and state.status == "idle":
        waits = reason is not None and reason["type"] == "requires_action" and state.open_calls
        rest = {"type": "requires_action", "event_ids": state.awaited} if waits and awaited else END_TURN
        add(*idle_rows(factory, state, rest))
    if _queue(state):
        add(*factory.running())
    return rows
