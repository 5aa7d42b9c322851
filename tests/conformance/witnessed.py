"""Which test is the witness of each name of the SDK's surface: a committed file, made by running the tests.

`scripts/compatibility --witness` runs them and writes it. Each run of a witness checks that it still sends what it
stands for, so the file can't say more than the tests do.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

Kind = Literal["calls", "sent", "told"]
KINDS: tuple[Kind, ...] = ("calls", "sent", "told")
Traffic = dict[str, dict[Kind, list[str]]]
"""By test: the names that it touched."""
Witnesses = dict[Kind, dict[str, str]]
"""By name: the test that stands for it."""

TESTS = Path(__file__).parents[1]
RECORD = Path(__file__).parent / "snapshots" / "witnesses.json"
BY_CHANCE = re.compile(r"/test_(fuzz|random_\w+)\.py")


@cache
def witnesses() -> Witnesses:
    return json.loads(RECORD.read_text())


@cache
def duties() -> dict[str, frozenset[str]]:
    """What each test has to send, being its witness. What it is told can hang on the moment, and is no duty."""
    found: dict[str, set[str]] = {}
    for name, test in [*witnesses()["calls"].items(), *witnesses()["sent"].items()]:
        found.setdefault(test, set()).add(name)
    return {test: frozenset(names) for test, names in found.items()}


def chosen(
    traffic: Traffic, before: Witnesses | None = None, words: Mapping[str, str] = MappingProxyType({})
) -> Witnesses:
    """The best witness of each name; one from `before` stays, where it was not run this time and still exists. `words`
    are what tests say for names, where that is not the name of the field."""
    return {kind: _of_kind(kind, traffic, (before or {}).get(kind, {}), words) for kind in KINDS}


def _of_kind(kind: Kind, traffic: Traffic, before: dict[str, str], words: Mapping[str, str]) -> dict[str, str]:
    able: dict[str, list[str]] = {}
    for test in traffic:
        for name in traffic[test][kind] if not BY_CHANCE.search(test) else ():
            able.setdefault(name, []).append(test)
    found = {name: _best(name, words.get(name), tests, traffic) for name, tests in able.items()}
    found |= {name: test for name, test in before.items() if test not in traffic and exists(test)}
    return dict(sorted(found.items()))


def _best(name: str, word: str | None, tests: Iterable[str], traffic: Traffic) -> str:
    """One that says the name in its own code, stands where its resource is tested, and sends little else."""
    *resource, field = re.split(r"[.:]", name)

    def worse(test: str) -> tuple[bool, bool, bool, int, str]:
        elsewhere = not any(part in test.partition("::")[0] for part in resource)
        return (word or field) not in _words(test), elsewhere, "[" in test, len(traffic[test]["sent"]), test

    return min(tests, key=worse)


def exists(test: str) -> bool:
    return _function(test) is not None


@cache
def _words(test: str) -> frozenset[str]:
    """Names, keywords and strings in a test's code; comments are not code."""
    found = _function(test)
    words: set[str] = set()
    for node in ast.walk(found) if found else ():
        match node:
            case ast.keyword(arg=str(word)) | ast.Attribute(attr=word) | ast.Constant(value=str(word)):
                words.add(word)
            case _:
                pass
    return frozenset(words)


@cache
def _function(test: str) -> ast.AST | None:
    path, _, name = test.partition("::")
    return _functions(path).get(name.partition("[")[0])


@cache
def _functions(path: str) -> dict[str, ast.AST]:
    file = TESTS.parent / path
    tree = ast.parse(file.read_text()) if file.exists() else ast.Module([], [])
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
