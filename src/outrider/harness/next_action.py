"""`next_action(state) -> Action`: what to do next in a session. Pure: no I/O, no clock, no memory of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from outrider.session.state import Context, State

CUT_REPLIES_IN_A_ROW = 3
SHELL = "bash"
END_TURN: dict[str, Any] = {"type": "end_turn"}
EXHAUSTED: dict[str, Any] = {"type": "retries_exhausted"}
BUDGET_REACHED: dict[str, Any] = {"type": "budget_reached"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the decision depends on beside the state. `window` is the model's, in tokens."""

    window: int
    tool_rounds: int
    compactions_in_a_row: int
    model_attempts: int
    capped: bool = False  # the budget lets no request be made
    compact_at: float = 0.8


@dataclass(frozen=True, slots=True)
class Release:
    """Nothing to do until a client sends something."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Apply this waiting interrupt: stop what runs, close what is open, end the turn."""

    event_id: str


@dataclass(frozen=True, slots=True)
class TakeUp:
    """Begin a turn with these waiting events."""

    event_ids: list[str]


@dataclass(frozen=True, slots=True)
class ReadRepositories:
    """Learn what these repositories say of themselves."""

    resources: list[str]


@dataclass(frozen=True, slots=True)
class CheckOut:
    """Put this repository into the workspace."""

    resource: str


@dataclass(frozen=True, slots=True)
class Connect:
    """Learn what the agent's MCP servers offer, before the model is asked for the first time since the session
    rested."""


@dataclass(frozen=True, slots=True)
class CallModel:
    """Ask the model. `purpose` is `turn` or `compaction`."""

    purpose: str = "turn"


@dataclass(frozen=True, slots=True)
class AwaitModel:
    """A request is open: wait for it, or close it if its owner is gone."""

    span: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Wait a while after the given number of failed attempts, then go on."""

    attempts: int


@dataclass(frozen=True, slots=True)
class RunTools:
    """Start `start` and see the already started `running` through."""

    start: list[str] = field(default_factory=list[str])
    running: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class EndTurn:
    """Go idle. `error` is a `session.error` to log before: (kind, message)."""

    stop_reason: dict[str, Any]
    stop_details: dict[str, Any] | None = None
    error: tuple[str, str] | None = None
    drop_queue: bool = False


Action = (
    Release
    | Interrupt
    | TakeUp
    | ReadRepositories
    | CheckOut
    | Connect
    | CallModel
    | AwaitModel
    | Retry
    | RunTools
    | EndTurn
)


def next_action(state: State, bounds: Bounds) -> Action:
    """The one thing to do now, from the folded log alone."""
    if state.status == "terminated":
        return Release()
    interrupt = state.waiting("user.interrupt")
    if interrupt is not None:
        return Interrupt(interrupt.id)
    if state.status == "idle":
        return Release() if state.requires_action or state.paused else _take_up(state)
    if state.open_span is not None:
        return AwaitModel(state.open_span)
    if state.status == "rescheduling":
        return Retry(state.attempts)
    if state.phase == "tools":
        return _tools(state)
    if state.phase == "model":
        return _model(state, bounds)
    return _rest(state)


def _take_up(state: State) -> Action:
    messages = [item.id for item in state.queue if item.type in ("user.message", "system.message")]
    return TakeUp(messages) if state.waiting("user.message") else Release()


def _rest(state: State) -> Action:
    if state.refusal is not None:
        return EndTurn({"type": "refusal"}, stop_details=state.refusal)
    take_up = _take_up(state)
    return take_up if isinstance(take_up, TakeUp) else EndTurn(END_TURN)


def _tools(state: State) -> Action:
    running = [call.id for call in state.calls if call.started and not call.answered]
    start = _startable(state)
    missing = state.missing if start else None
    if missing is not None:
        return CheckOut(missing.id)
    if start or running:
        return RunTools(start, running)
    return EndTurn({"type": "requires_action", "event_ids": state.awaited})


def _startable(state: State) -> list[str]:
    """Calls that may begin now: all at once, but those that share the thread's shell one after the other."""
    start: list[str] = []
    shell_busy = any(call.name == SHELL and call.started and not call.answered for call in state.calls)
    for call in state.calls:
        if not call.runnable or (call.name == SHELL and shell_busy):
            continue
        start.append(call.id)
        shell_busy = shell_busy or call.name == SHELL
    return start


def _model(state: State, bounds: Bounds) -> Action:
    notes = _notes(state)
    if notes:
        return TakeUp(notes)
    if bounds.capped:
        return EndTurn(BUDGET_REACHED)
    if state.unread:
        return ReadRepositories(state.unread)
    if state.rounds >= bounds.tool_rounds:
        return _limit("tool_use_limit_reached_error", f"The turn reached its limit of {bounds.tool_rounds} rounds.")
    if state.cut_replies >= CUT_REPLIES_IN_A_ROW:
        text = f"{CUT_REPLIES_IN_A_ROW} replies in a row were cut off at the limit on their length."
        return _limit("model_request_failed_error", text)
    if state.attempts >= bounds.model_attempts:
        return _limit("model_request_failed_error", f"{state.attempts} model requests in a row came to nothing.")
    if state.context is not None and state.context.agent.get("mcp_servers") and not state.connected:
        return Connect()
    if state.context is not None and _outgrown(state.context, bounds):
        if state.compactions >= bounds.compactions_in_a_row:
            text = f"{state.compactions} summaries in a row did not make the context fit the model's window."
            return _limit("compaction_limit_reached_error", text)
        return CallModel("compaction")
    return CallModel()


def _outgrown(context: Context, bounds: Bounds) -> bool:
    """Near the window; a single message, which leaves nothing to sum up beside it, only beyond it."""
    share = bounds.compact_at if len(context.messages) > 1 else 1.0
    return context.tokens > bounds.window * share


def _notes(state: State) -> list[str]:
    """System messages that came with a tool result: in front of all waiting prompts, they belong to this turn.

    Not behind a reply that the model is to go on with: that one must stay the last message.
    """
    if state.context is not None and state.context.messages and state.context.messages[-1]["role"] == "assistant":
        return []
    return [item.id for item in takewhile(lambda item: item.type == "system.message", state.queue)]


def _limit(kind: str, message: str) -> EndTurn:
    return EndTurn(EXHAUSTED, error=(kind, message), drop_queue=True)
