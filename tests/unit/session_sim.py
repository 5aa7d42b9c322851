"""Random sessions: clients that send what the API admits, and a harness that does what `next_action` says, with made-up
model replies and tool outcomes, crashes included. Yields logs for the property tests."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from outrider.clock import ManualClock
from outrider.errors import InvalidRequest
from outrider.harness.context import kept_messages
from outrider.harness.next_action import (
    AwaitModel,
    Bounds,
    CallModel,
    CheckOut,
    Connect,
    EndTurn,
    Interrupt,
    ReadRepositories,
    Release,
    Retry,
    RunTools,
    TakeUp,
    next_action,
)
from outrider.harness.replies import ReplyDraft, reply_rows, span_end
from outrider.ids import CountingIds
from outrider.ports.log import NewEvent, Row
from outrider.ports.model import ModelProfile, ModelReply
from outrider.session import events
from outrider.session import state as states
from outrider.session.costs import CENT, capped, limit
from outrider.session.events import EventFactory, as_row
from outrider.session.fold import apply
from outrider.session.inbox import admit, close_call
from outrider.session.resting import idle_rows, updated_rows
from outrider.session.state import Context, State

POLICY = {"type": "always_allow"}
ASK = {"type": "always_ask"}
AGENT: dict[str, Any] = {
    "skills": [],
    "id": "agent_1",
    "name": "worker",
    "system": "Be brief.",
    "model": {"id": "m"},
    "tools": [
        {
            "type": "agent_toolset_20260401",
            "default_config": {"enabled": True, "permission_policy": POLICY},
            "configs": [
                {"name": "write", "enabled": True, "permission_policy": ASK},
                {"name": "glob", "enabled": False, "permission_policy": POLICY},
            ],
        },
        {"type": "custom", "name": "lookup", "description": "Look up.", "input_schema": {"type": "object"}},
    ],
    "mcp_servers": [],
}
WITH_SERVER = AGENT | {
    "mcp_servers": [{"type": "url", "name": "notes", "url": "https://notes.example/mcp"}],
    "tools": [
        *AGENT["tools"],
        {
            "type": "mcp_toolset",
            "mcp_server_name": "notes",
            "default_config": {"enabled": True, "permission_policy": POLICY},
            "configs": [
                {"name": "erase", "enabled": True, "permission_policy": ASK},
                {"name": "hide", "enabled": False, "permission_policy": POLICY},
            ],
        },
    ],
}
LISTING = [{"name": name, "description": "", "input_schema": {"type": "object"}} for name in ("add", "erase", "hide")]
PROFILE = ModelProfile("e", "m", window=2_000)
USES = ("agent.tool_use", "agent.custom_tool_use", "agent.mcp_tool_use")
MCP = ("mcp__notes__add", "mcp__notes__erase", "mcp__notes__hide")
TARIFF = {"input": CENT // 4_000, "output": CENT // 500, "cache_read": 0, "cache_write": 0}
BOUNDS = Bounds(window=2_000, tool_rounds=12, compactions_in_a_row=3, model_attempts=3)


REPOSITORY = {"type": "github_repository", "url": "https://github.com/a/b", "mount_path": "/workspace/b"}


class Sim:
    """One random session. `rows` is its log so far; `state` the incremental fold."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = ManualClock()
        self.factory = EventFactory("sthr_1", "worker", CountingIds(), self.clock)
        self.state = State(context=Context())
        self.rows: list[Row] = []
        self.tokens = 0
        mounts = [REPOSITORY | {"id": f"sesrsc_{n}"} for n in range(self.rng.choice((0, 0, 1, 2)))]
        about = {"agent": WITH_SERVER, "environment": {}, "resources": mounts, "hour": 8 * CENT}
        about |= {"budget": self.rng.choice((None, None, 1, 3))}
        self.append(self.factory.internal(events.CREATED, about), epoch=0)

    def append(self, *new: NewEvent, epoch: int = 1) -> None:
        for event in new:
            row = as_row(event, len(self.rows) + 1, epoch)
            self.rows.append(row)
            apply(self.state, row)

    # -- clients

    def client(self) -> None:
        if self.rng.random() < 0.1:
            self._change_budget()
        requests = [self._request() for _ in range(self.rng.choice((1, 1, 1, 2, 3)))]
        known = {row.id: row for row in self.rows}
        try:
            admission = admit(states.copy_light(self.state), requests, self.factory, known)
        except InvalidRequest:
            return
        self.append(*admission.rows, epoch=0)

    def _change_budget(self) -> None:
        had = self.state.spending.budget
        if had is not None:
            above = states.spent(self.state, self.clock.now()) // CENT + self.rng.choice((1, 3))
            fields = {"budget": limit(None if self.rng.random() < 0.2 else above)}
            self.append(*updated_rows(self.factory, self.state, fields)[0], epoch=0)

    def _request(self) -> dict[str, Any]:
        uses = [row for row in self.rows if row.type in USES]
        kind = self.rng.choice(("message", "message", "interrupt", "answer", "answer", "answer"))
        if kind == "interrupt":
            return {"type": "user.interrupt"}
        if kind == "answer" and uses:
            row = self.rng.choice(uses[-4:])
            if row.type == "agent.custom_tool_use":
                return {"type": "user.custom_tool_result", "custom_tool_use_id": row.id, "content": _text("found")}
            result = self.rng.choice(("allow", "deny"))
            return {"type": "user.tool_confirmation", "tool_use_id": row.id, "result": result}
        return {"type": "user.message", "content": _text("please")}

    # -- the harness

    def harness(self) -> bool:
        """Carry out one action; False when there is nothing to do."""
        self.clock.advance(self.rng.random())
        active = states.active_seconds(self.state, self.clock.now())
        action = next_action(self.state, replace(BOUNDS, capped=capped(self.state.spending, active)))
        match action:
            case Release():
                return False
            case Interrupt():
                self._interrupt()
            case TakeUp(event_ids):
                running = self.factory.running() if self.state.status == "idle" else []
                self.append(*running, *(self.factory.processed(event_id) for event_id in event_ids))
            case CallModel(purpose):
                start = self.factory.public("span.model_request_start")
                facts = {"purpose": purpose, "tariff": TARIFF, "reserve": CENT // 4}
                self.append(start, self.factory.internal(events.REQUEST, facts))
            case AwaitModel(span):
                self._model(span)
            case ReadRepositories() | CheckOut() | Connect():
                self._prepare(action)
            case Retry():
                self.append(*self.factory.running())
            case RunTools(start, running):
                self._tools(start, running)
            case EndTurn():
                self._end(action)
        return True

    def _prepare(self, action: ReadRepositories | CheckOut | Connect) -> None:
        if isinstance(action, Connect):
            self._connect()
        elif isinstance(action, ReadRepositories):
            self._read(action.resources)
        else:
            self._check_out(action.resource)

    def _read(self, resources: list[str]) -> None:
        for resource in resources:
            error = "repository_clone_error" if self.rng.random() < 0.4 else None
            self.append(self.factory.internal(events.REPOSITORY, {"resource": resource, "error": error, "skills": []}))

    def _check_out(self, resource: str) -> None:
        repository = self.state.repository(resource)
        assert repository is not None
        if repository.checkout == "no" or self.rng.random() < 0.3:
            self.append(self.factory.internal(events.CHECKOUT, {"resource": resource, "call_id": self.factory.id()}))
        else:
            error = "repository_clone_error" if self.rng.random() < 0.4 else None
            self.append(self.factory.internal(events.CHECKED_OUT, {"resource": resource, "error": error}))

    def _interrupt(self) -> None:
        if self.state.open_span is not None:
            self.append(span_end(self.factory, self.state.open_span, is_error=None))
        text = events.text_blocks(events.INTERRUPTED_TEXT)
        self.append(*(close_call(self.factory, call, text) for call in self.state.open_calls))
        waiting = [item.id for item in self.state.queue if item.type == "user.interrupt"]
        self.append(*(self.factory.processed(event_id) for event_id in waiting))
        self._end(EndTurn({"type": "end_turn"}))

    def _end(self, action: EndTurn) -> None:
        if action.error is not None:
            self.append(self.factory.error(*action.error, "exhausted"))
        if action.drop_queue:
            self.append(*(self.factory.processed(item.id, dropped=True) for item in list(self.state.queue)))
        self.append(*idle_rows(self.factory, self.state, action.stop_reason, action.stop_details))

    def _connect(self) -> None:
        assert self.state.context is not None
        known = "notes" in self.state.context.mcp
        if self.rng.random() < 0.2:
            problem = self.factory.error("mcp_connection_failed_error", "away", "retrying", mcp_server_name="notes")
            self.append(problem, self.factory.internal(events.CONNECTED, {"servers": {}}))
        else:
            listing = None if known and self.rng.random() < 0.9 else LISTING
            self.append(self.factory.internal(events.CONNECTED, {"servers": {"notes": listing}}))

    def _model(self, span: str) -> None:
        luck = self.rng.random()
        if luck < 0.1:  # the owner died and another closes what it left
            self.append(span_end(self.factory, span, is_error=True))
        elif luck < 0.25:
            self.append(span_end(self.factory, span, is_error=True))
            self.append(self.factory.error("model_overloaded_error", "busy", "retrying"), *self.factory.rescheduled())
        elif self.state.purpose == "compaction":
            assert self.state.context is not None
            kept = kept_messages(self.state.context, PROFILE)
            record = {"summary": "so far", "keep": kept, "tokens": 100}
            self.append(span_end(self.factory, span, {"output_tokens": 9}, is_error=False))
            self.append(self.factory.internal(events.SUMMARY, record))
            self.append(self.factory.public("agent.thread_context_compacted"))
        else:
            draft = ReplyDraft(self.factory.id, unseen)
            assert self.state.context is not None
            listings = self.state.context.mcp
            self.append(*reply_rows(self._reply(), draft, WITH_SERVER, self.factory, span, listings))

    def _reply(self) -> ModelReply:
        self.tokens += self.rng.randrange(400)
        usage = {"input_tokens": self.tokens % 2_500, "output_tokens": 7}
        content: list[dict[str, Any]] = []
        if self.rng.random() < 0.3:
            content.append({"type": "thinking", "thinking": "hm", "signature": "s"})
        if self.rng.random() < 0.7:
            content += _text("working") * self.rng.choice((1, 2))
        names = ("bash", "read", "write", "glob", "lookup", "no_such_tool", *MCP)
        uses = self.rng.choice((0, 0, 1, 1, 2, 3))
        content += [
            {"type": "tool_use", "id": f"toolu_{len(self.rows)}_{n}", "name": self.rng.choice(names), "input": {"a": n}}
            for n in range(uses)
        ]
        ends = ("end_turn", "end_turn", "end_turn", "max_tokens", "pause_turn", "refusal")
        stop = "tool_use" if uses and self.rng.random() < 0.8 else self.rng.choice(ends)
        if uses and stop in ("end_turn", "pause_turn", "refusal"):
            stop = "tool_use"
        return ModelReply(content, stop, usage=usage)

    def _tools(self, start: list[str], running: list[str]) -> None:
        for call_id in start:
            self.append(self.factory.internal(events.INTENT, {"call_id": call_id, "epoch": 1}))
        for call_id in self.rng.sample(running, k=len(running)):
            if self.rng.random() < 0.7:
                call = self.state.call(call_id)
                mcp, failed = call is not None and call.kind == "mcp", self.rng.random() < 0.2
                self.append(self.factory.tool_result(call_id, _text("done"), is_error=failed, mcp=mcp))

    # -- whole runs

    def run(self, steps: int) -> None:
        for _ in range(steps):
            if self.rng.random() < 0.3:
                self.client()
            else:
                self.harness()

    def settle(self, most: int = 2_000) -> None:
        for _ in range(most):
            if not self.harness():
                return
        raise AssertionError("the session never comes to rest")


def _text(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]


def unseen(_event_id: str, _frame: bytes, _kind: str, _start: bool) -> None:
    """Nobody watches the previews."""
