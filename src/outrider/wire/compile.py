"""Compile the SDK's request TypedDicts into strict types that pydantic can check: no coercion, no extra keys.

It knows only the shapes that those TypedDicts use and raises TypeError on any other, so that a new SDK is noticed.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Required, Union, get_args, get_origin

from pydantic import ConfigDict, Discriminator, Field, Tag
from typing_extensions import NoExtraItems, TypedDict, get_type_hints, is_typeddict

PREFIX = "BetaManagedAgents"
HEADERS = frozenset({"betas", "workspace_id"})  # the SDK sends these as headers
OUTPUT_ONLY = frozenset({"RedactedBlockParam"})  # typed as input, but refused when a client sends one
UNIONS = (Union, types.UnionType)
LISTS = (list, Iterable, Sequence)
SCALARS = (str, int, float, bool, object)

Rule = Callable[[Any], Any]
# made from computed members, which a type checker can't follow
_typed_dict: Any = TypedDict
_union: Any = Union


def short_name(declared: type) -> str:
    return declared.__name__.removeprefix(PREFIX)


def _shape(value: object) -> str | None:
    return "string" if isinstance(value, str) else "object" if isinstance(value, dict) else None


STRING_OR_OBJECT = Discriminator(
    _shape, custom_error_type="string_or_object", custom_error_message="Input should be a valid string or object"
)


class Compiler:
    """Turns declared types into checked ones, each once. `rules` add limits, by short type name and field."""

    def __init__(self, rules: Mapping[str, Mapping[str, Rule]]) -> None:
        self._rules = rules
        self._records: dict[Any, Any] = {}

    def record(self, declared: Any, without: Iterable[str] = ()) -> Any:
        """The strict twin of a TypedDict; `without` names fields that travel in the path or query instead."""
        if declared not in self._records:
            self._records[declared] = self._record(declared, HEADERS.union(without))
        return self._records[declared]

    def _record(self, declared: Any, left_out: frozenset[str]) -> Any:
        name = short_name(declared)
        rules = self._rules.get(name, {})
        fields: dict[str, Any] = {}
        for key, hint in get_type_hints(declared, include_extras=True).items():
            if key in left_out:
                continue
            required = get_origin(hint) is Required
            made = self.type(get_args(hint)[0] if required else hint)
            made = rules[key](made) if key in rules else made
            fields[key] = Required[made] if required else made
        made = _typed_dict(name, fields, total=False)
        open_ended = getattr(declared, "__extra_items__", NoExtraItems) is not NoExtraItems
        made.__pydantic_config__ = ConfigDict(strict=True, extra="allow" if open_ended else "forbid")
        return made

    def type(self, hint: Any) -> Any:
        """The strict form of any type that a field may have."""
        origin, arguments = get_origin(hint), get_args(hint)
        if is_typeddict(hint):
            return self.record(hint)
        if origin in UNIONS:
            made = self._choice([member for member in arguments if member is not type(None)])
            return made | None if type(None) in arguments else made
        if origin in LISTS:
            return Annotated[
                list[self.type(arguments[0])], Field(fail_fast=True)
            ]  # one error is all that a client gets
        if origin is dict:
            return dict[str, self.type(arguments[1])]
        if origin is Literal or hint in SCALARS:
            return hint
        raise TypeError(f"no strict form for {hint!r}")

    def _choice(self, members: Sequence[Any]) -> Any:
        declared = [member for member in members if is_typeddict(member) and short_name(member) not in OUTPUT_ONLY]
        plain = [member for member in members if not is_typeddict(member) and member is not datetime]
        scalar = str if str in plain else self.type(plain[0]) if plain else None
        if not declared:
            return scalar
        records = _tagged([self.record(member) for member in declared])
        if scalar is None:
            return records
        return Annotated[Annotated[scalar, Tag("string")] | Annotated[records, Tag("object")], STRING_OR_OBJECT]


def _tagged(records: list[Any]) -> Any:
    """A union told apart by the first of `type` and `name` that is a required literal in every member."""
    if len(records) == 1:
        return records[0]
    key = next(key for key in ("type", "name") if all(literals(record, key) for record in records))
    return Annotated[_union[tuple(records)], Discriminator(key)]


def literals(record: Any, key: str) -> tuple[Any, ...]:
    """The values that a record's required literal field may have; none if it has no such field."""
    hint = record.__annotations__.get(key)
    inner = get_args(hint)[0] if get_origin(hint) is Required else None
    return get_args(inner) if get_origin(inner) is Literal else ()
