"""What a client's events may hold on this server, beyond their types. What the session's state allows is session/'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outrider.errors import InvalidRequest, NotSupported

PROMPTS = ("user.message", "system.message")


def check_offered(events: Sequence[Mapping[str, Any]], *, field: str = "events") -> None:
    """Raises NotSupported for outcomes and for content in uploaded files, InvalidRequest for a prompt without text."""
    for index, event in enumerate(events):
        if event["type"] == "user.define_outcome":
            raise NotSupported(f"{field}.{index}: user.define_outcome is not offered by this server yet")
        for place, block in enumerate(event.get("content", ())):
            _check_block(block, f"{field}.{index}.content.{place}", prompt=event["type"] in PROMPTS)


def _check_block(block: Mapping[str, Any], field: str, *, prompt: bool) -> None:
    source = block.get("source")
    if isinstance(source, dict) and source["type"] == "file":
        raise NotSupported(f"{field}.source: uploaded files are not offered by this server yet")
    if prompt and block["type"] == "text" and not block["text"].strip():
        # models refuse such a block, and would go on refusing it with the history of every later turn
        raise InvalidRequest(f"{field}.text: Input should have text besides white space")
