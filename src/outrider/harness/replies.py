"""From a model's reply to rows: event ids are given out as blocks begin, so that previews and rows share them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from outrider.harness.mcp import Listings, McpTool, known
from outrider.harness.permissions import Verdict, evaluate
from outrider.harness.tools import BUILTINS
from outrider.ports.log import NewEvent
from outrider.ports.model import Delta, ModelReply
from outrider.session import events
from outrider.session.events import EventFactory
from outrider.session.fold import CUT
from outrider.session.inbox import span_end

Block = dict[str, Any]
Preview = Callable[[str, bytes, str, bool], None]  # event id, frame, kind of the coming event, whether it starts one


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block is shown: its event, and its index in that event's content."""

    event_id: str
    index: int


class ReplyDraft:
    """Gives each block of a reply its place. Neighbouring texts share one `agent.message`. `begun` and `characters` say
    how much has come."""

    def __init__(self, new_id: Callable[[], str], preview: Preview) -> None:
        self._new_id = new_id
        self._preview = preview
        self._places: dict[int, Place] = {}
        self._text: Place | None = None
        self.begun = False
        self.characters = 0

    def on_delta(self, delta: Delta) -> None:
        self.begun = True
        self.characters += len(delta.text)
        if delta.step == "start" and delta.kind != "text":
            self._begin(delta.index, delta.kind)
        elif delta.step == "text" and delta.text:
            place = self.place(delta.index, "text")  # begun by its first text: an empty one is never shown
            content = {"type": "text", "text": delta.text}
            change = {"type": "content_delta", "index": place.index, "content": content}
            frame = {"type": "event_delta", "event_id": place.event_id, "delta": change}
            self._preview(place.event_id, events.encode(frame), "agent.message", False)

    def place(self, index: int, kind: str) -> Place:
        """The block's place, made now when no delta announced the block."""
        return self._places.get(index) or self._begin(index, kind)

    def _begin(self, index: int, kind: str) -> Place:
        previous = self._text
        if kind == "text" and previous is not None:
            place = Place(previous.event_id, previous.index + 1)
        else:
            place = Place(self._new_id(), 0)
            self._announce(place, kind)
        self._text = place if kind == "text" else None
        self._places[index] = place
        return place

    def _announce(self, place: Place, kind: str) -> None:
        shown = {"text": "agent.message", "thinking": "agent.thinking", "redacted_thinking": "agent.thinking"}.get(kind)
        if shown is not None:
            frame = {"type": "event_start", "event": {"type": shown, "id": place.event_id}}
            self._preview(place.event_id, events.encode(frame), shown, True)


def reply_rows(
    reply: ModelReply,
    draft: ReplyDraft,
    agent: Mapping[str, Any],
    factory: EventFactory,
    span: str,
    listings: Listings | None = None,
) -> list[NewEvent]:
    """Everything that a finished reply adds to the log, in one append: thinking, messages, tool uses, the internal
    record, the span's end, and at once the results of calls that are denied outright. `listings` are those of the MCP
    servers, as the model was told."""
    maker = _Rows(draft, dict(agent), factory, known(agent, listings) if listings else {})
    for index, block in _whole(reply):
        maker.add(index, block)
    maker.flush()
    record = {"blocks": maker.blocks, "stop_reason": reply.stop_reason, "stop_details": _refusal(reply)}
    end = span_end(factory, span, reply.usage, is_error=False)
    return [*maker.rows, factory.internal(events.REPLY, record), end, *maker.refused]


def _whole(reply: ModelReply) -> list[tuple[int, Block]]:
    """The blocks to keep, with their places in the reply: the API takes no empty texts back; a call that a limit cut
    off is none, and one in a declined reply is not to be run."""
    content = list(enumerate(reply.content))
    if reply.stop_reason in CUT and content and content[-1][1]["type"] == "tool_use":
        content = content[:-1]
    dropped = "tool_use" if reply.stop_reason == "refusal" else None
    return [(i, block) for i, block in content if block["type"] != dropped and not _empty_text(block)]


def _empty_text(block: Block) -> bool:
    return block["type"] == "text" and not block["text"]


def _refusal(reply: ModelReply) -> dict[str, Any] | None:
    if reply.stop_reason != "refusal":
        return None
    details = reply.stop_details or {}
    return {"type": "refusal", "category": details.get("category"), "explanation": details.get("explanation")}


class _Rows:
    """Collects the rows and the internal record of one reply."""

    def __init__(
        self, draft: ReplyDraft, agent: dict[str, Any], factory: EventFactory, mcp: Mapping[str, McpTool]
    ) -> None:
        self.rows: list[NewEvent] = []
        self.refused: list[NewEvent] = []
        self.blocks: list[Block] = []
        self._draft = draft
        self._agent = agent
        self._factory = factory
        self._mcp = mcp
        self._texts: list[Block] = []
        self._message = ""

    def add(self, index: int, block: Block) -> None:
        kind = block["type"]
        place = self._draft.place(index, kind)
        if kind == "text":
            self._add_text(place, block)
            return
        self.flush()
        if kind == "tool_use":
            self._add_use(place.event_id, block)
            return
        self.blocks.append(block)
        if kind in ("thinking", "redacted_thinking"):
            self.rows.append(self._factory.public("agent.thinking", id=place.event_id))

    def flush(self) -> None:
        if self._texts:
            fields = {"content": self._texts}
            self.rows.append(self._factory.public("agent.message", fields, id=self._message))
        self._texts = []

    def _add_text(self, place: Place, block: Block) -> None:
        self._message = place.event_id
        plain = block.keys() == {"type", "text"} or not block.get("citations")
        index = len(self._texts)
        self.blocks.append({"ref": place.event_id, "index": index} if plain else block)
        self._texts.append({"type": "text", "text": block["text"]})

    def _add_use(self, event_id: str, block: Block) -> None:
        verdict = evaluate(self._agent, block["name"], BUILTINS, self._mcp)
        record = {"ref": event_id, "model_id": block["id"]}
        self.blocks.append(record | ({"model_name": block["name"]} if verdict.tool is not None else {}))
        self.rows.append(self._use_row(event_id, block, verdict))
        if verdict.permission == "deny":
            text = f"Permission to use {block['name']} has been denied: the tool is not enabled in this session."
            denied = events.text_blocks(text)
            mcp = verdict.tool is not None
            self.refused.append(self._factory.tool_result(event_id, denied, is_error=True, mcp=mcp))

    def _use_row(self, event_id: str, block: Block, verdict: Verdict) -> NewEvent:
        given = block.get("input")  # servers have been seen to leave it out, or to send "" for no input
        fields: dict[str, Any] = {"name": block["name"], "input": given if isinstance(given, dict) else {}}
        if verdict.kind == "custom":
            return self._factory.public("agent.custom_tool_use", fields, id=event_id)
        fields["evaluated_permission"] = verdict.permission
        if verdict.evaluation is not None:
            fields["evaluation"] = verdict.evaluation
        if verdict.tool is None:
            return self._factory.public("agent.tool_use", fields, id=event_id)
        fields |= {"name": verdict.tool.name, "mcp_server_name": verdict.tool.server}
        return self._factory.public("agent.mcp_tool_use", fields, id=event_id)
