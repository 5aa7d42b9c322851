"""Fills a store's tables with copies of a session, past the server: quick, and in one place for each kind of store."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import asyncpg

from bench.scale.clone import TABLES, Table, Template

STEP = 5_000  # sessions in a transaction
_connect = cast("Callable[[str], Awaitable[Any]]", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]


class Filler(Protocol):
    """`template` reads a session; `fill` adds the copies with these numbers."""

    async def template(self, session: str) -> Template: ...
    async def fill(self, template: Template, which: range) -> None: ...
    async def size(self) -> int: ...


class SqliteFiller:
    """Works on the file of a server that is stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def template(self, session: str) -> Template:
        with self._open() as db:
            (log,) = db.execute("SELECT log FROM heads WHERE session = ?", (session,)).fetchone()
            tables = [_table(name, db.execute(f"SELECT * FROM {name} WHERE log = ?", (log,))) for name in TABLES]
        return Template(session, [t for t in tables if t.name != "history"])  # triggers keep that

    async def fill(self, template: Template, which: range) -> None:
        with self._open() as db:
            for start in range(which.start, which.stop, STEP):
                db.execute("BEGIN")
                (last,) = db.execute("SELECT max(log) FROM heads").fetchone()
                for table in template.tables:
                    marks = ", ".join("?" * len(table.columns))
                    names = ", ".join(table.columns)
                    rows = template.copies(table, range(start, min(start + STEP, which.stop)), above=last)
                    db.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", rows)
                db.execute("COMMIT")

    async def size(self) -> int:
        return self._path.stat().st_size

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous=OFF")
            db.execute("PRAGMA cache_size=-400000")
            yield db


def _table(name: str, found: sqlite3.Cursor) -> Table:
    return Table(name, tuple(column[0] for column in found.description), found.fetchall())


class PostgresFiller:
    """Works beside whatever else uses the database."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def template(self, session: str) -> Template:
        async with self._open() as db:
            log = await db.fetchval("SELECT log FROM heads WHERE session = $1", session)
            tables = [await self._table(db, name, log) for name in TABLES]
        return Template(session, tables)

    async def _table(self, db: Any, name: str, log: int) -> Table:
        query = await db.prepare(f"SELECT * FROM {name} WHERE log = $1")
        columns = tuple(attribute.name for attribute in query.get_attributes())
        return Table(name, columns, [tuple(row) for row in await query.fetch(log)])

    async def fill(self, template: Template, which: range) -> None:
        async with self._open() as db:
            for start in range(which.start, which.stop, STEP):
                part = range(start, min(start + STEP, which.stop))
                async with db.transaction():
                    last = await db.fetchval("SELECT max(log) FROM heads")
                    for table in template.tables:
                        rows = template.copies(table, part, above=last)
                        await db.copy_records_to_table(table.name, columns=table.columns, records=rows)
            await db.execute("SELECT setval(pg_get_serial_sequence('heads', 'log'), (SELECT max(log) FROM heads))")
            await db.execute("ANALYZE")

    async def size(self) -> int:
        async with self._open() as db:
            return await db.fetchval("SELECT pg_database_size(current_database())")

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Any]:
        db = await _connect(self._url)
        try:
            yield db
        finally:
            await db.close()
