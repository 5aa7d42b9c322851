"""What the official SDK can ask for and be told, walked by machine: every call of its managed-agents resources with its
route and what it sends where, every record that requests are made of, every model of answers, events and webhooks.

It runs nothing and says nothing about this server.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

from anthropic import Anthropic, AsyncAnthropic, Omit
from anthropic._resource import AsyncAPIResource, SyncAPIResource
from anthropic.types import beta as types_of_the_sdk
from pydantic import BaseModel
from typing_extensions import get_type_hints, is_typeddict

RESOURCES = (
    "agents", "deployment_runs", "deployments", "dreams", "environments", "files", "memory_stores", "models",
    "organization.webhooks", "sessions", "skills", "tunnels", "user_profiles", "vaults", "webhooks",
)  # fmt: skip
REQUEST = re.compile(r'self\._(get_api_list|get|post|delete|patch|put)\(\s*(?:path_template\(\s*)?f?"(/v1/[^"]+)"')
VERBS = {"get_api_list": "GET", "get": "GET", "post": "POST", "delete": "DELETE", "patch": "PATCH", "put": "PUT"}
ENVELOPE = frozenset({"betas", "workspace_id"})  # headers of every call alike
OPTIONS = frozenset({"extra_headers", "extra_query", "extra_body", "timeout"})  # of the client, in each call
PREFIX = re.compile(r"^Beta(ManagedAgents)?")


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that a call sends: where (`path`, `query`, `header`, `body`), under which name, of which type."""

    name: str
    place: str
    wire: str
    hint: Any


@dataclass(frozen=True, slots=True)
class Call:
    """One method of the SDK. `name` reads `sessions.events.list`; one that asks nobody has no route."""

    name: str
    method: str
    path: str
    fields: tuple[Field, ...]
    answer: Any

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}" if self.path else ""


@cache
def calls() -> dict[str, Call]:
    """By name. The asynchronous client has all that the other has, and helpers of its own."""
    options: Any = {"api_key": "none", "base_url": "http://127.0.0.1:9"}
    found: dict[str, Call] = {}
    for client in (Anthropic(**options), AsyncAnthropic(**options)):
        for resource in RESOURCES:
            for name, method in _methods(attrgetter(resource)(client.beta), resource):
                if name not in found:
                    found[name] = _call(name, method)
    return dict(sorted(found.items()))


def _methods(resource: object, name: str) -> Iterator[tuple[str, Any]]:
    for attribute in sorted(vars(type(resource))):
        if attribute.startswith(("_", "with_")):
            continue
        value = getattr(resource, attribute)
        if isinstance(value, SyncAPIResource | AsyncAPIResource):
            yield from _methods(value, f"{name}.{attribute}")
        elif inspect.ismethod(value):
            yield f"{name}.{attribute}", value


def _call(name: str, method: Any) -> Call:
    source = textwrap.dedent(inspect.getsource(method))
    found = REQUEST.search(source)
    if found is None:  # it asks nobody, or by way of other calls
        return Call(name, "", "", (), vars(types_of_the_sdk).get(inspect.signature(method).return_annotation))
    hints = get_type_hints(method, include_extras=True)
    places = dict(_places(ast.parse(source)))
    names = [one for one in inspect.signature(method).parameters if one not in OPTIONS]
    fields = tuple(_field(one, hints[one], places, found[2]) for one in names)
    return Call(name, VERBS[found[1]], found[2], fields, hints["return"])


def _field(name: str, hint: Any, places: dict[str, tuple[str, str]], path: str) -> Field:
    if f"{{{name}}}" in path:
        return Field(name, "path", name, hint)
    place, wire = places[name]
    return Field(name, place, wire, hint)


def _places(tree: ast.AST) -> Iterator[tuple[str, tuple[str, str]]]:
    """What each parameter travels in, and as: read from the dicts that the method makes of them."""
    special = dict(_special(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    names = {one.id for one in ast.walk(value) if isinstance(one, ast.Name)}
                    yield from ((name, (special.get(node, "body"), key.value)) for name in names)


def _special(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """The dicts that are no bodies."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            named = isinstance(node.func, ast.Name) and node.func.id == "strip_not_given"
            yield from ((one, "header") for one in node.args if named)
            yield from ((one.value, one.arg) for one in node.keywords if one.arg in ("query", "span_attributes"))


# -- what calls are made of, and answered with


def members(hint: Any) -> tuple[Any, ...]:
    """What a type may be, with `Required`, `Annotated` and unions taken apart; nothing stands for None."""
    origin = get_origin(hint)
    if origin in (Required, NotRequired, Annotated):
        return members(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return tuple(one for part in get_args(hint) for one in members(part))
    return () if hint in (Omit, type(None)) else (hint,)


@cache
def hints_of(record: Any) -> dict[str, Any]:
    """The fields of a record or a model, with their types."""
    if is_model(record):
        return {name: field.annotation for name, field in record.model_fields.items()}
    return get_type_hints(record, include_extras=True)


def is_record(declared: object) -> bool:
    return is_typeddict(declared) or is_model(declared)


def is_model(declared: object) -> bool:
    return inspect.isclass(declared) and issubclass(declared, BaseModel)


def short(declared: Any) -> str:
    """`AgentTool` for `BetaManagedAgentsAgentTool`; `SyncPageCursor` for a page of anything."""
    return PREFIX.sub("", _origin(declared).__name__)


@cache
def records() -> dict[str, Any]:
    """Every record below the fields of calls, by its short name."""
    return below(*(field.hint for call in calls().values() for field in call.fields))


@cache
def models() -> dict[str, Any]:
    """Every model below the answers of calls, with the events on streams and of webhooks, by its short name."""
    return below(*(call.answer for call in calls().values()))


def events() -> dict[str, str]:
    """The model of each type of event: of the streams, and of webhooks."""
    answers = [calls()[name].answer for name in ("sessions.events.stream", "webhooks.unwrap")]
    streamed = [one for part in get_args(answers[0]) for one in members(part)]
    told = members(models()["WebhookEvent"].model_fields["data"].annotation)
    return {get_args(one.model_fields["type"].annotation)[0]: short(one) for one in (*streamed, *told)}


def below(*roots: Any) -> dict[str, Any]:
    """All records and models below these types. Raises LookupError for two of one name."""
    found: dict[str, Any] = {}
    left, known = list[Any](roots), set[Any]()
    while left:
        for one in members(left.pop()):
            inner = list(get_args(one))
            if is_record(one):
                if one in known:
                    continue
                known.add(one)
                if _origin(found.setdefault(short(one), one)) is not _origin(one):
                    raise LookupError(f"two types are named {short(one)}")
                inner = list(hints_of(one).values())
            left += inner
    return dict(sorted(found.items()))


def _origin(declared: Any) -> Any:
    """The page of anything, for a page of something."""
    return getattr(declared, "__pydantic_generic_metadata__", {}).get("origin") or declared


def arguments_of(declared: Any) -> tuple[Any, ...]:
    """What a page is a page of."""
    return getattr(declared, "__pydantic_generic_metadata__", {}).get("args", ())
