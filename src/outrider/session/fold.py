"""`fold(rows) -> State`: what a log means, row by row. Pure: no I/O, no clock; the same rows give the same state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Literal

from outrider.ports.log import Row
from outrider.session import checkouts, costs, events, size
from outrider.session.named import with_facts
from outrider.session.sendable import sendable
from outrider.session.state import Call, Context, GivenFile, Message, Repository, State, Usage, Waiting

CUT = ("max_tokens", "model_context_window_exceeded")
CONTINUE_TEXT = "Your reply reached the limit on its length and was cut off. Continue exactly where it stopped."
DECLINED_TEXT = (
    "[A turn stood here that the model declined. It is left out of view, and kept in the session's log; what tools did"
    " in it stands.]"
)
SUMMARY_TEXT = (
    "The conversation so far was too long to keep in view and has been summarised. The summary follows; everything"
    " before it is kept in the session's log.\n\n"
)

SELF_HOSTED = "self_hosted"
USES: dict[str, Literal["builtin", "custom", "mcp"]] = {
    "agent.tool_use": "builtin",
    "agent.custom_tool_use": "custom",
    "agent.mcp_tool_use": "mcp",
}
USE_IDS = ("tool_use_id", "custom_tool_use_id", "mcp_tool_use_id")

Handler = Callable[[State, Row], None]


def fold(rows: Iterable[Row], state: State | None = None) -> State:
    """The state after these rows; continues `state` in place when one is given (light states stay light)."""
    result = State(context=Context()) if state is None else state
    for row in rows:
        apply(result, row)
    return result


def apply(state: State, row: Row) -> None:
    """Fold one row, which must be the next one."""
    if row.seq != state.seq + 1:
        raise ValueError(f"row {row.seq} does not follow {state.seq}")
    state.seq = row.seq
    handler = HANDLERS.get(row.type)
    if handler is not None:
        handler(state, row)


def _created(state: State, row: Row) -> None:
    body = events.decode(row.body)
    state.thread = row.thread
    state.agent_name = body["agent"]["name"]
    if state.context is not None:
        state.context.agent = body["agent"]
        state.context.environment = body["environment"]
        state.context.memory = body.get("memory_stores", [])
        state.context.skills = body.get("skills", [])
        state.context.folders = body.get("folders", [])
    for folder in body.get("folders", []):
        if folder["clone"] is not None:
            state.repositories.append(Repository(folder["id"], read="yes"))
            if state.context is not None:
                state.context.mounts.append(checkouts.cloned(folder))
    state.self_hosted = body["environment"].get("config", {}).get("type") == SELF_HOSTED
    state.spending.budget, state.spending.hour = body.get("budget"), body.get("hour", 0)
    for resource in body.get("resources", []):
        if resource["type"] == "file":
            _give(state, resource)
            continue
        state.repositories.append(Repository(resource["id"]))
        if state.context is not None:
            state.context.mounts.append({**resource, "skills": [], "error": None})


def _give(state: State, resource: dict[str, Any]) -> None:
    if state.context is not None:
        state.context.had_files = True
        fields = {name: resource[name] for name in GivenFile.__struct_fields__}
        state.context.files.append(GivenFile(**fields))


def _file_given(state: State, row: Row) -> None:
    _give(state, events.decode(row.body)["resource"])


def _file_taken(state: State, row: Row) -> None:
    resource = events.decode(row.body)["resource"]
    if state.context is not None:
        state.context.files = [one for one in state.context.files if one.id != resource]


def _repository_read(state: State, row: Row) -> None:
    body = events.decode(row.body)
    repository = state.repository(body["resource"])
    if repository is not None:
        repository.read = "failed" if body["error"] else "yes"
        _note_mount(state, body["resource"], error=body["error"], skills=body["skills"])


def _checkout(state: State, row: Row) -> None:
    body = events.decode(row.body)
    repository = state.repository(body["resource"])
    if repository is not None:
        repository.checkout, repository.call = "begun", body["call_id"]
        repository.tries += 1


def _checked_out(state: State, row: Row) -> None:
    body = events.decode(row.body)
    repository = state.repository(body["resource"])
    if repository is not None:
        repository.checkout = "failed" if body["error"] else "done"
        _note_mount(state, body["resource"], error=body["error"])


def _note_mount(state: State, resource: str, **fields: Any) -> None:
    for mount in [] if state.context is None else state.context.mounts:
        if mount["id"] == resource:
            mount.update(fields)


def _try_again(state: State) -> None:
    """What could not be had in the last turn is looked for in the next one."""
    for repository in state.repositories:
        repository.tries = 0
        repository.read = "no" if repository.read == "failed" else repository.read
        repository.checkout = "no" if repository.checkout == "failed" else repository.checkout


def _updated(state: State, row: Row) -> None:
    body = events.decode(row.body)
    if "budget" in body:
        state.spending.budget = None if body["budget"] is None else costs.cents_of(body["budget"])
    agent = body.get("agent")
    if agent is not None and state.context is not None:
        state.context.agent = agent
        if not agent.get("mcp_servers"):  # no server will be asked, so nobody would note that there are no such tools
            state.context.unoffered = []


def _files_named(state: State, row: Row) -> None:
    if state.context is not None:
        state.context.named = events.decode(row.body)["files"]


def _client_event(state: State, row: Row) -> None:
    if row.processed_at is not None:
        return
    content: list[dict[str, Any]] = []
    if state.context is not None:
        content = sendable(with_facts(events.decode(row.body).get("content", []), state.context.named))
    state.queue.append(Waiting(row.id, row.type, content))


def _processed(state: State, row: Row) -> None:
    item = next((item for item in state.queue if item.id == row.processes), None)
    if item is None:
        return
    state.queue.remove(item)
    if item.type == "user.interrupt" or events.decode(row.body)["dropped"]:
        return
    begins = item.type == "user.message" and state.phase == "rest"
    if item.type == "user.message":
        state.phase = "model"
        state.rounds = state.attempts = state.cut_replies = state.compactions = 0
        state.refusal = None
        _try_again(state)
    if state.context is not None:
        role = "system" if item.type == "system.message" else "user"
        _see(state.context, {"role": role, "content": item.content}, begins=begins)


def _see(context: Context, message: Message, *, begins: bool = False) -> None:
    """The model sees one more message, which it has not counted yet."""
    if begins:
        context.turn = len(context.messages)
    context.messages.append(message)
    context.tokens += size.of_blocks(message["content"])


def _trace(state: State, row: Row) -> None:
    """Comes before the rows of a traced request."""
    trace = events.decode(row.body)["traceparent"]
    if state.status == "idle":
        state.trace = trace
    else:
        state.next_trace = trace


def _message(state: State, row: Row) -> None:
    if state.context is not None:
        state.context.drafts[row.id] = events.decode(row.body)["content"]


def _tool_use(state: State, row: Row) -> None:
    body = events.decode(row.body)
    kind = USES[row.type]
    permission = "allow" if kind == "custom" else body["evaluated_permission"]
    server = body.get("mcp_server_name", "")
    whose = "worker" if kind == "builtin" and state.self_hosted else kind
    state.calls.append(Call(row.id, body["name"], whose, permission, input=body["input"], server=server))


def _reply(state: State, row: Row) -> None:
    body = events.decode(row.body)
    uses = {block["ref"]: block for block in body["blocks"] if "model_id" in block}
    for call in state.calls:
        block = uses.get(call.id, {})
        call.model_id = block.get("model_id", call.model_id)
        call.model_name = block.get("model_name", call.model_name)
    state.attempts = state.compactions = 0
    stop = body["stop_reason"]
    cut = stop in CUT
    state.cut_replies = state.cut_replies + 1 if cut else 0
    state.refusal = body["stop_details"] if stop == "refusal" else None
    state.rounds += 1
    state.phase = "tools" if state.open_calls else "model" if cut or stop == "pause_turn" else "rest"
    if state.context is not None:
        _add_reply(state, state.context, body["blocks"], stop)


def _add_reply(state: State, context: Context, blocks: list[Message], stop: str) -> None:
    content = [_resolve(state, context, block) for block in blocks]
    context.drafts = {}
    if stop == "refusal":
        _leave_out_turn(context)
    elif content:
        context.messages.append({"role": "assistant", "content": content})
    if stop in CUT and not state.calls:
        context.messages.append({"role": "user", "content": events.text_blocks(CONTINUE_TEXT)})


def _leave_out_turn(context: Context) -> None:
    """What the model declined is not shown to it again: it would decline the next turn for it, too."""
    turn = context.messages[context.turn :]
    del context.messages[context.turn :]
    notes = _system_messages(turn)
    if notes or any(message["role"] == "assistant" for message in turn):
        context.messages += [{"role": "user", "content": events.text_blocks(DECLINED_TEXT)}, *notes]


def _system_messages(messages: list[Message]) -> list[Message]:
    """They hold for all that follows them, whatever becomes of their neighbours."""
    return [message for message in messages if message["role"] == "system"]


def _resolve(state: State, context: Context, block: Message) -> Message:
    """A block of the reply as the model sent it: kept whole, or by reference to the public event that shows it."""
    if "ref" not in block:
        return block
    if "index" in block:
        return context.drafts[str(block["ref"])][int(block["index"])]
    call = next(call for call in state.calls if call.id == block["ref"])
    return {"type": "tool_use", "id": call.model_id, "name": call.model_name or call.name, "input": call.input}


def _confirmation(state: State, row: Row) -> None:
    body = events.decode(row.body)
    call = state.call(body["tool_use_id"])
    if call is not None and body["result"] == "allow":
        call.confirmed = True


def _result(state: State, row: Row) -> None:
    body = events.decode(row.body)
    call = state.call(next(body[name] for name in USE_IDS if name in body))
    if call is None or call.answered:
        return
    call.answered = True
    call.content = body.get("content") or []
    if state.context is not None:
        call.content = with_facts(call.content, state.context.named)
    call.is_error = bool(body.get("is_error"))
    if state.open_calls:
        return
    if state.context is not None:
        _see(state.context, {"role": "user", "content": [_result_block(call) for call in state.calls]})
    state.calls = []
    state.phase = "model"


def _result_block(call: Call) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call.model_id}
    if content := sendable(call.content):
        block["content"] = content
    if call.is_error:
        block["is_error"] = True
    return block


def _connected(state: State, row: Row) -> None:
    """What the MCP servers offer; a listing that is null is the one that is known already. `unoffered` is there when it
    is not what it was."""
    state.connected = True
    if state.context is not None:
        known, body = state.context.mcp, events.decode(row.body)
        servers: dict[str, list[dict[str, Any]] | None] = body["servers"]
        state.context.mcp = {name: known[name] if tools is None else tools for name, tools in servers.items()}
        state.context.unoffered = body.get("unoffered", state.context.unoffered)


def _intent(state: State, row: Row) -> None:
    call = state.call(events.decode(row.body)["call_id"])
    if call is not None:
        call.started = True
        state.used_sandbox = state.used_sandbox or call.kind == "builtin"


def _request(state: State, row: Row) -> None:
    body = events.decode(row.body)
    state.purpose = body["purpose"]
    costs.begin(state.spending, body.get("tariff"), body.get("reserve", 0))


def _charge(state: State, row: Row) -> None:
    state.spending.charge = events.decode(row.body)["cost"]


def _span_start(state: State, row: Row) -> None:
    state.open_span = row.id


def _span_end(state: State, row: Row) -> None:
    body = events.decode(row.body)
    state.open_span = None
    usage = body["model_usage"]
    _count(state.usage, usage)
    costs.settle(state.spending, usage)
    if body["is_error"]:
        state.attempts += 1
        if state.context is not None:
            state.context.drafts = {}
    elif state.context is not None and state.purpose == "turn" and usage["output_tokens"]:
        state.context.tokens = sum(value for value in usage.values() if isinstance(value, int))


def _count(total: Usage, usage: dict[str, Any]) -> None:
    total.input_tokens += usage["input_tokens"]
    total.output_tokens += usage["output_tokens"]
    total.cache_read_input_tokens += usage["cache_read_input_tokens"]
    total.ephemeral_5m += usage["cache_creation_input_tokens"]


def _summary(state: State, row: Row) -> None:
    body = events.decode(row.body)
    state.compactions += 1
    context = state.context
    if context is not None:
        cut = len(context.messages) - body["keep"]
        opening = {"role": "user", "content": events.text_blocks(SUMMARY_TEXT + body["summary"])}
        before = [opening, *_system_messages(context.messages[:cut])]
        context.turn = len(before) + max(0, context.turn - cut)
        context.messages = [*before, *context.messages[cut:]]
        context.tokens = body["tokens"]


def _running(state: State, row: Row) -> None:
    state.status = "running"
    state.stop_reason = None
    state.paused = False
    state.running_since = row.processed_at
    if state.calls and state.phase == "rest":
        state.phase = "tools"


def _stop_clock(state: State, row: Row) -> None:
    if state.running_since is not None and row.processed_at is not None:
        span = datetime.fromisoformat(row.processed_at) - datetime.fromisoformat(state.running_since)
        state.active_seconds += max(0.0, span.total_seconds())
    state.running_since = None


def _rescheduled(state: State, row: Row) -> None:
    _stop_clock(state, row)
    state.status = "rescheduling"


def _thread_idle(state: State, row: Row) -> None:
    state.paused = events.decode(row.body)["stop_reason"]["type"] == "budget_reached"


def _idle(state: State, row: Row) -> None:
    _stop_clock(state, row)
    state.status = "idle"
    state.stop_reason = events.decode(row.body)["stop_reason"]
    state.connected = False
    state.used_sandbox = False
    state.trace, state.next_trace = state.next_trace if state.queue else "", ""
    if state.paused:
        return
    state.phase = "rest"
    state.rounds = state.attempts = state.cut_replies = state.compactions = 0


def _terminated(state: State, row: Row) -> None:
    _stop_clock(state, row)
    state.status = "terminated"


HANDLERS: dict[str, Handler] = {
    events.CREATED: _created,
    events.PROCESSED: _processed,
    events.INTENT: _intent,
    events.REQUEST: _request,
    events.CHARGE: _charge,
    events.REPLY: _reply,
    events.SUMMARY: _summary,
    events.CONNECTED: _connected,
    events.TRACE: _trace,
    events.REPOSITORY: _repository_read,
    events.CHECKOUT: _checkout,
    events.FILE_GIVEN: _file_given,
    events.FILE_TAKEN: _file_taken,
    events.FILES_NAMED: _files_named,
    events.CHECKED_OUT: _checked_out,
    "user.message": _client_event,
    "system.message": _client_event,
    "user.interrupt": _client_event,
    "user.tool_confirmation": _confirmation,
    "user.custom_tool_result": _result,
    "user.tool_result": _result,
    "agent.message": _message,
    "agent.tool_use": _tool_use,
    "agent.custom_tool_use": _tool_use,
    "agent.mcp_tool_use": _tool_use,
    "agent.tool_result": _result,
    "agent.mcp_tool_result": _result,
    "span.model_request_start": _span_start,
    "span.model_request_end": _span_end,
    "session.updated": _updated,
    "session.status_running": _running,
    "session.status_rescheduled": _rescheduled,
    "session.thread_status_idle": _thread_idle,
    "session.status_idle": _idle,
    "session.status_terminated": _terminated,
}
