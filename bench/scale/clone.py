"""Copies of one real session, row by row: the same log under new ids, so that a store can be filled with many.

What is copied is what the server wrote, so the rows are as long and as many as those of a session that had one turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from outrider.clock import rfc3339

TABLES = ("heads", "sessions", "events", "history", "snapshots")
_ID = re.compile(r"(sesn|sthr|sevt|req)_[0-9A-Z]{26}")
MARK = "<<which>>"
TIMES = ("created_at", "updated_at")
YEAR = 365 * 24 * 3600  # copies are made 10 s apart, the first this long ago


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Template:
    """One session's rows of all tables. `name` tells the id of its n-th copy."""

    def __init__(self, session: str, found: Iterable[Table]) -> None:
        tables = list(found)
        self._numbers = {name: number for number, name in enumerate(sorted(_ids(tables)))}
        self._session = session
        self._now = datetime.now(UTC)
        self.tables = [Table(t.name, t.columns, [tuple(map(self._marked, row)) for row in t.rows]) for t in tables]

    def name(self, which: int) -> str:
        return self._renamed(self._session).replace(MARK, f"{which:013d}")

    def copies(self, table: Table, which: range, *, above: int) -> Iterator[tuple[Any, ...]]:
        """The rows of these copies of the session, their logs numbered from `above` on."""
        times = [index for index, column in enumerate(table.columns) if column in TIMES]
        log = table.columns.index("log")
        for log_number, number in enumerate(which, above + 1):
            text, raw = f"{number:013d}", b"%013d" % number
            for row in table.rows:
                copy = [_with(value, text, raw) for value in row]
                copy[log] = log_number
                if times:
                    at = rfc3339(self._now - timedelta(seconds=YEAR - 10 * number))
                    for index in times:
                        copy[index] = at
                yield tuple(copy)

    def _renamed(self, name: str) -> str:
        return f"{name.partition('_')[0]}_{MARK}{self._numbers[name]:013d}"

    def _marked(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return _ID.sub(lambda found: self._renamed(found[0]), value.decode()).encode()
        return _ID.sub(lambda found: self._renamed(found[0]), value) if isinstance(value, str) else value


def _with(value: Any, text: str, raw: bytes) -> Any:
    if isinstance(value, bytes):
        return value.replace(b"<<which>>", raw)
    return value.replace(MARK, text) if isinstance(value, str) else value


def _ids(tables: list[Table]) -> set[str]:
    values = (value for table in tables for row in table.rows for value in row)
    texts = (v.decode() if isinstance(v, bytes) else v for v in values if isinstance(v, bytes | str))
    return {found[0] for text in texts for found in _ID.finditer(text)}
