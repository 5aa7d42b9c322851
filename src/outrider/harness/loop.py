"""The loop that drives one session under one lease: decide, act, append, until there is nothing to do.

Everything it holds can be dropped at any moment: the log says where to go on. It never decides by itself; see
`next_action`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from outrider import faults
from outrider.errors import (
    CallLost,
    HeadMoved,
    InvalidRequest,
    ModelFailure,
    SandboxUnavailable,
)
from outrider.harness import context as prompts
from outrider.harness.asked import Request
from outrider.harness.backoff import delay
from outrider.harness.connecting import Servers
from outrider.harness.enlisting import Enlistment
from outrider.harness.estimates import estimated
from outrider.harness.hands import Hands as Hands
from outrider.harness.journal import Journal
from outrider.harness.memory import SessionMemory
from outrider.harness.next_action import (
    Action,
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
from outrider.harness.outputs import said_of
from outrider.harness.replies import ReplyDraft, reply_rows
from outrider.harness.repositories import Mounting
from outrider.harness.telling import Telling
from outrider.harness.uploads import Bringing
from outrider.harness.way_out import WayOut
from outrider.ports.metrics import RESCHEDULES
from outrider.ports.model import ModelCall, ModelProfile, ModelReply
from outrider.ports.sandbox import ToolCall, ToolOutcome, text_outcome
from outrider.session import costs, events, size
from outrider.session.inbox import close_call, span_end
from outrider.session.state import Call, State, active_seconds
from outrider.session.tail import Tail

TOOL_STOP_SECONDS = 10.0
AWAY_SECONDS = 0.5  # between two looks whether whoever has a session's files is back
UNKNOWN_WINDOW = 200_000
INTERRUPTED = text_outcome(events.INTERRUPTED_TEXT, is_error=True)


class Driver:
    """Drives one session. `tail` tells of rows that clients append meanwhile."""

    def __init__(self, hands: Hands, journal: Journal, tail: Tail) -> None:
        self._hands = hands
        self._journal = journal
        self._tail = tail
        self._news = tail.news
        self._telling = Telling(hands.telemetry, hands.clock, journal.lease.key.session)
        journal.traced_by(hands.telemetry.tracer, lambda: self._telling.trace)
        self._enlistment = Enlistment(hands, journal)
        self._memory = memory = SessionMemory(hands, journal)
        self._mounting = Mounting(
            hands, journal, self._news, lambda work: self._group.create_task(work), memory.execute
        )
        self._bringing = Bringing(hands.uploads, journal, self._news, lambda work: self._group.create_task(work))
        self._request: Request | None = None
        self._tools: dict[str, asyncio.Task[None]] = {}
        self._finished: dict[str, ToolOutcome] = {}
        parts = (hands.connectors, hands.sandboxes, hands.whereabouts)
        self._servers = Servers(*parts, journal.lease.key, self._telling, tail.news.set)
        self._way_out = WayOut(hands.egress, journal)
        self._intended: set[str] = set()  # calls whose intent this driver wrote, so that nobody else can have begun
        self._stopping = False
        self._retry_after: float | None = None
        self._retry_at: float | None = None

    async def run(self) -> bool:
        """Work until the lease is given up (True), or until told to stop. Raises Fenced when another owner has taken
        over."""
        async with asyncio.TaskGroup() as self._group:
            try:
                await self._journal.load()
                while not self._may_stop():
                    if await self._step():
                        return True
                return False
            finally:
                for task in (*self._under_way(), *self._mounting.under_way(), *self._bringing.under_way()):
                    task.cancel()
                self._telling.leave()

    def stop_soon(self) -> None:
        """Stop at the next step at which nothing would have to be paid for again. Calls that run are left to the next
        owner, who attaches to them; what the model is saying is waited for."""
        self._stopping = True
        self._news.set()

    def _may_stop(self) -> bool:
        """Nobody can attach to a call of an MCP tool, so those are waited for too."""
        asked = self._request is not None and self._request.task is not None
        return self._stopping and not asked and not self._calls_elsewhere()

    def _calls_elsewhere(self) -> bool:
        calls = (call.id for call in self._state.open_calls if call.kind == "mcp" and call.started)
        return any(name in self._tools and name not in self._finished for name in calls)

    def _under_way(self) -> list[asyncio.Task[None]]:
        request = self._request.task if self._request is not None else None
        return [task for task in (*self._tools.values(), request) if task is not None]

    async def _step(self) -> bool:
        """One decision carried out; True when the lease is gone."""
        self._news.clear()
        try:
            if self._tail.take():
                await self._journal.catch_up()
            self._forget_tools()
            self._stage_results()
            self._telling.follow(self._state)
            done = await self._perform(next_action(self._state, self._bounds()))
            self._telling.follow(self._state)
            return done
        except HeadMoved:
            await self._journal.load()
            self._forget_request()
            return False

    def _forget_request(self) -> None:
        """One whose end is stored, though a client's rows came in between."""
        request = self._request
        if request is not None and request.outcome is not None and request.span != self._state.open_span:
            self._request = None

    @property
    def _state(self) -> State:
        return self._journal.state

    def _bounds(self) -> Bounds:
        limits, profile = self._hands.limits, self._profile()
        window = UNKNOWN_WINDOW if isinstance(profile, InvalidRequest) else profile.window
        capped = self._capped(profile)
        return Bounds(window, limits.tool_rounds, limits.compactions_in_a_row, limits.model_attempts, capped)

    def _capped(self, profile: ModelProfile | InvalidRequest) -> bool:
        """With a budget, what has no price (any more) can't be asked either."""
        state = self._state
        if state.spending.budget is None:
            return False
        unpriced = isinstance(profile, ModelProfile) and profile.price is None
        return unpriced or costs.capped(state.spending, active_seconds(state, self._journal.factory.now()))

    def _profile(self) -> ModelProfile | InvalidRequest:
        """The agent's model as it is configured now, or why no endpoint serves it (any more)."""
        try:
            return self._hands.models.profile(self._journal.context.agent["model"]["id"])
        except InvalidRequest as problem:
            return problem

    async def _perform(self, action: Action) -> bool:
        match action:
            case Release():
                return await self._journal.release()
            case Interrupt():
                return await self._interrupt()
            case TakeUp(event_ids):
                self._take_up(event_ids)
            case ReadRepositories() | CheckOut() | Connect():
                await self._prepare(action)
            case CallModel(purpose):
                return await self._call_model(purpose)
            case AwaitModel(span):
                await self._await_model(span)
            case Retry(attempts):
                await self._retry(attempts)
            case RunTools(start, running):
                await self._run_tools(start, running)
            case EndTurn():
                return await self._end_turn(action)
        return False

    async def _prepare(self, action: ReadRepositories | CheckOut | Connect) -> None:
        if isinstance(action, Connect):
            await self._connect()
        elif isinstance(action, ReadRepositories):
            await self._mounting.read(action.resources)
        else:
            await self._mounting.check_out(action.resource, self._can_run_tools, self._way_out.settle)

    # -- turns

    def _take_up(self, event_ids: list[str]) -> None:
        """Written with what follows from it, the request or the calls: one commit less on the way to the model."""
        begins = self._state.status == "idle"
        rows = self._journal.factory.running() if begins else []
        self._journal.stage(*rows, *(self._journal.factory.processed(event_id) for event_id in event_ids), exact=begins)

    async def _end_turn(self, action: EndTurn) -> bool:
        factory = self._journal.factory
        await self._enlistment.settle(action.stop_reason)
        if self._state.used_sandbox:  # there may be something new in memory and in the outputs folder
            await self._memory.rest()
            if refused := await self._hands.outputs.collect(self._journal.lease):
                self._journal.stage(factory.error("unknown_error", said_of(refused), "retrying"))
        if action.error is not None:
            self._journal.stage(factory.error(*action.error, "exhausted"))
        if action.drop_queue:
            self._journal.stage(*(factory.processed(item.id, dropped=True) for item in self._state.queue))
        self._journal.stage_idle(action.stop_reason, action.stop_details)
        waits = self._state.waiting("user.message") is not None and not self._state.requires_action
        return await self._journal.flush(release=not waits, exact=True)

    async def _interrupt(self) -> bool:
        """Stop what runs, close what is open, end the turn; then the queue is looked at anew."""
        factory = self._journal.factory
        self._servers.stop()
        await self._stop_request()
        await self._mounting.stop()
        await self._bringing.stop()
        await self._stop_tools()
        if self._state.open_span is not None:
            self._journal.stage(*(self._request.charge(factory) if self._request is not None else ()))
            self._journal.stage(span_end(factory, self._state.open_span, is_error=None))
        interrupted = events.text_blocks(events.INTERRUPTED_TEXT)
        self._journal.stage(*(close_call(factory, call, interrupted) for call in self._state.open_calls))
        interrupts = [item for item in self._state.queue if item.type == "user.interrupt"]
        self._journal.stage(*(factory.processed(item.id) for item in interrupts))
        released = await self._end_turn(EndTurn({"type": "end_turn"}))
        self._request = None  # not before its end is stored: should these rows have to be made once more, it is charged
        return released

    # -- the model

    async def _call_model(self, purpose: str) -> bool:
        journal, profile = self._journal, self._profile()
        if isinstance(profile, InvalidRequest):
            problem = ("model_request_failed_error", profile.message)
            return await self._end_turn(EndTurn({"type": "retries_exhausted"}, error=problem, drop_queue=True))
        body = prompts.build_request(journal.context, profile, purpose=purpose)
        body["messages"] = await self._hands.shows.shown(journal.lease.key.workspace, body["messages"])
        start = journal.factory.public("span.model_request_start")
        encoded = events.encode(body)
        estimate = estimated(profile, body, journal.context.tokens)
        attempt = self._state.attempts + 1
        facts = prompts.request_facts(body, encoded, profile, purpose=purpose, attempt=attempt, estimate=estimate)
        journal.stage(start, journal.factory.internal(events.REQUEST, facts))
        draft = ReplyDraft(journal.factory.id, self._preview if purpose == "turn" else _no_preview)
        call = ModelCall(profile.endpoint, body, journal.lease.key.session, journal.lease.epoch, encoded)
        # Known before its start is stored: when clients' rows come in between, it is sent all the same.
        self._request = request = Request(start.id, purpose, profile, draft, call, estimate)
        await journal.flush()
        if not self._stopping:
            self._send(request)
            await asyncio.sleep(0)  # it goes first
            await self._enlistment.begin()
        else:
            journal.stage(*request.charge(journal.factory))  # its next owner learns that it was never sent
            await journal.flush()
        return False

    def _send(self, request: Request) -> None:
        request.task = self._group.create_task(self._respond(request))

    async def _respond(self, request: Request) -> None:
        faults.point("harness.model.before")
        with self._telling.model_request(request.call, request.draft.on_delta) as told:
            try:
                request.outcome = await self._hands.model.respond(request.call, told.on_delta)
            except ModelFailure as failure:
                request.outcome = failure
            told.note(request.outcome)
        faults.point("harness.model.after")
        self._news.set()

    def _preview(self, event_id: str, frame: bytes, kind: str, start: bool) -> None:
        self._hands.feed.preview(self._journal.lease.key, self._state.thread, event_id, frame, kind=kind, start=start)

    async def _await_model(self, span: str) -> None:
        request = self._request
        if request is None or request.span != span:
            # Left open by an owner that died: closed as failed, and asked again under new ids.
            self._journal.stage(span_end(self._journal.factory, span, is_error=True))
            await self._journal.flush()
        elif request.outcome is not None:
            self._stage_outcome(request, request.outcome)
            # The last failure ends the turn, so what has come in between must be seen before.
            await self._journal.flush(exact=self._state.status == "idle")
            self._request = None
        else:
            if request.task is None:
                self._send(request)
            await self._news.wait()

    def _stage_outcome(self, request: Request, outcome: ModelReply | ModelFailure) -> None:
        journal = self._journal
        if isinstance(outcome, ModelFailure):
            journal.stage(*request.charge(journal.factory))
            self._stage_failure(request.span, outcome)
        elif request.purpose == "turn":
            context = journal.context
            journal.stage(
                *reply_rows(outcome, request.draft, context.agent, journal.factory, request.span, context.mcp)
            )
        else:
            self._stage_summary(request, outcome)

    def _stage_summary(self, request: Request, reply: ModelReply) -> None:
        journal = self._journal
        summary = "".join(block["text"] for block in reply.content if block["type"] == "text").strip()
        if not summary or reply.stop_reason == "refusal":
            text = "The model declined to write a summary." if summary else "The summary came back empty."
            failure = ModelFailure(text, kind="model_request_failed_error", retryable=True)
            self._stage_failure(request.span, failure, reply.usage)
            return
        kept = prompts.kept_messages(journal.context, request.profile)
        messages = journal.context.messages
        tokens = size.of_text(summary) + size.of_messages(messages[len(messages) - kept :])
        record = {"summary": summary, "keep": kept, "tokens": tokens}
        end = span_end(journal.factory, request.span, reply.usage, is_error=False)
        journal.stage(end, journal.factory.internal(events.SUMMARY, record))
        journal.stage(journal.factory.public("agent.thread_context_compacted"))

    def _stage_failure(self, span: str, failure: ModelFailure, usage: dict[str, Any] | None = None) -> None:
        journal = self._journal
        journal.stage(span_end(journal.factory, span, usage, is_error=True))
        self._retry_after, self._retry_at = failure.retry_after, None
        if failure.retryable and self._state.attempts < self._hands.limits.model_attempts:
            journal.stage(journal.factory.error(failure.kind, failure.message, "retrying"))
            journal.stage(*journal.factory.rescheduled())
            self._hands.telemetry.meter.add(RESCHEDULES)
            return
        journal.stage(journal.factory.error(failure.kind, failure.message, "exhausted"))
        journal.stage(*(journal.factory.processed(item.id, dropped=True) for item in self._state.queue))
        journal.stage_idle({"type": "retries_exhausted"}, None)

    async def _retry(self, attempts: int) -> None:
        """Wait out the backoff, but hear an interrupt at once."""
        now = self._hands.clock.monotonic()
        if self._retry_at is None:
            self._retry_at = now + delay(attempts, self._hands.limits, self._retry_after)
        try:
            async with asyncio.timeout(max(0.0, self._retry_at - now)):
                await self._news.wait()
        except TimeoutError:
            self._journal.stage(*self._journal.factory.running())

    async def _stop_request(self) -> None:
        if self._request is not None and self._request.task is not None:
            self._request.task.cancel()
            await asyncio.wait([self._request.task])

    # -- tools

    async def _connect(self) -> None:
        """An interrupt is heard while servers are slow."""
        journal = self._journal
        rows = self._servers.take(journal.context, journal.factory)
        if rows:
            journal.stage(*rows)
            return
        self._servers.ask(journal.context, journal.lease.epoch, self._group)
        await journal.flush()
        await self._news.wait()

    async def _run_tools(self, start: list[str], running: list[str]) -> None:
        new = [call_id for call_id in (*start, *running) if call_id not in self._tools]
        inside = [call_id for call_id in new if not self._is_mcp(call_id)]
        if inside and not await self._can_run_tools():
            return
        fresh = [call_id for call_id in inside if call_id in start]
        if fresh and not await self._bringing.settled(fresh):
            return
        self._intended.update(start)
        for call_id in start:
            fields = {"call_id": call_id, "epoch": self._journal.lease.epoch}
            self._journal.stage(self._journal.factory.internal(events.INTENT, fields))
        told = self._group.create_task(self._way_out.settle()) if inside else None
        await self._journal.flush()  # results too: nothing may stay staged while other calls run
        if told is not None:
            await told
            self._journal.stage(*self._way_out.take())
            await self._journal.flush()
        for call_id in [*start, *running]:
            if call_id not in self._tools:
                self._spawn(call_id, resume=call_id not in self._intended)
        if not start:
            await self._news.wait()

    def _is_mcp(self, call_id: str) -> bool:
        return any(call.id == call_id and call.kind == "mcp" for call in self._state.calls)

    async def _can_run_tools(self) -> bool:
        """Asked before an intent is written, so that whoever runs the call knows that nobody has begun it."""
        where = await self._hands.whereabouts(self._journal.lease.key.session)
        if where == "here":
            return True
        await self._journal.flush()
        if where == "elsewhere":
            self.stop_soon()
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(AWAY_SECONDS):
                    await self._news.wait()
        return False

    def _spawn(self, call_id: str, *, resume: bool) -> None:
        call = self._state.call(call_id)
        assert call is not None
        work = self._ask_server(call, resume=resume) if call.kind == "mcp" else self._execute(call, resume=resume)
        self._tools[call_id] = self._group.create_task(work)

    async def _ask_server(self, call: Call, *, resume: bool) -> None:
        context, thread, epoch = self._journal.context, self._state.thread, self._journal.lease.epoch
        self._finished[call.id] = await self._servers.call(call, context, thread, epoch, resume=resume)
        self._news.set()

    async def _execute(self, call: Call, *, resume: bool) -> None:
        faults.point("harness.tool.before")
        folders = self._journal.context.shared
        tool_call = ToolCall(call.id, self._state.thread, call.name, call.input, folders=folders)
        with self._telling.tool_call(tool_call) as ended:
            try:
                outcome = await self._memory.execute(tool_call, resume=resume)
                ended(outcome, "ok")
            except CallLost:
                self._bringing.again()
                outcome = ended(text_outcome(events.CALL_LOST_TEXT, is_error=True), "lost")
            except SandboxUnavailable as problem:
                self._bringing.again()
                outcome = ended(text_outcome(problem.message, is_error=True), "unavailable")
        faults.point("harness.tool.after")
        self._finished[call.id] = outcome
        self._news.set()

    def _stage_results(self) -> None:
        """Rows for calls that have come back; the next flush writes them."""
        factory = self._journal.factory
        rows = self._servers.failure_rows(factory)
        for call_id, outcome in self._finished.items():
            call = self._state.call(call_id)
            if call is not None and not call.answered:
                mcp = call.kind == "mcp"
                rows.append(factory.tool_result(call_id, outcome.content, is_error=outcome.is_error, mcp=mcp))
        self._journal.stage(*rows)

    def _forget_tools(self) -> None:
        if not self._state.calls:
            self._tools = {call_id: task for call_id, task in self._tools.items() if not task.done()}
            self._finished = {}

    async def _stop_tools(self) -> None:
        """End the calls that run, those too that an earlier owner began."""
        lease = self._journal.lease
        running = [call.id for call in self._state.open_calls if call.started]
        tasks = [self._tools[call_id] for call_id in running if call_id in self._tools]
        for call_id in running:
            if self._is_mcp(call_id):
                if call_id in self._tools:
                    self._tools[call_id].cancel()  # the vault hears of it, and tells the server
                continue
            with suppress(CallLost, SandboxUnavailable):  # out of reach: its call is closed all the same
                faults.point("harness.interrupt.before")
                await self._hands.sandboxes.interrupt(lease.key.session, call_id, epoch=lease.epoch)
                faults.point("harness.interrupt.after")
        if tasks:
            await asyncio.wait(tasks, timeout=TOOL_STOP_SECONDS)
        for task in tasks:
            task.cancel()
        # What they said when they were ended is no outcome, should these rows have to be made once more.
        self._finished |= dict.fromkeys(running, INTERRUPTED)


def _no_preview(_event_id: str, _frame: bytes, _kind: str, _start: bool) -> None:
    """A summary is not shown while it is written."""
