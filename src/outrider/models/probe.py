"""One request that shows what an endpoint can do, for `outrider doctor`: streaming, a tool call, usage, latency."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from outrider.clock import Clock
from outrider.endpoints import ModelProfile
from outrider.errors import ModelFailure
from outrider.ports.model import INVALID_JSON, Delta, Model, ModelCall, ModelReply

TOOL = {
    "name": "report_number",
    "description": "Report a number to the operator.",
    "input_schema": {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]},
}
PROMPT = 'Say `ready`, then call the tool once with this input:\nreport_number: {"number": 7}'


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What came back. Times are seconds from sending; None where nothing of the kind came.

    `problem` is set when the request failed. `streams` means that a text or tool block began before the message ended;
    `tool_call` that the tool was called with a valid input; `cache_fields` that usage speaks of the prompt cache.
    """

    endpoint: str
    model: str
    problem: str | None = None
    streams: bool = False
    tool_call: bool = False
    tool_problem: str | None = None
    usage: bool = False
    cache_fields: bool = False
    thinking: bool = False
    stop_reason: str | None = None
    first_block: float | None = None
    first_text: float | None = None
    total: float | None = None
    usage_seen: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def works(self) -> bool:
        """Whether an agent can work with it."""
        return self.problem is None and self.tool_call


async def probe(
    model: Model, endpoint: str, profile: ModelProfile, clock: Clock, *, session: str = "doctor"
) -> ProbeReport:
    """Send one streaming request with one tool. Failures are in the report, not raised."""
    started = clock.monotonic()
    marks: dict[str, float] = {}

    def on_delta(delta: Delta) -> None:
        name = {"start": "block", "text": "text"}.get(delta.step)
        if name is not None:
            marks.setdefault(name, clock.monotonic() - started)

    call = ModelCall(endpoint, _body(profile), session, 0)
    try:
        reply = await model.respond(call, on_delta)
    except ModelFailure as failure:
        return ProbeReport(endpoint, profile.model, problem=failure.message)
    return _report(endpoint, profile.model, reply, marks, clock.monotonic() - started)


def _body(profile: ModelProfile) -> dict[str, Any]:
    system: dict[str, Any] = {"type": "text", "text": "You answer in one line."}
    if profile.cache_control:
        system["cache_control"] = {"type": "ephemeral"}
    return {
        "model": profile.model,
        "max_tokens": min(1024, profile.max_tokens),
        "system": [system],
        "messages": [{"role": "user", "content": PROMPT}],
        "tools": [TOOL],
    }


def _report(endpoint: str, model: str, reply: ModelReply, marks: dict[str, float], total: float) -> ProbeReport:
    uses = [block for block in reply.content if block.get("type") == "tool_use"]
    problem = _tool_problem(uses)
    return ProbeReport(
        endpoint,
        model,
        streams="block" in marks,
        tool_call=problem is None,
        tool_problem=problem,
        usage={"input_tokens", "output_tokens"} <= set(reply.usage),
        cache_fields="cache_read_input_tokens" in reply.usage,
        thinking=any(block.get("type") in ("thinking", "redacted_thinking") for block in reply.content),
        stop_reason=reply.stop_reason,
        first_block=marks.get("block"),
        first_text=marks.get("text"),
        total=total,
        usage_seen=reply.usage,
    )


def _tool_problem(uses: list[dict[str, Any]]) -> str | None:
    if not uses:
        return "no tool was called"
    given: dict[str, Any] = uses[0].get("input") or {}
    if INVALID_JSON in given:
        return "the tool's input was no JSON object"
    if uses[0].get("name") != TOOL["name"] or type(given.get("number")) is not int:
        return "the tool was called with an input that breaks its schema"
    return None
