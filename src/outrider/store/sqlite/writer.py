"""The one writer thread: drains its queue, runs all waiting jobs in one transaction, commits, then tells everybody.

Promised: a job's result is seen only after its commit is on disk; a job that fails leaves nothing behind and spoils
no other job. Not promised: that jobs of different callers commit apart.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from outrider import faults
from outrider.errors import Internal, OutriderError
from outrider.store.shapes import OnBatch, OnCommit, OnDelete
from outrider.store.sqlite import connections, problems
from outrider.store.sqlite.connections import BUSY_MILLISECONDS
from outrider.store.sqlite.transaction import Transaction
from outrider.store.steps import Steps

T = TypeVar("T")
Job = Callable[[Transaction], T]

BATCH = 512
QUIET_SECONDS = 0.2  # without a job, before the log of changes is seen to
# ValueError and OverflowError: values that SQLite can't hold, such as text with a lone surrogate.
FAILURES = (sqlite3.Error, OSError, OutriderError, ValueError, OverflowError)


class _Ticket:
    """A job with the future of its caller, and what came of it."""

    __slots__ = ("error", "future", "job", "transaction", "value")

    def __init__(self, job: Job[Any], future: asyncio.Future[Any]) -> None:
        self.job = job
        self.future = future
        self.value: Any = None
        self.error: OutriderError | None = None
        self.transaction: Transaction | None = None

    def attempt(self, db: sqlite3.Connection) -> None:
        """Run the job. A refusal that comes before its first write is its own matter; any later one is raised."""
        self.error, self.transaction = None, Transaction(db)
        before = db.total_changes
        try:
            self.value = self.job(self.transaction)
        except OutriderError as error:
            if db.total_changes != before:
                raise
            self.error = error


class Writer:
    """Belongs to the event loop in which it was made; `on_commit` and `on_delete` are called there. `on_batch` is told
    of each transaction that went well, in the writer's thread: its jobs and its seconds."""

    def __init__(
        self,
        db: sqlite3.Connection,
        path: Path,
        on_commit: OnCommit | None,
        on_delete: OnDelete | None,
        on_batch: OnBatch | None = None,
    ) -> None:
        self._db = db
        self._path = path
        self._on_commit = on_commit
        self._on_delete = on_delete
        self._on_batch = on_batch
        self._loop = asyncio.get_running_loop()
        self._asked: list[_Ticket] = []  # what this turn of the event loop has asked for so far
        self._queue: SimpleQueue[list[_Ticket] | None] = SimpleQueue()
        self._closing = False
        self._scrub = False
        self._short = True
        self._broken = False  # known in the event loop only, so that nothing can be asked for unseen
        self._thread = threading.Thread(target=self._work, name="outrider-store-writer", daemon=True)
        self._thread.start()

    async def run(self, job: Job[T]) -> T:
        """Have a job committed. Cancelling the await does not take it back."""
        if self._closing or not self._thread.is_alive():
            raise Internal("The store is closed.")
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._asked:
            self._loop.call_soon(self._hand_over)
        self._asked.append(_Ticket(job, future))
        return await future

    async def walk(self, steps: Callable[[], Steps[T]]) -> T:
        return await self.run(lambda tx: tx.walk(steps()))

    def _hand_over(self) -> None:
        """Once for all that a turn of the event loop asked for. Handed over one by one, the first would wake the thread
        and be committed alone, with the others waiting for the disk behind it."""
        asked, self._asked = self._asked, []
        if self._broken:
            self._abandon(asked)
        elif asked:
            self._queue.put(asked)

    async def close(self) -> None:
        """Commit what was asked for, then let go of the file."""
        self._closing = True
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        batch: list[_Ticket] = []
        try:
            while batch := self._next_batch():
                self._commit(batch)
                if self._scrub:
                    self._scrub = not self._empty_wal()
                self._loop.call_soon_threadsafe(self._deliver, batch)
        finally:
            self._closing = True
            self._db.close()
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._abandon, batch)

    def _next_batch(self) -> list[_Ticket]:
        """All jobs that wait, at least one; none once the store is closed."""
        batch = self._next_tickets() or []
        while 0 < len(batch) < BATCH:
            try:
                tickets = self._queue.get_nowait()
            except Empty:
                break
            if tickets is None:
                self._queue.put(None)  # found again when this batch is done
                break
            batch += tickets
        return batch

    def _next_tickets(self) -> list[_Ticket] | None:
        while self._scrub or self._short:
            try:
                return self._queue.get(timeout=QUIET_SECONDS)
            except Empty:
                if self._scrub:
                    self._scrub = not self._empty_wal()
                else:
                    self._short = connections.lengthen_wal(self._db, self._path)
        return self._queue.get()

    def _commit(self, batch: list[_Ticket]) -> None:
        try:
            self._transact(batch)
        except FAILURES as error:
            self._roll_back()
            if len(batch) > 1 and not problems.concerns_all(error):
                for ticket in batch:  # one of them is at fault: each on its own, so that only that one fails
                    self._commit([ticket])
            else:
                for ticket in batch:
                    ticket.error = problems.translate(error, self._path)

    def _transact(self, batch: list[_Ticket]) -> None:
        begun = time.perf_counter()
        self._db.execute("BEGIN IMMEDIATE")
        for ticket in batch:
            ticket.attempt(self._db)
        faults.point("store.commit.before")
        self._db.execute("COMMIT")
        faults.point("store.commit.after")
        if self._on_batch is not None:
            self._on_batch(len(batch), time.perf_counter() - begun)
        self._scrub = self._scrub or any(ticket.transaction and ticket.transaction.erases for ticket in batch)

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                if self._db.in_transaction:
                    raise  # nothing can be promised any more: end the thread, fail every caller

    def _empty_wal(self) -> bool:
        """Move the log of changes into the file and cut it to nothing; False while a reader still needs it."""
        try:
            self._db.execute("PRAGMA busy_timeout=0").fetchall()
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
            self._db.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}").fetchall()
        except sqlite3.Error:
            return False
        self._short = self._short or not busy
        return not busy

    def _deliver(self, batch: list[_Ticket]) -> None:
        """In the event loop: announce, then wake the callers. `call_soon` keeps this order, and a failing
        callback from leaving callers without an answer."""
        for ticket in batch:
            if ticket.error is None and ticket.transaction is not None:
                self._announce(ticket.transaction)
            if ticket.future.done():
                continue
            if ticket.error is None:
                ticket.future.set_result(ticket.value)
            else:
                ticket.future.set_exception(ticket.error)

    def _announce(self, transaction: Transaction) -> None:
        if self._on_commit is not None:
            for key, rows in transaction.appended:
                self._loop.call_soon(self._on_commit, key, rows)
        if self._on_delete is not None:
            for key in transaction.deleted:
                self._loop.call_soon(self._on_delete, key)

    def _abandon(self, left: list[_Ticket]) -> None:
        """In the event loop: answer those whom a broken thread leaves behind; there are none at an ordinary end."""
        self._broken = True
        while not self._queue.empty():
            left += self._queue.get() or []
        for ticket in left:
            ticket.error = Internal("The store has failed.")
        self._deliver(left)
