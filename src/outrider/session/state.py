"""The state that a session's log folds into: a light part that the API reads, and the model's context beside it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from outrider.ports.log import SessionPatch
from outrider.session import costs
from outrider.session.costs import Spending

VERSION = 5  # of the fold: snapshots made by another version are thrown away and rebuilt from the log

Status = Literal["idle", "running", "rescheduling", "terminated"]
Phase = Literal["rest", "model", "tools"]
Message = dict[str, Any]


class Call(msgspec.Struct):
    """One tool use of the latest model reply. `model_id` is the model's own id for it; `id` its event's. An MCP tool
    has a `server`, and a `model_name` by which the model calls it. One of kind `worker` is a built-in tool's on a
    self-hosted environment: its result comes from outside."""

    id: str
    name: str
    kind: Literal["builtin", "worker", "custom", "mcp"]
    permission: Literal["allow", "ask", "deny"]
    model_id: str = ""
    input: dict[str, Any] = {}
    confirmed: bool = False
    started: bool = False
    answered: bool = False
    content: list[dict[str, Any]] = []
    is_error: bool = False
    server: str = ""
    model_name: str = ""

    @property
    def awaits_client(self) -> bool:
        """Nothing but an answer by the client moves this call on."""
        outside = self.kind in ("custom", "worker")
        return not self.answered and (outside or (self.permission == "ask" and not self.confirmed))

    @property
    def runnable(self) -> bool:
        return not self.answered and not self.started and not self.awaits_client


class Waiting(msgspec.Struct):
    """A client's event that no turn has taken up yet."""

    id: str
    type: str
    content: list[dict[str, Any]] = []


class Repository(msgspec.Struct):
    """A repository of the session. `read`: whether the vault could read what it says of itself; `checkout`: whether it
    is in the sandbox's workspace, and `call` the id by which that was begun for the `tries`th time."""

    id: str
    read: Literal["no", "yes", "failed"] = "no"
    checkout: Literal["no", "begun", "done", "failed"] = "no"
    call: str = ""
    tries: int = 0


class GivenFile(msgspec.Struct):
    """A file that the session's user gave it: its resource, its id, and where the sandbox has it."""

    id: str
    file_id: str
    mount_path: str
    filename: str
    mime_type: str
    size: int


class Usage(msgspec.Struct):
    """Tokens, summed over all model requests; `input_tokens` are uncached ones only."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    ephemeral_5m: int = 0
    ephemeral_1h: int = 0


class Context(msgspec.Struct):
    """What the model sees: the agent's configuration and the messages since the last summary.

    `drafts` holds the texts of the reply that is being folded, by event id, until its `model.reply` row.
    """

    agent: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    messages: list[Message] = []
    drafts: dict[str, list[Message]] = {}
    mounts: list[dict[str, Any]] = []  # repositories: address, path, checkout, skills, and the latest problem
    named: dict[str, dict[str, Any]] = {}  # files that the next client's event names: media type and size
    files: list[GivenFile] = []
    had_files: bool = False  # some were given once, though they may have been taken away since
    folders: list[dict[str, Any]] = []  # the operator's, as the session was given them
    memory: list[dict[str, Any]] = []  # memory stores, as they were attached
    skills: list[dict[str, Any]] = []  # of the agent: id, version, name, description, directory, size
    mcp: dict[str, list[dict[str, Any]]] = {}  # tools by server, of those that could be reached when the turn began
    unoffered: list[str] = []  # the client was told that a request has no room for these tools
    tokens: int = 0  # of the latest request's prompt and reply, as the model counted them, and an estimate of the rest
    turn: int = 0  # where in `messages` the present turn begins

    @property
    def shared(self) -> list[tuple[str, bool]]:
        """The operator's folders by name, and whether the agent may write there."""
        return [(one["name"], one["access"] == "read_write") for one in self.folders]


