"""What a client may add to a log in a given state, and which rows that makes. Pure: the caller appends them if the
log has not moved, else asks again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from outrider.errors import InvalidRequest, NotSupported
from outrider.ports.log import NewEvent, Row, SessionPatch
from outrider.session import events
from outrider.session import state as states
from outrider.session.events import EventFactory
from outrider.session.fold import apply
from outrider.session.named import Facts, files_in
from outrider.session.resting import idle_rows
from outrider.session.state import Call, State

END_TURN = {"type": "end_turn"}
USE_TYPES = {
    "user.tool_confirmation": ("tool_use_id", ("agent.tool_use", "agent.mcp_tool_use")),
    "user.custom_tool_result": ("custom_tool_use_id", ("agent.custom_tool_use",)),
    "user.tool_result": ("tool_use_id", ("agent.tool_use",)),
}
AT_CAP = ("user.tool_confirmation", "user.tool_result", "user.custom_tool_result", "user.interrupt")
"""What is taken while the budget is used up: it starts no request."""

OUTSIDE = {"custom": ("user.custom_tool_result", "custom_tool_use_id"), "worker": ("user.tool_result", "tool_use_id")}
"""How a result from outside is written, by the kind of its call."""
RESULTS = ("user.custom_tool_result", "user.tool_result")

NO_FILES: Facts = {}
NO_USAGE = {
    "input_tokens": 0,
    "output_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
}


@dataclass(frozen=True, slots=True)
class Admission:
    """Rows to append (none when every event repeats an earlier answer), echoes for the response, and the wake."""

    rows: list[NewEvent]
    echoes: list[bytes]
    wake: bool
    patch: SessionPatch | None
    state: State


@dataclass(slots=True)
class _Desk:
    """One request under way: the state as the rows admitted so far make it."""

    state: State
    factory: EventFactory
    known: Mapping[str, Row]
    allow_system: bool
    trace: str = ""
    files: Facts = field(default_factory=dict[str, Mapping[str, Any]])
    name: str = "events"
    rows: list[NewEvent] = field(default_factory=list[NewEvent])
    echoes: list[bytes] = field(default_factory=list[bytes])

    def at(self, index: int) -> str:
        """How a refusal names one of the request's events."""
        return f"{self.name}.{index}"

    def add(self, *rows: NewEvent) -> None:
        """The request's trace comes with its first row: a request that adds nothing leaves none."""
        trace, self.trace = self.trace, ""
        traced = [self.factory.internal(events.TRACE, {"traceparent": trace})] if trace and rows else []
        for row in (*traced, *rows):
            self.rows.append(row)
            apply(self.state, events.as_row(row, self.state.seq + 1, 0))

    def accept(self, row: NewEvent, content: Sequence[Mapping[str, Any]] = ()) -> None:
        """What its content names is said before it."""
        named = {file_id: self.files[file_id] for file_id in files_in(content)}
        self.add(*([self.factory.internal(events.FILES_NAMED, {"files": named})] if named else []), row)
        self.echoes.append(row.body)

    def start(self) -> None:
        if self.state.status == "idle":
            self.add(*self.factory.running())

    def rest(self, reason: Mapping[str, Any]) -> None:
        self.add(*idle_rows(self.factory, self.state, reason))


