"""Finds, without running anything, which tests name which entries of the ledger."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]


def witnesses(tests: Path = TESTS) -> dict[str, list[str]]:
    """Entry id to the places (`tests/unit/test_x.py:12`) that name it, over all test modules."""
    found: dict[str, list[str]] = {}
    for path in sorted(tests.rglob("test_*.py")):
        place = path.relative_to(tests.parent).as_posix()
        for id, line in named(ast.parse(path.read_text(), str(path)), place):
            found.setdefault(id, []).append(f"{place}:{line}")
    return found


def named(tree: ast.AST, place: str) -> Iterator[tuple[str, int]]:
    """Every id that a test function's decorators, or `pytestmark`, name, with its line.

    Tests that never run (skip, xfail) are no witnesses. Raises ValueError for an id that isn't a literal.
    """
    for call in _markers(tree):
        for argument in call.args:
            if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                raise ValueError(f"{place}:{call.lineno}: requirement() takes literal ids only")
            yield argument.value, call.lineno


def _markers(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        for holder in _holders(node):
            calls = (inner for inner in ast.walk(holder) if isinstance(inner, ast.Call))
            yield from (call for call in calls if _last_name(call.func) == "requirement")


def _holders(node: ast.AST) -> list[ast.expr]:
    """The expressions at this node in which a marker counts."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
        idle = any(_last_name(_callee(one)) in ("skip", "xfail") for one in node.decorator_list)
        return [] if idle else node.decorator_list
    if isinstance(node, ast.Assign) and [_last_name(target) for target in node.targets] == ["pytestmark"]:
        return [node.value]
    return []


def _callee(decorator: ast.expr) -> ast.expr:
    return decorator.func if isinstance(decorator, ast.Call) else decorator


def _last_name(name: ast.expr) -> str:
    """`c` for both `c` and `a.b.c`."""
    return name.id if isinstance(name, ast.Name) else name.attr if isinstance(name, ast.Attribute) else ""