class State(msgspec.Struct):
    """Everything that decides what happens next. `context` is None in the light form."""

    seq: int = 0
    thread: str = ""
    agent_name: str = ""
    self_hosted: bool = False  # built-in tools are run by a worker of the environment
    status: Status = "idle"
    stop_reason: dict[str, Any] | None = None
    phase: Phase = "rest"
    open_span: str | None = None
    purpose: str = "turn"
    calls: list[Call] = []
    queue: list[Waiting] = []
    repositories: list[Repository] = []
    refusal: dict[str, Any] | None = None
    connected: bool = False  # the MCP servers were asked since the session last rested
    rounds: int = 0
    used_sandbox: bool = False  # a built-in call was begun in this turn
    attempts: int = 0
    cut_replies: int = 0
    compactions: int = 0
    usage: Usage = msgspec.field(default_factory=Usage)
    spending: Spending = msgspec.field(default_factory=Spending)
    paused: bool = False  # the budget stopped the turn, which goes on from here when there is more
    active_seconds: float = 0.0
    running_since: str | None = None
    trace: str = ""  # traceparent of the request that woke the session, if it was traced
    next_trace: str = ""  # of one that came meanwhile
    context: Context | None = None

    @property
    def requires_action(self) -> bool:
        return self.status == "idle" and self.stop_reason is not None and self.stop_reason["type"] == "requires_action"

    @property
    def open_calls(self) -> list[Call]:
        return [call for call in self.calls if not call.answered]

    @property
    def awaited(self) -> list[str]:
        """Ids of the calls that only the client, or a worker, can move on."""
        return [call.id for call in self.calls if call.awaits_client]

    @property
    def needs_worker(self) -> bool:
        """Somebody outside should be there to run its tools: it works, or waits for a result."""
        return self.self_hosted and (self.status in ("running", "rescheduling") or self.requires_action)

    @property
    def unread(self) -> list[str]:
        """Ids of repositories that nobody has looked at in this turn."""
        return [one.id for one in self.repositories if one.read == "no"]

    @property
    def missing(self) -> Repository | None:
        """A repository that belongs into the workspace and is not there yet."""
        return next((one for one in self.repositories if one.read == "yes" and one.checkout in ("no", "begun")), None)

    def repository(self, resource: str) -> Repository | None:
        return next((one for one in self.repositories if one.id == resource), None)

    def waiting(self, kind: str) -> Waiting | None:
        return next((item for item in self.queue if item.type == kind), None)

    def call(self, event_id: str) -> Call | None:
        return next((call for call in self.calls if call.id == event_id), None)


class _Stored(msgspec.Struct, array_like=True):
    """A snapshot's bytes: the light part can be read without decoding the context."""

    state: msgspec.Raw
    context: msgspec.Raw


_light = msgspec.json.Decoder(State)
_context = msgspec.json.Decoder(Context)
_stored = msgspec.json.Decoder(_Stored)
_encode = msgspec.json.Encoder().encode


def dump(state: State) -> bytes:
    """A snapshot's body. Raises ValueError for a light state, which can't stand for the whole."""
    if state.context is None:
        raise ValueError("a light state has no context to store")
    light = msgspec.structs.replace(state, context=None)
    return _encode(_Stored(msgspec.Raw(_encode(light)), msgspec.Raw(_encode(state.context))))


def load(body: bytes, *, light: bool = False) -> State:
    stored = _stored.decode(body)
    state = _light.decode(stored.state)
    state.context = None if light else _context.decode(stored.context)
    return state


def copy_light(state: State) -> State:
    """A light copy that can be folded on without touching the original."""
    return _light.decode(_encode(msgspec.structs.replace(state, context=None)))


def active_seconds(state: State, now: str) -> float:
    """Seconds spent running until `now` (RFC 3339)."""
    if state.running_since is None:
        return round(state.active_seconds, 3)
    span = datetime.fromisoformat(now) - datetime.fromisoformat(state.running_since)
    return round(state.active_seconds + max(0.0, span.total_seconds()), 3)


def usage_object(state: State, now: str) -> dict[str, Any]:
    """Cumulative usage in the API's shape, as it stands at `now`."""
    usage = state.usage
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.ephemeral_5m,
            "ephemeral_1h_input_tokens": usage.ephemeral_1h,
        },
        "active_seconds": active_seconds(state, now),
    }


def shows_cost(spending: Spending) -> bool:
    """Whether it can be said what the session costs: all that its model did has a price."""
    return (spending.known or spending.budget is not None) and not spending.unknown


def spent(state: State, now: str) -> int:
    """Picodollars, exactly, up to `now`."""
    return costs.spent(state.spending, active_seconds(state, now))


def capped(state: State, now: str) -> bool:
    """Whether the budget lets no request be made: it is used up, or stopped the turn."""
    if state.spending.budget is None:
        return False
    return state.paused or costs.capped(state.spending, active_seconds(state, now))


def counted_usage(state: State, now: str) -> dict[str, Any]:
    """The usage with what it costs."""
    cost = costs.amount(spent(state, now)) if shows_cost(state.spending) else None
    return usage_object(state, now) | {"list_cost": cost}


def patch_for(state: State, now: str) -> SessionPatch:
    """The session record's projection of this state, to be written with the rows that led to it."""
    spending = state.spending
    stats: dict[str, Any] = {"active_seconds": round(state.active_seconds, 3), "running_since": state.running_since}
    if state.self_hosted:
        stats["needs_worker"] = state.needs_worker
    if shows_cost(spending):
        stats |= {"cost": spending.settled, "hour": spending.hour}
    return SessionPatch(
        status=state.status, usage=_encode(usage_object(state, now)), stats=_encode(stats), updated_at=now
    )
