"""Reads responses and events as the official SDK's types declare them, more strictly than the SDK itself does.

Unknown keys, missing required ones and wrong types fail; the SDK would pass all three over in silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter


class UnknownKeys(AssertionError):
    """Keys that the SDK's type doesn't know, with their paths."""


def strict_parse(model_type: Any, json_bytes: bytes) -> Any:
    """The JSON as `model_type`: a model of the SDK, or an alias of a union of them.

    Raises pydantic's ValidationError for missing keys and wrong types, UnknownKeys for keys that aren't in the type.
    """
    parsed: Any = _adapter(model_type).validate_json(json_bytes, strict=True)
    unknown = sorted(unknown_keys(parsed))
    if unknown:
        raise UnknownKeys(f"not in {type(parsed).__name__}: {', '.join(unknown)}")
    return parsed


@cache
def _adapter(model_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model_type)


def unknown_keys(value: object, path: str = "") -> Iterator[str]:
    """Paths of the keys that no model declares, at any depth. Models that say they are open-ended are left alone."""
    if isinstance(value, BaseModel):
        if "__pydantic_extra__" not in type(value).__annotations__:
            yield from (f"{path}{key}" for key in value.model_extra or {})
        for name in type(value).model_fields:
            yield from unknown_keys(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, dict):
        for key, item in cast("dict[str, object]", value).items():
            yield from unknown_keys(item, f"{path}{key}.")
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            yield from unknown_keys(item, f"{path}{index}.")
