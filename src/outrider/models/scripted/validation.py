"""What the Messages API refuses, checked the way it does: the shape of the conversation, not every field's type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast, get_type_hints

from outrider.models.scripted.frames import THOUGHT, sign
from outrider.models.scripted.script import HttpError, Request, blocks

UNSENT_BY_THE_SDK = frozenset({"temperature", "top_p", "top_k"})  # no arguments of the client any more, still fields
BREAKPOINTS = 4
LONGEST_TITLE = 500
Block = dict[str, Any]


class Refused(Exception):
    def __init__(self, message: str, *, status: int = 400, type: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.answer = HttpError(status, type, message)


@cache
def known_fields() -> frozenset[str]:
    """Top-level fields of a request, from the SDK's own type."""
    from anthropic.types.beta.message_create_params import MessageCreateParamsStreaming

    headers = {"betas", "user_profile_id", "workspace_id"}
    return frozenset(get_type_hints(MessageCreateParamsStreaming)) - headers | UNSENT_BY_THE_SDK


def check_headers(headers: Mapping[str, str], key: str | None) -> None:
    if "anthropic-version" not in headers:
        raise Refused("anthropic-version: header is required")
    given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    if key is not None and given != key:
        raise Refused("invalid x-api-key", status=401, type="authentication_error")


def check(request: Request, *, counting: bool = False) -> None:
    """Raise Refused at the first broken rule. `counting` is for count_tokens, which needs no `max_tokens`."""
    body = request.body
    for key in body:
        if key not in known_fields():
            raise Refused(f"{key}: Extra inputs are not permitted")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Refused("model: Field required")
    _check_lengths(body, counting=counting)
    messages = _messages(body)
    _check_tools(body)
    _check_breakpoints(body)
    conversation = merged(messages)
    _check_ends(conversation)
    _check_tool_results(conversation)
    _check_thinking(conversation)
    if cast(dict[str, Any], body.get("thinking") or {}).get("type") in ("enabled", "adaptive"):
        _check_thought_kept(conversation)


def merged(messages: list[dict[str, Any]]) -> list[tuple[str, list[Block]]]:
    """Role and blocks, neighbours of one role joined as the API joins them; system messages in between left out."""
    joined: list[tuple[str, list[Block]]] = []
    for message in messages:
        if message["role"] == "system":
            continue
        if joined and joined[-1][0] == message["role"]:
            joined[-1][1].extend(blocks(message))
        else:
            joined.append((message["role"], list(blocks(message))))
    return joined


