"""Where the servers of a kill test keep their rows: half of these tests in SQLite and half in PostgreSQL, and the other
way round on other days."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kill_matrix import KILLED_IN
from matrix_scene import PostgresRows, sqlite_rows, sqlite_select

from outrider.ports.log import Row
from outrider.store.postgres import PostgresStore
from outrider.store.sqlite import SqliteStore

SEED = int(os.environ["OUTRIDER_TEST_SEED"])


def store_of(test: str, seed: int = SEED) -> str:
    """By the file's name. It changes each second day, as what else is chosen by the day changes each day."""
    stores = KILLED_IN[test].stores
    return stores[(seed // 2 + sorted(KILLED_IN).index(test)) % len(stores)]


@dataclass(frozen=True, slots=True)
class Database:
    """`url` is empty for SQLite, whose file is in the server's data directory."""

    url: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {"OUTRIDER_DATABASE_URL": self.url} if self.url else {}

    def rows(self, data: Path, session: str) -> list[Row]:
        if not self.url:
            return sqlite_rows(data / "outrider.db", session)
        with closing(PostgresRows(self.url)) as database:
            return database.rows(session)

    def select(self, data: Path, statement: str, value: str) -> list[tuple[Any, ...]]:
        """Read past the server; `{name}` in the statement stands for the value."""
        if not self.url:
            return sqlite_select(data / "outrider.db", statement, value)
        with closing(PostgresRows(self.url)) as database:
            return database.select(statement, value)

    async def opened(self, data: Path) -> SqliteStore | PostgresStore:
        return await (PostgresStore.open(self.url) if self.url else SqliteStore.open(data / "outrider.db"))
