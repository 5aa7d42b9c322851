"""Reading beside the writer: a few threads, each with a connection of its own that sees all that is committed."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from outrider.errors import Internal
from outrider.store.sqlite import connections, problems
from outrider.store.sqlite.transaction import QUERIES
from outrider.store.steps import Values

T = TypeVar("T")
THREADS = 4


class Readers:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._closed = False
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="outrider-store-reader")

    async def fetch(self, query: str, values: Values, shape: Callable[[list[Any]], T]) -> T:
        """Run one named query and give its rows to `shape`, both in a reading thread."""
        return await self.run(lambda db: shape(db.execute(QUERIES[query], values).fetchall()))

    def glance(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Read a few rows by their keys right here, in the caller's thread.

        That takes some 30 µs while going to another thread and back takes five times as long, and several such reads
        lie on the way from a client's message to the model. Not for lists, nor for whatever grows with a session.
        """
        if self._closed:
            raise Internal("The store is closed.")
        return self._read(read)

    async def one(self, query: str, values: Values, shape: Callable[[list[Any]], T]) -> T:
        """`fetch` for a few rows: see `glance`."""
        return self.glance(lambda db: shape(db.execute(QUERIES[query], values).fetchall()))

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Run some queries in a reading thread."""
        if self._closed:
            raise Internal("The store is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, read)

    async def close(self) -> None:
        """Finish the reads that have begun."""
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown, wait=True)
        for connection in self._all:
            connection.close()

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return read(self._connection())
        except (sqlite3.Error, ValueError, OverflowError) as error:
            raise problems.translate(error, self._path) from error

    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = connections.reader(self._path)
            self._all.append(connection)
        return connection
