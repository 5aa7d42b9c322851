"""Named queries with `$n` parameters, and a job's view of the writer's transaction."""

from __future__ import annotations

import re
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from outrider.store import queries
from outrider.store.steps import Steps, Values

T = TypeVar("T")


class Link(Protocol):
    """What we use of the driver's connection, which has no types of its own."""

    async def fetch(self, query: str, *values: Any, timeout: float | None = None) -> list[Any]: ...
    async def fetchval(self, query: str, *values: Any, timeout: float | None = None) -> Any: ...
    async def execute(self, query: str, *values: Any, timeout: float | None = None) -> str: ...
    def transaction(self) -> AbstractAsyncContextManager[Any]: ...
    def is_closed(self) -> bool: ...
    async def close(self, *, timeout: float | None = None) -> None: ...
    def terminate(self) -> None: ...


_NAME = re.compile(r"(?<![:\w]):([a-z_][a-z_0-9]*)")


def numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """A statement with `$1`, `$2` ... for its `:names`, and the names in that order."""
    names: dict[str, str] = {}
    purpose, _, statement = text.partition("\n")
    sql = _NAME.sub(lambda found: names.setdefault(found[1], f"${len(names) + 1}"), statement)
    return f"{purpose}\n{sql.removesuffix(';')}", tuple(names)


FILES = ("log", "leases", "sessions", "records", "cold")
_TEXTS = queries.with_shared(__package__ or __name__, *(f"sql/{name}.sql" for name in FILES))
QUERIES = {name: numbered(text) for name, text in _TEXTS.items()}


class Transaction:
    """Runs named queries on one connection. Whoever makes it sets the deadline."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    async def all(self, query: str, values: Values = {}) -> list[Any]:  # noqa: B006 (never changed)
        text, names = QUERIES[query]
        return await self._link.fetch(text, *[values[name] for name in names])

    async def one(self, query: str, values: Values) -> Any | None:
        """The first row, or None."""
        found = await self.all(query, values)
        return found[0] if found else None

    async def walk(self, steps: Steps[T]) -> T:
        """Take these steps, and return what they come to."""
        found: Any = None
        while True:
            try:
                how, query, values = steps.send(found)
            except StopIteration as end:
                return end.value
            found = await (self.all(query, values) if how == "rows" else self.run(query, values))

    async def run(self, query: str, values: Values) -> int:
        """Returns how many rows it changed."""
        return await self._run(*QUERIES[query], values)

    async def run_on(self, table: str, query: str, values: Values) -> int:
        """`run` for a query that leaves open which table it is about."""
        text, names = QUERIES[query]
        return await self._run(text.format(table=table), names, values)

    async def _run(self, text: str, names: tuple[str, ...], values: Values) -> int:
        status = await self._link.execute(text, *[values[name] for name in names])
        return int(status.rpartition(" ")[2])
