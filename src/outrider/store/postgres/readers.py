"""Reading beside the writer: a few connections, each seeing all that is committed before each query.

A read that meets a broken connection is made again on a new one, until its deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from outrider.errors import Internal
from outrider.ports.log import SessionKey
from outrider.store.postgres import connections, problems
from outrider.store.postgres.transaction import Link, Transaction
from outrider.store.shapes import named
from outrider.store.steps import Values

T = TypeVar("T")
CONNECTIONS = 6
DEADLINE_SECONDS = 15.0
PAUSE_SECONDS = 0.1


class Readers:
    def __init__(self, url: str) -> None:
        self._url = url
        self._free: list[Link] = []
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._closed = False

    async def fetch(self, query: str, values: Values, shape: Callable[[list[Any]], T]) -> T:
        """Run one named query and give its rows to `shape`."""
        return shape(await self.run(lambda tx: tx.all(query, values), []))

    async def one(self, query: str, values: Values, shape: Callable[[list[Any]], T]) -> T:
        """`fetch` for a few rows found by their keys."""
        return await self.fetch(query, values, shape)

    async def of_log(self, key: SessionKey, query: str, values: Values, shape: Callable[[list[Any]], T]) -> T:
        """Run one named query with the log's number; its rows are none when there is no such session."""

        async def read(tx: Transaction) -> list[Any]:
            head = await tx.one("head", named(key))
            return [] if head is None else await tx.all(query, {**values, "log": head["log"]})

        return shape(await self.run(read, []))

    async def run(self, read: Callable[[Transaction], Awaitable[T]], nothing: T) -> T:
        """Run some queries. Text that the server can't hold is not stored, so what is asked for it finds `nothing`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + DEADLINE_SECONDS
        while True:
            if self._closed:
                raise Internal("The store is closed.")
            left = deadline - loop.time()
            try:
                async with asyncio.timeout(max(left, 0.001)):
                    return await self._once(read)
            except asyncpg.CharacterNotInRepertoireError:
                return nothing
            except problems.FAILURES as error:
                if not problems.lost(error) or left < PAUSE_SECONDS:
                    raise problems.translate(error, connections.shown(self._url)) from None
                await asyncio.sleep(PAUSE_SECONDS if not self._free else 0)

    async def close(self) -> None:
        """Finish the reads that have begun."""
        self._closed = True
        for _ in range(CONNECTIONS):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DEADLINE_SECONDS):
                    await self._places.acquire()
        for link in self._free:
            with contextlib.suppress(*problems.FAILURES):
                await link.close(timeout=connections.CONNECT_SECONDS)

    async def _once(self, read: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._places:
            link = self._free.pop() if self._free else await connections.to_read(self._url)
            try:
                found = await read(Transaction(link))
            except asyncpg.PostgresError:
                self._put_back(link)
                raise
            except BaseException:  # given up in the middle: the connection may still be busy
                link.terminate()
                raise
            self._put_back(link)
            return found

    def _put_back(self, link: Link) -> None:
        if not link.is_closed():
            self._free.append(link)
