"""What of the SDK's surface a test really touches: calls that were answered, fields that were sent in them, fields that
answers and events carried. Read from the traffic itself: a name in a comment, or in a refused request, counts nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, cast, get_args, get_origin

import httpx2
from pydantic import BaseModel
from typing_extensions import is_typeddict

from conformance.sdk_walk import ENVELOPE, Call, calls, hints_of, members, short

MOST = 1 << 20
PART = re.compile(rb'content-disposition: form-data; name="([^"]+)"', re.IGNORECASE)
HELPERS = {
    "environments-work-poller": "environments.work.poller",
    "environments-worker": "environments.work.worker",
    "session-tool-runner": "sessions.events.tool_runner",
}
"""The methods that make requests of other calls, by what these say in their `x-stainless-helper`."""


@dataclass(slots=True)
class Touched:
    """Names, as the manifest has them: `agents.create`, `agents.create:name`, `ModelConfigParams:id`, `Agent.name`."""

    calls: set[str] = field(default_factory=set[str])
    sent: set[str] = field(default_factory=set[str])
    told: set[str] = field(default_factory=set[str])

    def clear(self) -> None:
        for names in (self.calls, self.sent, self.told):
            names.clear()

    def request(self, request: httpx2.Request, content: bytes) -> None:
        """One that was answered well."""
        call = called(request.method, request.url.path)
        if call is not None:
            self.calls.add(call.name)
            named = request.headers.get("x-stainless-helper", "").split(", ")
            self.calls |= {HELPERS[one] for one in named if one in HELPERS}
            self.sent |= set(_sent(call, request, content))

    def answer(self, parsed: object) -> None:
        self.told |= set(_told(parsed))


TOUCHED = Touched()
"""By the test that runs in this process."""


def readable(request: httpx2.Request) -> bytes:
    """A request's content where there is little of it, to be asked before it is sent; large uploads are left alone."""
    return request.read() if _is_small(request) else b""


async def areadable(request: httpx2.Request) -> bytes:
    return await request.aread() if _is_small(request) else b""


def _is_small(request: httpx2.Request) -> bool:
    return int(request.headers.get("content-length", MOST + 1)) <= MOST


def called(method: str, path: str) -> Call | None:
    """The SDK's call of this request. A fixed path comes before one with an id in its place."""
    found = [call for pattern, call in _patterns() if call.method == method and pattern.fullmatch(path)]
    return min(found, key=lambda call: call.path.count("{")) if found else None


@cache
def _patterns() -> list[tuple[re.Pattern[str], Call]]:
    slashes = {"models.retrieve": ".+"}  # a model's name may have some
    return [
        (re.compile(re.sub(r"\{\w+\}", slashes.get(call.name, "[^/]+"), call.path)), call)
        for call in calls().values()
        if call.path
    ]


def _sent(call: Call, request: httpx2.Request, content: bytes) -> Iterator[str]:
    query = {re.sub(r"\[\]$", "", name) for name in request.url.params}
    given = _given(request, content)
    for one in call.fields:
        there = {
            "path": False,
            "query": one.wire in query,
            "header": one.wire in request.headers,
            "body": _is_said(given.get(one.wire)),
        }[one.place]
        if there:
            yield f"*:{one.name}" if one.name in ENVELOPE else f"{call.name}:{one.name}"
            if one.place == "body":
                yield from _inside(one.hint, given[one.wire])


def _given(request: httpx2.Request, content: bytes) -> dict[str, Any]:
    kind = request.headers.get("content-type", "")
    if kind.startswith("application/json") and content:
        body = json.loads(content)
        return cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    names = (found.decode() for found in PART.findall(content))
    return {re.sub(r"\[\]$", "", name): True for name in names}


def _inside(hint: Any, value: Any) -> Iterator[str]:
    """The fields of records in what was sent, by the record that the value is one of."""
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            for member in members(hint):
                yield from (name for argument in get_args(member) for name in _inside(argument, item))
    elif isinstance(value, dict):
        given = cast("dict[str, Any]", value)
        for record in _fitting(hint, given):
            for key, inner in hints_of(record).items():
                if _is_said(given.get(key)):
                    yield f"{short(record)}:{key}"
                    yield from _inside(inner, given[key])


def _is_said(value: Any) -> bool:
    """A server that looks past a field can't be told from one that takes nothing in it for what it is."""
    return value not in (None, "", [], {})


def _fitting(hint: Any, given: dict[str, Any]) -> list[Any]:
    """The one record of a type's members that has all these keys, and these words for its literals."""
    fits = [one for one in members(hint) if is_typeddict(one) and _fits(hints_of(one), given)]
    return fits[:1]


def _fits(hints: dict[str, Any], given: dict[str, Any]) -> bool:
    return given.keys() <= hints.keys() and all(
        value in words for key, value in given.items() if (words := _literals(hints[key]))
    )


def _literals(hint: Any) -> tuple[Any, ...]:
    parts = members(hint)
    plain = all(get_origin(part) is Literal for part in parts)
    return tuple(word for part in parts for word in get_args(part)) if plain else ()


def _told(value: object) -> Iterator[str]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            inner = getattr(value, name)
            if inner is not None:
                yield f"{short(type(value))}.{name}"
                yield from _told(inner)
    elif isinstance(value, dict):
        yield from (name for item in cast("dict[str, object]", value).values() for name in _told(item))
    elif isinstance(value, list):
        yield from (name for item in cast("list[object]", value) for name in _told(item))
