"""The inputs of the built-in tools: their fields and rules, as data. A broken rule is a sentence for the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

DEFAULT_TIMEOUT_MS = 120_000
LONGEST_TIMEOUT_MS = 24 * 3600 * 1000
FILE_SECONDS = 60.0  # for a call that is no command

Rule = Callable[[Any], str | None]
"""None if the value keeps the rule, else the rule."""


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    if "\x00" in value:
        return "must not contain a NUL character"
    return None if _encodable(value) else "must be valid Unicode"


def _encodable(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _some_text(value: Any) -> str | None:
    return _text(value) or (None if value else "must not be empty")


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _milliseconds(value: Any) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    kept = whole and 0 < value <= LONGEST_TIMEOUT_MS
    return None if kept else f"must be a whole number from 1 to {LONGEST_TIMEOUT_MS}"


def _range(value: Any) -> str | None:
    items = cast("list[Any]", value) if isinstance(value, list) else []
    whole = len(items) == 2 and all(type(item) is int for item in items)
    return None if whole else "must be [start_line, end_line], two whole numbers"


def _pattern(value: Any) -> str | None:
    broken = _some_text(value)
    if broken:
        return broken
    if value.startswith("/"):
        return "must be relative (give the directory as `path`)"
    return "must not contain `..`" if ".." in value.split("/") else None


KEEP = "keep_result"
"""No tool: the result of a call that ran elsewhere, to be kept as an own one is."""
FIELDS: dict[str, dict[str, tuple[bool, Rule]]] = {
    "bash": {"command": (False, _text), "restart": (False, _flag), "timeout_ms": (False, _milliseconds)},
    "read": {"file_path": (True, _some_text), "view_range": (False, _range)},
    "write": {"file_path": (True, _some_text), "content": (True, _text)},
    "edit": {
        "file_path": (True, _some_text),
        "old_string": (True, _some_text),
        "new_string": (True, _text),
        "replace_all": (False, _flag),
    },
    "glob": {"pattern": (True, _pattern), "path": (False, _some_text)},
    "grep": {"pattern": (True, _some_text), "path": (False, _some_text)},
    KEEP: {"text": (True, _text)},
}
"""For each tool its fields: whether it is required, and its rule."""


def problem(tool: str, given: dict[str, Any]) -> str | None:
    """What is wrong with a call, naming the field and the rule; None if nothing is. A null field counts as absent."""
    fields = FIELDS.get(tool)
    if fields is None:
        return f"{tool}: there is no tool of this name; known tools: {', '.join(sorted(FIELDS.keys() - {KEEP}))}"
    for name, value in given.items():
        if name not in fields:
            return f"{tool}: unknown field `{name}`; known fields: {', '.join(fields)}"
        broken = None if value is None else fields[name][1](value)
        if broken:
            return f"{tool}: {name} {broken}"
    for name, (required, _) in fields.items():
        if required and given.get(name) is None:
            return f"{tool}: {name} is required"
    if tool == "bash" and not given.get("command") and not given.get("restart"):
        return "bash: command is required, unless restart is true"
    return None


def seconds(tool: str, given: dict[str, Any]) -> float:
    """How long a call may run, once it is its turn: not at all if it is refused."""
    if problem(tool, given):
        return 0.0
    return FILE_SECONDS if tool != "bash" else (given.get("timeout_ms") or DEFAULT_TIMEOUT_MS) / 1000
