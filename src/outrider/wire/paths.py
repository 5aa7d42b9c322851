"""Where in a request an error is, as the client wrote it: pydantic's location without the names of union members."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

from pydantic import Discriminator, Tag
from typing_extensions import is_typeddict

from outrider.wire.compile import literals

LONGEST_PART = 100  # a key that the client made up may be as long as its body


def field_path(hint: Any, location: Sequence[str | int]) -> str:
    """`tools.0.name` for the location of an error in a value of the compiled type `hint`."""
    parts: list[str] = []
    for item in location:
        hint = _bare(hint)
        if get_origin(hint) is Annotated:
            hint = _member(hint, item)
        elif item != "[key]":
            parts.append(str(item)[:LONGEST_PART])
            hint = _child(hint, item)
    return ".".join(parts)


def _bare(hint: Any) -> Any:
    """Without null, Required and limits; a union of records keeps the mark that says how its members are told apart."""
    while True:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated and any(isinstance(mark, Discriminator) for mark in hint.__metadata__):
            return hint
        if origin in (Annotated, Required, NotRequired):
            hint = arguments[0]
        elif origin in (Union, types.UnionType):
            hint = next(member for member in arguments if member is not type(None))
        else:
            return hint


def _member(union: Any, tag: str | int) -> Any:
    """The member that pydantic names `tag` in a location."""
    for member in get_args(union.__origin__):
        if any(isinstance(mark, Tag) and mark.tag == tag for mark in getattr(member, "__metadata__", ())):
            return member
        if is_typeddict(member) and any(tag in literals(member, key) for key in ("type", "name")):
            return member
    return object


def _child(hint: Any, item: str | int) -> Any:
    if is_typeddict(hint):
        return hint.__annotations__.get(item, object)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is list:
        return arguments[0]
    return arguments[1] if origin is dict else object