def answered_ids(requests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Ids of the tool uses that these events answer: the caller looks their rows up for `admit`."""
    named = [request.get(USE_TYPES[request["type"]][0]) for request in requests if request["type"] in USE_TYPES]
    return [name for name in named if isinstance(name, str)]


def admit(
    state: State,
    requests: Sequence[Mapping[str, Any]],
    factory: EventFactory,
    known: Mapping[str, Row],
    *,
    allow_system: bool = False,
    trace: str = "",
    files: Facts = NO_FILES,
    field: str = "events",
) -> Admission:
    """Check the events in order and turn them into rows; all or nothing. Raises InvalidRequest.

    `trace` is the traceparent of the request; the turn that it wakes becomes part of that trace.

    `files`: what is known of those that the events name. `field`: the request's own, which has them.

    `state` is left alone (a light state suffices). `known` has the rows of `answered_ids(requests)` that exist.
    """
    desk = _Desk(states.copy_light(state), factory, known, allow_system, trace, files, field)
    for index, request in enumerate(requests):
        if desk.state.status == "terminated":
            raise InvalidRequest("The session is terminated or archived and takes no new events.")
        if request["type"] not in AT_CAP and states.capped(desk.state, factory.now()):
            raise _at_cap(desk.at(index))
        _ADMIT[request["type"]](desk, request, requests, index)
    wake = desk.state.status in ("running", "rescheduling") and bool(desk.rows)
    patch = states.patch_for(desk.state, factory.now()) if desk.rows else None
    return Admission(desk.rows, desk.echoes, wake, patch, desk.state)


def _at_cap(at: str) -> InvalidRequest:
    return InvalidRequest(
        f"{at}: budget_reached: the session has reached its budget. Until that is raised or removed, only"
        f" {', '.join(AT_CAP)} are accepted.",
        error_code="budget_reached",
    )


def _message(desk: _Desk, request: Mapping[str, Any], _all: Sequence[Mapping[str, Any]], index: int) -> None:
    if desk.state.requires_action:
        waiting = ", ".join(desk.state.awaited)
        raise InvalidRequest(
            f"{desk.at(index)}: user.message can't be sent now: the session is waiting on responses to events"
            f" [{waiting}]. Answer them, or send user.interrupt first."
        )
    desk.accept(desk.factory.waiting("user.message", {"content": request["content"]}), request["content"])
    desk.start()


def _system(desk: _Desk, request: Mapping[str, Any], requests: Sequence[Mapping[str, Any]], index: int) -> None:
    if not desk.allow_system:
        raise InvalidRequest(
            f"{desk.at(index)}: model_does_not_support_mid_conversation_system: the session's model takes no system"
            " messages within a conversation.",
            error_code="model_does_not_support_mid_conversation_system",
        )
    before = requests[index - 1]["type"] if index else None
    if index != len(requests) - 1 or before not in (None, "user.message", *RESULTS):
        raise InvalidRequest(
            f"{desk.at(index)}: system.message must be the last event of a request, directly after the event it"
            " belongs to."
        )
    if desk.state.requires_action and before not in RESULTS:
        raise InvalidRequest(f"{desk.at(index)}: system.message must follow a tool result while calls are unanswered.")
    desk.accept(desk.factory.waiting("system.message", {"content": request["content"]}))


def _interrupt(desk: _Desk, request: Mapping[str, Any], _all: Sequence[Mapping[str, Any]], index: int) -> None:
    thread = request.get("session_thread_id")
    if thread is not None and thread != desk.state.thread:
        raise InvalidRequest(f"{desk.at(index)}.session_thread_id: no thread {thread} in this session.")
    fields = {} if thread is None else {"session_thread_id": thread}
    if desk.state.status != "idle":
        desk.accept(desk.factory.waiting("user.interrupt", fields))
        return
    row = desk.factory.public("user.interrupt", fields)
    if desk.state.paused:
        desk.echoes.append(row.body)  # there is nothing to stop, and what is left waits for the budget
        return
    waits = desk.state.requires_action
    desk.accept(row)
    if waits:
        for call in desk.state.open_calls:
            blocks = events.text_blocks(events.INTERRUPTED_TEXT)
            desk.add(close_call(desk.factory, call, blocks))
        desk.rest(END_TURN)
        if desk.state.waiting("user.message"):
            desk.start()


def close_call(factory: EventFactory, call: Call, content: list[dict[str, Any]]) -> NewEvent:
    """An error result for a call that will not run (any more). For one that somebody outside may be running it looks
    like theirs, so that they see that it needs no answer."""
    if call.kind in OUTSIDE:
        kind, name = OUTSIDE[call.kind]
        return factory.public(kind, {name: call.id, "content": content, "is_error": True})
    return factory.tool_result(call.id, content, is_error=True, mcp=call.kind == "mcp")


def span_end(
    factory: EventFactory, span: str, usage: Mapping[str, Any] | None = None, *, is_error: bool | None
) -> NewEvent:
    """The end of a model request, with what it used."""
    counts: dict[str, Any] = {key: int((usage or {}).get(key) or 0) for key in NO_USAGE}
    if usage and usage.get("speed"):
        counts["speed"] = usage["speed"]
    fields = {"model_request_start_id": span, "model_usage": counts, "is_error": is_error}
    return factory.public("span.model_request_end", fields)


def _confirmation(desk: _Desk, request: Mapping[str, Any], _all: Sequence[Mapping[str, Any]], index: int) -> None:
    message = request.get("deny_message")
    if message is not None and request["result"] != "deny":
        raise InvalidRequest(f"{desk.at(index)}.deny_message: only allowed when result is `deny`.")
    call = _answered_call(desk, request, index)
    fields = {"tool_use_id": request["tool_use_id"], "result": request["result"], "deny_message": message}
    row = desk.factory.public("user.tool_confirmation", fields)
    if call is None or call.confirmed:
        desk.echoes.append(row.body)
        return
    desk.accept(row)
    if request["result"] == "deny":
        text = f"Permission to use {call.name} has been denied." + (f" The user said: {message}" if message else "")
        desk.add(_denied(desk.factory, call, events.text_blocks(text)))
    _settle(desk)


def _denied(factory: EventFactory, call: Call, content: list[dict[str, Any]]) -> NewEvent:
    """The client's word settles the call: nobody outside has begun it, nor will."""
    return factory.tool_result(call.id, content, is_error=True, mcp=call.kind == "mcp")


def _result(desk: _Desk, request: Mapping[str, Any], _all: Sequence[Mapping[str, Any]], index: int) -> None:
    """Of a custom tool, or of a built-in one from a worker."""
    call = _answered_call(desk, request, index)
    name = USE_TYPES[request["type"]][0]
    fields: dict[str, Any] = {
        name: request[name],
        "content": request.get("content") or [],
        "is_error": request.get("is_error"),
    }
    row = desk.factory.public(request["type"], fields)
    if call is None:
        desk.echoes.append(row.body)
        return
    desk.accept(row, fields["content"])
    _settle(desk)


def _answered_call(desk: _Desk, request: Mapping[str, Any], index: int) -> Call | None:
    """The open call that an answer names; None when it has its answer already (repeats are harmless)."""
    field_name, use_types = USE_TYPES[request["type"]]
    use_id = request[field_name]
    call = desk.state.call(use_id)
    row = desk.known.get(use_id)
    if row is None or row.type not in use_types:
        kinds = " or ".join(f"`{kind}`" for kind in use_types)
        raise InvalidRequest(
            f'{desk.at(index)}: `{field_name}` "{use_id}" does not match any {kinds} event in this session'
        )
    if request["type"] == "user.tool_confirmation" and events.decode(row.body)["evaluated_permission"] != "ask":
        raise InvalidRequest(f"{desk.at(index)}: {use_id} did not ask for permission, so it can't be confirmed.")
    return None if call is None or call.answered else call


def _settle(desk: _Desk) -> None:
    """After an accepted answer: say what is still awaited, or go on working."""
    if desk.state.status != "idle":
        return
    awaited = desk.state.awaited
    if awaited:
        desk.rest({"type": "requires_action", "event_ids": awaited})
    else:
        desk.start()


def _tool_result(desk: _Desk, request: Mapping[str, Any], every: Sequence[Mapping[str, Any]], index: int) -> None:
    if not desk.state.self_hosted:
        raise InvalidRequest(
            f"{desk.at(index)}: user.tool_result is only for sessions on self_hosted environments; here the server runs"
            " the built-in tools itself."
        )
    call = desk.state.call(request["tool_use_id"])
    if call is not None and call.permission == "ask" and not call.confirmed and not call.answered:
        raise InvalidRequest(f"{desk.at(index)}: {call.id} asks for permission: it must be confirmed before it is run.")
    _result(desk, request, every, index)


def _outcome(desk: _Desk, _request: Mapping[str, Any], _all: Sequence[Mapping[str, Any]], index: int) -> None:
    raise NotSupported(f"{desk.at(index)}: user.define_outcome is not offered by this server yet.")


_ADMIT = {
    "user.message": _message,
    "system.message": _system,
    "user.interrupt": _interrupt,
    "user.tool_confirmation": _confirmation,
    "user.custom_tool_result": _result,
    "user.tool_result": _tool_result,
    "user.define_outcome": _outcome,
}
