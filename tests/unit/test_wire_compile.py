"""The compiler against the SDK's own declarations: what they allow passes unchanged, what they don't know is named."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Dict, List, Literal, Optional, Required, Union, get_args, get_origin  # noqa: UP035

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict, get_type_hints, is_typeddict

from outrider.wire.compile import HEADERS, OUTPUT_ONLY, Compiler, short_name
from outrider.wire.paths import field_path
from outrider.wire.requests import REQUESTS, SDK_TYPES

WORDS = st.text("abcdefgh", min_size=1, max_size=4)
COMPILER = Compiler({})


def declared(name: str) -> Any:
    row = REQUESTS[name]
    return getattr(importlib.import_module(f"{SDK_TYPES}.{row.module}"), row.name)


def compiled(name: str) -> Any:
    return COMPILER.record(declared(name), REQUESTS[name].without)


@cache
def adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(compiled(name))


def values(hint: Any, without: Iterable[str] = ()) -> st.SearchStrategy[Any]:
    """Values that a declared type allows, read from the declaration and not from its compiled form."""
    origin, arguments = get_origin(hint), get_args(hint)
    if is_typeddict(hint):
        return records(hint, without)
    if origin is Union:
        members = [m for m in arguments if m is not datetime]
        return st.one_of([values(m) for m in members if not is_typeddict(m) or short_name(m) not in OUTPUT_ONLY])
    if origin in (list, Iterable, Sequence):
        return st.lists(values(arguments[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(WORDS, values(arguments[1]), max_size=2)
    if origin is Literal:
        return st.sampled_from(arguments)
    plain = {str: WORDS, int: st.integers(), bool: st.booleans(), object: WORDS | st.integers(), type(None): st.none()}
    return plain[hint]


def records(hint: Any, without: Iterable[str]) -> st.SearchStrategy[Any]:
    fields = {
        key: h for key, h in get_type_hints(hint, include_extras=True).items() if key not in HEADERS.union(without)
    }
    required = {key: values(get_args(h)[0]) for key, h in fields.items() if get_origin(h) is Required}
    optional = {key: values(h) for key, h in fields.items() if get_origin(h) is not Required}
    return st.fixed_dictionaries(required, optional=optional)


BODIES = st.sampled_from(sorted(REQUESTS)).flatmap(
    lambda name: st.tuples(st.just(name), st.deferred(lambda: values(declared(name), REQUESTS[name].without)))
)


def tagged(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every object that is known to be a closed record because it is told apart by its type."""
    if isinstance(value, list):
        for index, item in enumerate(value):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            yield from tagged(item, (*path, str(index)))
    if isinstance(value, dict) and "properties" not in path and path[-1:] != ("metadata",):
        if not path or value.get("type") not in (None, "object"):  # pyright: ignore[reportUnknownMemberType]
            yield path, value
        for key, item in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from tagged(item, (*path, str(key)))  # pyright: ignore[reportUnknownArgumentType]


@settings(deadline=None)
@given(BODIES)
def test_whatever_the_sdk_declares_passes_unchanged(body: tuple[str, dict[str, Any]]) -> None:
    name, value = body
    assert adapter(name).validate_python(value) == value


@settings(deadline=None)
@given(BODIES, st.data())
def test_an_unknown_key_is_refused_wherever_it_stands_and_its_path_is_named(
    body: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    name, value = body
    path, record = data.draw(st.sampled_from(list(tagged(value))))
    record["zz"] = 1
    with pytest.raises(ValidationError) as caught:
        adapter(name).validate_python(value)
    first = caught.value.errors()[0]
    assert first["type"] == "extra_forbidden"
    assert field_path(compiled(name), first["loc"]) == ".".join((*path, "zz"))


class Cat(TypedDict, total=False):
    type: Required[Literal["cat"]]
    lives: int


class Dog(TypedDict, total=False):
    type: Required[Literal["dog"]]
    name: Required[Optional[str]]  # noqa: UP045


class Owner(TypedDict, total=False):
    pets: Iterable[Union[Cat, Dog]]  # noqa: UP007
    tags: Dict[str, str]  # noqa: UP006
    betas: List[str]  # noqa: UP006


@pytest.mark.parametrize("lives", ["1", True, 1.0, None])
def test_an_integer_is_never_made_from_something_else(lives: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Compiler({}).record(Cat)).validate_python({"type": "cat", "lives": lives})


def test_required_and_nullable_are_two_things() -> None:
    adapter = TypeAdapter(Compiler({}).record(Owner))
    assert adapter.validate_python({"pets": [{"type": "dog", "name": None}]}) == {
        "pets": [{"type": "dog", "name": None}]
    }
    with pytest.raises(ValidationError, match="Field required"):
        adapter.validate_python({"pets": [{"type": "dog"}]})
    with pytest.raises(ValidationError):
        adapter.validate_python({"tags": None})


def test_header_parameters_are_not_fields_of_the_body() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        TypeAdapter(Compiler({}).record(Owner)).validate_python({"betas": ["x"]})


def test_a_shape_that_the_compiler_does_not_know_is_an_error_of_its_own() -> None:
    with pytest.raises(TypeError, match="no strict form for"):
        Compiler({}).type(complex)
