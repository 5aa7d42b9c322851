"""Rows in the making: the log's vocabulary, and one factory that stamps ids and times and encodes each body once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from outrider.clock import Clock
from outrider.ids import IdSource
from outrider.ports.log import NewEvent, Row

# Internal rows share the log and its `seq`, are never shown to clients, and carry a schema version `v`.
CREATED = "session.created"
PROCESSED = "event.processed"
INTENT = "tool.intent"
REQUEST = "model.request"
REPLY = "model.reply"
CHARGE = "model.charge"
SUMMARY = "context.summary"
CONNECTED = "mcp.connected"
TRACE = "request.trace"
RESOURCE = "resource.updated"
FILE_GIVEN = "file.given"
FILE_TAKEN = "file.taken"
FILES_NAMED = "files.named"
REPOSITORY = "repository.read"
CHECKOUT = "repository.checkout"
CHECKED_OUT = "repository.checked_out"
INTERNAL_VERSION = 1

INTERRUPTED_TEXT = "Tool execution was interrupted before completion. Please retry."
CALL_LOST_TEXT = (
    "The tool call was interrupted: its sandbox went away before an outcome was recorded. It may have partly run."
    " Check the state of the files before trying again."
)
MCP_LOST_TEXT = (
    "The tool call was interrupted before an outcome was recorded. It may have partly run. Check what it did before"
    " trying again."
)

_encoder = msgspec.json.Encoder()
_decode = msgspec.json.Decoder().decode


def encode(value: Any) -> bytes:
    return _encoder.encode(value)


def decode(body: bytes) -> Any:
    return _decode(body)


class EventFactory:
    """Makes rows for one thread of one session. Bodies end with `processed_at`, so that a waiting event's second
    showing is the same bytes with the time put in."""

    def __init__(self, thread: str, agent_name: str, ids: IdSource, clock: Clock) -> None:
        self.thread = thread
        self.agent_name = agent_name
        self._ids = ids
        self._clock = clock

    def id(self) -> str:
        return self._ids.new("sevt")

    def now(self) -> str:
        return self._clock.now()

    def public(self, kind: str, fields: Mapping[str, Any] | None = None, *, id: str | None = None) -> NewEvent:
        """An event that is processed as it is written."""
        at = self._clock.now()
        event_id = id or self.id()
        body = encode({"id": event_id, "type": kind, **(fields or {}), "processed_at": at})
        return NewEvent(event_id, kind, body, self.thread, processed_at=at)

    def waiting(self, kind: str, fields: Mapping[str, Any]) -> NewEvent:
        """A client's event that is taken up later."""
        event_id = self.id()
        body = encode({"id": event_id, "type": kind, **fields, "processed_at": None})
        return NewEvent(event_id, kind, body, self.thread)

    def internal(self, kind: str, fields: Mapping[str, Any]) -> NewEvent:
        body = encode({"v": INTERNAL_VERSION, **fields})
        return NewEvent(self.id(), kind, body, self.thread, public=False, processed_at=self._clock.now())

    def processed(self, event_id: str, *, dropped: bool = False) -> NewEvent:
        """The row that takes a waiting event up, or says that it was dropped."""
        at = self._clock.now()
        body = encode({"v": INTERNAL_VERSION, "event_id": event_id, "at": at, "dropped": dropped})
        return NewEvent(self.id(), PROCESSED, body, self.thread, public=False, processed_at=at, processes=event_id)

    def running(self) -> list[NewEvent]:
        return [self.public("session.status_running"), self._thread_status("running")]

    def rescheduled(self) -> list[NewEvent]:
        return [self.public("session.status_rescheduled"), self._thread_status("rescheduled")]

    def terminated(self) -> list[NewEvent]:
        return [self._thread_status("terminated"), self.public("session.status_terminated")]

    def idle(
        self,
        stop_reason: Mapping[str, Any],
        usage: Mapping[str, Any],
        stop_details: Mapping[str, Any] | None = None,
        *,
        budget: Mapping[str, Any] | None = None,
        session_reason: Mapping[str, Any] | None = None,
    ) -> list[NewEvent]:
        """Thread idle, usage, session idle: in this order, whatever the reason. The session's own may be another."""
        stop = {"stop_reason": stop_reason, "stop_details": stop_details}
        whole = stop if session_reason is None else {"stop_reason": session_reason, "stop_details": None}
        return [
            self._thread_status("idle", stop),
            self.public("session.usage", {"usage": usage, "budget": budget}),
            self.public("session.status_idle", whole),
        ]

    def tool_result(
        self, use_id: str, content: Sequence[Mapping[str, Any]], *, is_error: bool, mcp: bool = False
    ) -> NewEvent:
        name = "mcp_tool_use_id" if mcp else "tool_use_id"
        fields = {name: use_id, "content": list(content), "is_error": is_error}
        return self.public("agent.mcp_tool_result" if mcp else "agent.tool_result", fields)

    def error(self, kind: str, message: str, retry_status: str, **more: str) -> NewEvent:
        error = {"type": kind, "message": message, "retry_status": {"type": retry_status}, **more}
        return self.public("session.error", {"error": error})

    def _thread_status(self, status: str, extra: Mapping[str, Any] | None = None) -> NewEvent:
        fields = {"session_thread_id": self.thread, "agent_name": self.agent_name, **(extra or {})}
        return self.public(f"session.thread_status_{status}", fields)


def text_blocks(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]


def with_time(body: bytes, processed_at: str | None) -> bytes:
    """A stored body as clients see it once it has been processed at that time."""
    waiting = b'"processed_at":null}'
    if processed_at is None or not body.endswith(waiting):
        return body
    return body[: -len(waiting)] + b'"processed_at":"' + processed_at.encode() + b'"}'


def as_row(event: NewEvent, seq: int, epoch: int) -> Row:
    """The row that an append of this event makes."""
    return Row(
        seq,
        event.id,
        event.type,
        event.body,
        event.thread,
        event.public,
        epoch,
        event.processed_at,
        event.processes,
    )
