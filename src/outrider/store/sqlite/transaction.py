"""A job's view of the writer's transaction: runs named queries, notes what to tell the process once committed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any, TypeVar

from outrider.ports.log import Row, SessionKey
from outrider.store import queries
from outrider.store.steps import Steps, Values

T = TypeVar("T")

FILES = ("log", "leases", "sessions", "records", "cold")
QUERIES = queries.with_shared(__package__ or __name__, *(f"sql/{name}.sql" for name in FILES))


def json_lists(values: Values) -> Values:
    """Lists as JSON, for `json_each`."""
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in values.items()}


class Transaction:
    """Jobs decide first and write after; what one has noted is dropped with its writes."""

    __slots__ = ("_db", "appended", "deleted", "erases")

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.appended: list[tuple[SessionKey, list[Row]]] = []
        self.deleted: list[SessionKey] = []
        self.erases = False

    def one(self, query: str, values: Values) -> Any | None:
        """The first row, or None. All rows are fetched: a half-read statement would keep the commit waiting."""
        rows = self._db.execute(QUERIES[query], values).fetchall()
        return rows[0] if rows else None

    def all(self, query: str, values: Values = {}) -> list[Any]:  # noqa: B006 (never changed)
        return self._db.execute(QUERIES[query], values).fetchall()

    def run(self, query: str, values: Values) -> int:
        """Returns how many rows it changed."""
        return self._db.execute(QUERIES[query], values).rowcount

    def run_on(self, table: str, query: str, values: Values) -> int:
        """`run` for a query that leaves open which table it is about."""
        return self._db.execute(QUERIES[query].format(table=table), values).rowcount

    def walk(self, steps: Steps[T]) -> T:
        """Take these steps, and return what they come to."""
        found: Any = None
        while True:
            try:
                how, query, values = steps.send(found)
            except StopIteration as end:
                return end.value
            found = self.all(query, values) if how == "rows" else self.run(query, values)
            self.erases = self.erases or (how == "erase" and found > 0)

    def many(self, query: str, values: Iterable[tuple[Any, ...]]) -> None:
        self._db.executemany(QUERIES[query], values)
