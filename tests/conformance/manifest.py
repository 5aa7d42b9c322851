"""How this server stands to each name of the SDK's surface: every call, every field of a request, an answer, an event.

`met` has a witness: a test that was seen to send it, or to be told it. All others are in `EXCEPTIONS` with the reason,
or belong to calls that are: nothing is left unsaid. The snapshot holds what the SDK has, so that another SDK is a
visible difference.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from conformance.exceptions import EXCEPTIONS, Exempt
from conformance.requirements.entry import Status
from conformance.sdk_walk import (
    ENVELOPE,
    Call,
    arguments_of,
    below,
    calls,
    hints_of,
    is_record,
    members,
    models,
    records,
    short,
)
from conformance.witnessed import KINDS, Kind, exists, witnesses

UNSAID = "no test was seen to touch it, and nothing says why"  # the tests let nothing stay so
AGAIN = "scripts/compatibility --witness with the tests that send it now"
SNAPSHOT = Path(__file__).parent / "snapshots" / "sdk.json"


@dataclass(frozen=True, slots=True)
class Item:
    """A name, and the calls that it is sent in, or told in answer to."""

    kind: Kind
    name: str
    within: frozenset[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """`test` is the witness of what is met, `reason` says why something is not."""

    status: Status
    test: str = ""
    reason: str = ""


@cache
def items() -> tuple[Item, ...]:
    return (*_calls(), *_sent(), *_told())


def _calls() -> Iterator[Item]:
    yield from (Item("calls", name, frozenset({name})) for name in calls())


def _sent() -> Iterator[Item]:
    yield from (Item("sent", f"*:{name}", frozenset(calls())) for name in sorted(ENVELOPE))
    for call in calls().values():
        for field in call.fields:
            if field.place != "path" and field.name not in ENVELOPE:
                yield Item("sent", f"{call.name}:{field.name}", frozenset({call.name}))
    yield from _fields("sent", ":", records(), {name: _sent_in(name) for name in calls()})


def _told() -> Iterator[Item]:
    yield from _fields("told", ".", models(), {name: below(call.answer) for name, call in calls().items()})


def _sent_in(call: str) -> Mapping[str, Any]:
    return below(*(field.hint for field in calls()[call].fields))


def _fields(kind: Kind, sign: str, kept: Mapping[str, Any], by_call: Mapping[str, Mapping[str, Any]]) -> Iterator[Item]:
    for name, declared in kept.items():
        within = frozenset(call for call, types_below in by_call.items() if name in types_below)
        yield from (Item(kind, f"{name}{sign}{field}", within) for field in hints_of(declared))


@cache
def standing(item: Item) -> Standing:
    if test := witnesses()[item.kind].get(item.name):
        return Standing("met", test)
    found = exempt(item)
    return Standing("not_yet", "", UNSAID) if found is None else Standing(found.status, "", found.reason)


def exempt(item: Item) -> Exempt | None:
    """What is said of it, or else of the calls that it belongs to, if something is said of each of them."""
    own = named(item.kind, item.name)
    if own or item.kind == "calls":
        return own
    of_calls = [named("calls", call) for call in sorted(item.within)]
    return of_calls[0] if of_calls and all(of_calls) else None


def named(kind: Kind, name: str) -> Exempt | None:
    return next((one for one in EXCEPTIONS if one.kind == kind and fnmatchcase(name, one.pattern)), None)


def faults() -> list[str]:
    """What is not in step: names without a witness or a reason, with both, and witnesses that are gone."""
    known = {(item.kind, item.name) for item in items()}
    written = [(kind, name, test) for kind in KINDS for name, test in witnesses()[kind].items()]
    bare = [item for item in items() if standing(item).reason == UNSAID]
    both = [item for item in items() if standing(item).status == "met" and named(item.kind, item.name)]
    used = {exempt(item) for item in items() if standing(item).status != "met"}
    return [
        *(f"{item.name}: {UNSAID}: write a test, then scripts/compatibility --witness that-test" for item in bare),
        *(f"{item.name}: it has a witness: take it out of the exceptions" for item in both),
        *(f"{one.pattern}: an exception of nothing" for one in EXCEPTIONS if one not in used or not one.reason),
        *(f"{name}: the SDK has no such thing" for kind, name, _ in written if (kind, name) not in known),
        *(f"{name}: its witness {test} is gone: {AGAIN}" for _, name, test in written if not exists(test)),
    ]


# -- what the SDK has, as it is committed


def snapshot() -> str:
    shown = {
        "calls": {call.name: _call(call) for call in calls().values()},
        "records of requests": {name: _words(one) for name, one in records().items()},
        "models of answers": {name: _words(one) for name, one in models().items()},
    }
    return json.dumps(shown, indent=1) + "\n"


def _call(call: Call) -> dict[str, str]:
    own = [field for field in call.fields if field.place != "path" and field.name not in ENVELOPE]
    sent = {f"{field.place} {field.wire}": _word(field.hint) for field in own}
    return {"route": call.route, **sent, "answer": _word(call.answer)}


def _words(declared: Any) -> dict[str, str]:
    return {name: _word(hint) for name, hint in hints_of(declared).items()}


def _word(hint: Any) -> str:
    """A type in short: `list[ToolParams]?`, where `?` stands for None."""
    parts = sorted({_one(part) for part in members(hint)})
    return " | ".join(parts) + ("?" if _may_be_none(hint) else "")


def _one(hint: Any) -> str:
    if is_record(hint):
        return short(hint) + _inside(arguments_of(hint))
    origin = get_origin(hint) or hint
    return getattr(origin, "__name__", str(origin)) + _inside(get_args(hint))


def _inside(arguments: tuple[Any, ...]) -> str:
    words = [str(one) if isinstance(one, str | int) else _word(one) for one in arguments]
    return f"[{', '.join(words)}]" if words else ""


def _may_be_none(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)
