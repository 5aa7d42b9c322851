"""Changes and reads of records, written once for every store.

A change is a generator of steps: each asks for one named query and goes on with what that found. A store walks through
them inside one transaction, whether its driver waits by blocking or by awaiting. Rows are used by position alone; what
the steps come to is plain JSON, which PostgreSQL keeps until its caller has it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Literal, Protocol, TypeVar

T = TypeVar("T")

Values = Mapping[str, Any]
Ask = tuple[Literal["rows", "run", "erase"], str, Values]
Steps = Generator[Ask, Any, T]


def rows(query: str, values: Values) -> Steps[list[Any]]:
    """All that a query finds."""
    return (yield "rows", query, values)


def first(query: str, values: Values) -> Steps[Any | None]:
    """The first row that a query finds, or None."""
    found = yield from rows(query, values)
    return found[0] if found else None


def run(query: str, values: Values) -> Steps[int]:
    """How many rows a statement changed."""
    return (yield "run", query, values)


def erase(query: str, values: Values) -> Steps[int]:
    """As `run`, for what must leave no byte in the store's own files once this is done."""
    return (yield "erase", query, values)


class Walks(Protocol):
    """A store's writer. The steps are made anew for each try, and what fails leaves nothing behind."""

    async def walk(self, steps: Callable[[], Steps[T]]) -> T: ...


class Reads(Protocol):
    """A store's readers: rows of one query, given to `shape`. `one` is for a few rows found by their keys."""

    async def fetch(self, query: str, values: Values, shape: Callable[[list[Any]], T]) -> T: ...

    async def one(self, query: str, values: Values, shape: Callable[[list[Any]], T]) -> T: ...


class Recorded:
    """What records are kept with; a store is made of several such parts, one for each port."""

    def __init__(self, writer: Walks, readers: Reads) -> None:
        self._walks = writer
        self._reads = readers
