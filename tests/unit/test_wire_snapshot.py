"""The compiled request types, pinned: a new SDK or a changed limit shows as a diff of one committed file.

Run this file as a program to write the snapshot anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from outrider.wire.requests import REQUESTS, adapter

SNAPSHOT = Path(__file__).parent / "snapshots" / "wire.json"
LEFT_OUT = ("title", "discriminator")
REGENERATE = "python tests/unit/test_wire_snapshot.py"


def compiled() -> str:
    """Each request and shared type with one line for each field; `!` marks required fields."""
    types: dict[str, dict[str, Any]] = {}
    for name in sorted(REQUESTS):
        schema = adapter(name).json_schema(ref_template="{model}")
        types |= schema.pop("$defs", {})
        types[name] = schema
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {_fields(types[name])}" for name in sorted(types)) + "\n}\n"


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    properties: dict[str, Any] = schema["properties"]
    lines = [
        f"  {json.dumps(key + '!' * (key in required))}: {json.dumps(_terse(properties[key]), sort_keys=True)}"
        for key in sorted(properties)
    ]
    lines.append(f'  "additionalProperties": {json.dumps(schema["additionalProperties"])}')
    return "{\n" + ",\n".join(lines) + "\n }"


def _terse(schema: Any) -> Any:
    """A schema without what repeats its place or its members. Enums are sorted: to `typing` their order is no fact."""
    if isinstance(schema, dict):
        kept = {key: value for key, value in cast("dict[str, Any]", schema).items() if key not in LEFT_OUT}
        return {key: sorted(value) if key == "enum" else _terse(value) for key, value in kept.items()}
    return [_terse(item) for item in cast("list[Any]", schema)] if isinstance(schema, list) else schema


def test_compiled_request_types_match_the_committed_snapshot() -> None:
    assert compiled() == SNAPSHOT.read_text(), f"read the difference; if it is wanted, run: {REGENERATE}"


def test_the_snapshot_is_json() -> None:
    assert set(REQUESTS) <= set(json.loads(SNAPSHOT.read_text()))


def test_no_header_or_path_parameter_is_taken_from_a_body() -> None:
    elsewhere = {"betas", "workspace_id", "session_id", "vault_id", "memory_store_id", "view"}
    for name in REQUESTS:
        assert not elsewhere & set(adapter(name).json_schema()["properties"]), name


if __name__ == "__main__":
    SNAPSHOT.parent.mkdir(exist_ok=True)
    SNAPSHOT.write_text(compiled())
