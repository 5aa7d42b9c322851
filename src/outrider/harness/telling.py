"""What a drive tells of itself: turns, model requests and tool calls, as numbers and as spans of one trace.

A turn's span joins the trace of the request that woke it, if the log says which; ids only, no content.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from outrider.clock import Clock
from outrider.errors import ModelFailure
from outrider.harness.tools import BUILTINS
from outrider.ports import metrics
from outrider.ports.model import Delta, ModelCall, ModelReply
from outrider.ports.sandbox import ToolCall, ToolOutcome
from outrider.ports.telemetry import NO_SPAN, Attributes, Span, Telemetry
from outrider.session.state import State

TOKEN_KINDS = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_input_tokens": "cache_read",
    "cache_creation_input_tokens": "cache_write",
}
OUTCOMES = frozenset({"end_turn", "requires_action", "retries_exhausted"})
RUNS = frozenset({"running", "rescheduling"})
LEFT = "left"


class Telling:
    """One drive's. `trace` is the traceparent of the turn under way, empty between turns and when nothing is traced."""

    def __init__(self, telemetry: Telemetry, clock: Clock, session: str) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._session = session
        self._span: Span = NO_SPAN
        self._begun: float | None = None

    @property
    def trace(self) -> str:
        return self._span.traceparent

    def follow(self, state: State) -> None:
        """Called around each step: a turn begins when the session runs, and ends when it rests."""
        if self._begun is None and state.status in RUNS:
            self._begun = self._clock.monotonic()
            self._span = self._telemetry.tracer.span("invoke_agent", parent=state.trace, attributes=self._about(state))
        elif self._begun is not None and state.status not in RUNS:
            reason = state.stop_reason["type"] if state.stop_reason is not None else state.status
            self._end(reason if reason in OUTCOMES else metrics.OTHER)

    def leave(self) -> None:
        """The drive ends. A turn that is not over goes on with the next owner, as another span of the same trace."""
        if self._begun is not None:
            self._end(LEFT)

    def _about(self, state: State) -> Attributes:
        agent = state.context.agent.get("id", "") if state.context is not None else ""
        return {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.id": agent,
            "gen_ai.conversation.id": self._session,
            "outrider.thread.id": state.thread,
        }

    def _end(self, outcome: str) -> None:
        span, begun = self._span, self._begun
        self._span, self._begun = NO_SPAN, None
        if begun is not None:
            self._telemetry.meter.observe(metrics.TURN_SECONDS, self._clock.monotonic() - begun, outcome)
        span.note({"outrider.turn.outcome": outcome})
        span.end(outcome if outcome == "retries_exhausted" else "")

    @contextmanager
    def model_request(self, call: ModelCall, on_delta: Callable[[Delta], None]) -> Generator[ModelRequest]:
        """Around one attempt; it is cancelled when nothing was noted."""
        model = str(call.body.get("model", ""))
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": call.endpoint,
            "gen_ai.request.model": model,
            "gen_ai.conversation.id": call.session,
        }
        with self._telemetry.tracer.span(
            f"chat {model}", parent=self.trace, kind="client", attributes=attributes
        ) as span:
            request = ModelRequest(self._telemetry, self._clock, call.endpoint, span, on_delta)
            try:
                yield request
            finally:
                request.end()

    @contextmanager
    def tool_call(self, call: ToolCall) -> Generator[Callable[[ToolOutcome, str], ToolOutcome]]:
        """Around one call. What it gives notes how the call ended: its outcome, and `ok`, `lost` or `unavailable`."""
        name = call.name if call.name in BUILTINS else metrics.OTHER
        begun, ended = self._clock.monotonic(), ["cancelled"]
        attributes: Attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call.id,
            "gen_ai.conversation.id": self._session,
        }

        def note(outcome: ToolOutcome, how: str) -> ToolOutcome:
            ended[0] = "error" if how == "ok" and outcome.is_error else how
            return outcome

        with self._telemetry.tracer.span(f"execute_tool {name}", parent=self.trace, attributes=attributes) as span:
            try:
                yield note
            finally:
                meter = self._telemetry.meter
                meter.add(metrics.TOOL_CALLS, name, ended[0])
                meter.observe(metrics.TOOL_SECONDS, self._clock.monotonic() - begun, name)
                span.end("" if ended[0] == "ok" else f"tool_{ended[0]}")


class ModelRequest:
    """One attempt under way. `on_delta` passes on what comes, and notes when the first of it came."""

    def __init__(
        self, telemetry: Telemetry, clock: Clock, endpoint: str, span: Span, on_delta: Callable[[Delta], None]
    ) -> None:
        self._meter = telemetry.meter
        self._clock = clock
        self._endpoint = endpoint
        self._span = span
        self._pass_on = on_delta
        self._begun = clock.monotonic()
        self._outcome = "cancelled"
        self._silent = True

    def on_delta(self, delta: Delta) -> None:
        if self._silent:
            self._silent = False
            self._meter.observe(metrics.FIRST_TOKEN_SECONDS, self._clock.monotonic() - self._begun, self._endpoint)
        self._pass_on(delta)

    def note(self, outcome: ModelReply | ModelFailure) -> None:
        if isinstance(outcome, ModelFailure):
            self._outcome = outcome.kind
            return
        self._outcome = "ok"
        self._span.note({"gen_ai.response.finish_reasons": outcome.stop_reason})
        for field, kind in TOKEN_KINDS.items():
            self._count(field, kind, outcome.usage)

    def _count(self, field: str, kind: str, usage: dict[str, Any]) -> None:
        tokens = usage.get(field)
        if isinstance(tokens, int) and tokens > 0:
            self._meter.add(metrics.TOKENS, self._endpoint, kind, by=tokens)
            self._span.note({f"gen_ai.usage.{field}": tokens})

    def end(self) -> None:
        self._meter.add(metrics.MODEL_REQUESTS, self._endpoint, self._outcome)
        self._meter.observe(metrics.MODEL_SECONDS, self._clock.monotonic() - self._begun, self._endpoint)
        self._span.end("" if self._outcome == "ok" else self._outcome)