def _check_lengths(body: Mapping[str, Any], *, counting: bool) -> None:
    limit = body.get("max_tokens")
    if limit is None:
        if not counting:
            raise Refused("max_tokens: Field required")
        return
    if type(limit) is not int or limit < 1:
        raise Refused("max_tokens: Input should be greater than or equal to 1")
    thinking: dict[str, Any] = body.get("thinking") or {}
    if thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens")
        if type(budget) is not int or budget < 1024:
            raise Refused("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= limit:
            raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`")


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("messages: at least one message is required")
    for number, message in enumerate(cast(list[Any], messages)):
        _check_message(f"messages.{number}", message)
    return cast(list[dict[str, Any]], messages)


def _check_message(where: str, message: Any) -> None:
    if not isinstance(message, dict) or set(cast(dict[str, Any], message)) != {"role", "content"}:
        raise Refused(f"{where}: needs role and content and nothing else")
    fields = cast(dict[str, Any], message)
    if fields["role"] not in ("user", "assistant", "system"):
        raise Refused(f"{where}.role: Input should be 'user', 'assistant' or 'system'")
    content: Any = fields["content"]
    if not isinstance(content, str | list) or not content:
        raise Refused(f"{where}: all messages must have non-empty content")
    for place, block in enumerate(blocks(fields)):
        if not isinstance(cast(Any, block).get("type"), str):
            raise Refused(f"{where}.content.{place}.type: Field required")
        _check_block(f"{where}.content.{place}", block)


def _check_block(where: str, block: Block) -> None:
    match block["type"]:
        case "text" if not block.get("text"):
            raise Refused(f"{where}: text content blocks must be non-empty")
        case "document" if "" in (block.get("title"), block.get("context")):
            raise Refused(f"{where}.document: title and context should have at least 1 character")
        case "document" if len(block.get("title") or "") > LONGEST_TITLE:
            raise Refused(f"{where}.document.title: String should have at most {LONGEST_TITLE} characters")
        case "tool_result" | "search_result" if isinstance(block.get("content"), list):
            for place, inner in enumerate(cast("list[Block]", block["content"])):
                _check_block(f"{where}.content.{place}", inner)
        case _:
            pass


def _check_tools(body: Mapping[str, Any]) -> None:
    names: set[str] = set()
    for number, tool in enumerate(cast(list[dict[str, Any]], body.get("tools") or [])):
        name = str(tool.get("name", ""))
        if name in names:
            raise Refused("tools: Tool names must be unique.")
        names.add(name)
        if tool.get("type", "custom") == "custom":
            if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", name):
                raise Refused(f"tools.{number}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
            if cast(dict[str, Any], tool.get("input_schema") or {}).get("type") != "object":
                raise Refused(f"tools.{number}.custom.input_schema.type: Field required")
    choice: dict[str, Any] = body.get("tool_choice") or {}
    if choice.get("type") == "tool" and choice.get("name") not in names:
        raise Refused(f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")
    if choice and not names:
        raise Refused("tool_choice: may only be specified while providing `tools`")


def _check_breakpoints(body: Mapping[str, Any]) -> None:
    found = sum("cache_control" in block and block["cache_control"] is not None for block in _cacheable(body))
    if found > BREAKPOINTS:
        raise Refused(f"A maximum of {BREAKPOINTS} blocks with cache_control may be provided. Found {found}.")


def _cacheable(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield body
    yield from cast(list[dict[str, Any]], body.get("tools") or [])
    system: Any = body.get("system") or []
    yield from cast(list[dict[str, Any]], [] if isinstance(system, str) else system)
    for message in body["messages"]:
        for block in blocks(message):
            if block["type"] in ("thinking", "redacted_thinking") and block.get("cache_control"):
                raise Refused(f"{block['type']} blocks can't have cache_control")
            yield block


def _check_ends(conversation: list[tuple[str, list[Block]]]) -> None:
    if not conversation or conversation[0][0] != "user":
        raise Refused("messages: first message must use the user role")
    role, content = conversation[-1]
    paused = any(block["type"] == "server_tool_use" for block in content)
    if role == "assistant" and not paused:
        raise Refused("This model does not support assistant message prefill: the last message must be the user's.")


def _check_tool_results(conversation: list[tuple[str, list[Block]]]) -> None:
    """Each tool_use has exactly one result, at the start of the user message that follows; no result without a use."""
    open_ids: list[str] = []
    seen: set[str] = set()
    for number, (role, content) in enumerate(conversation):
        if role == "assistant":
            open_ids = [str(block.get("id")) for block in content if block["type"] == "tool_use"]
            if len(set(open_ids)) < len(open_ids) or seen & set(open_ids):
                raise Refused(f"messages.{number}: `tool_use` ids must be unique")
            seen |= set(open_ids)
        else:
            _check_results(number, content, open_ids)
            open_ids = []
    if open_ids:
        raise Refused(f"`tool_use` ids were found without `tool_result` blocks at the end: {', '.join(open_ids)}.")


def _check_results(number: int, content: list[Block], open_ids: list[str]) -> None:
    kinds = [block["type"] == "tool_result" for block in content]
    given = [str(block.get("tool_use_id")) for block in content if block["type"] == "tool_result"]
    for one in given:
        if one not in open_ids:
            raise Refused(f"messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks: {one}.")
        if given.count(one) > 1:
            raise Refused(f"messages.{number}: each tool_use must have a single result. Found more for {one}.")
    missing = [one for one in open_ids if one not in given]
    if missing:
        raise Refused(
            f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            + ", ".join(missing)
        )
    if sorted(kinds, reverse=True) != kinds:
        raise Refused(f"messages.{number}: `tool_result` blocks must come first in the message")


def _check_thinking(conversation: list[tuple[str, list[Block]]]) -> None:
    """A thinking block comes back as it was sent: our signatures must fit their text. Foreign ones are let pass."""
    for number, (role, content) in enumerate(conversation):
        for block in content:
            if block["type"] == "thinking":
                signature = block.get("signature")
                ours = isinstance(signature, str) and re.fullmatch(r"[0-9a-f]{64}", signature)
                if role != "assistant" or not signature or (ours and signature != sign(str(block.get("thinking")))):
                    raise Refused(f"messages.{number}: Invalid `signature` in `thinking` block")


def _check_thought_kept(conversation: list[tuple[str, list[Block]]]) -> None:
    """In a tool loop that goes on, the reply whose tools ran still begins with the thinking that came with it."""
    number, content = 0, list[Block]()
    for place, (role, found) in enumerate(conversation):
        if role == "assistant":
            number, content = place, found
    went_on = any(block["type"] == "tool_result" for block in conversation[-1][1])
    thought = any(str(block.get("id", "")).startswith(THOUGHT) for block in content)
    if went_on and thought and content[0]["type"] not in ("thinking", "redacted_thinking"):
        raise Refused(
            f"messages.{number}.content.0.type: Expected `thinking` or `redacted_thinking`, but found"
            f" `{content[0]['type']}`."
        )
