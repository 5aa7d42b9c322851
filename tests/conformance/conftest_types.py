"""Names that the conformance tests share with their conftest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from session_talk import Talk

Play = Callable[..., Talk]
CUSTOM: dict[str, Any] = {
    "type": "custom",
    "name": "lookup",
    "description": "Look something up.",
    "input_schema": {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
}
