"""The one writing task of a process: drains its queue, commits what waits in one transaction, then tells everybody.

Promised: a job's result is seen only after its commit is on the server's disk; a job that fails leaves nothing behind
and spoils no other; a batch whose outcome is unknown is sent again until it is known that it was done, once.
Not promised: that jobs of different callers commit apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg

from outrider import faults
from outrider.errors import Internal, OutriderError
from outrider.ports.log import SessionKey
from outrider.store.files import change_files
from outrider.store.postgres import connections, jobs, problems
from outrider.store.postgres.jobs import Append, Outcome, Verdict
from outrider.store.postgres.transaction import Link, Transaction
from outrider.store.shapes import OnBatch, OnCommit, OnDelete
from outrider.store.steps import Steps

T = TypeVar("T")

Work = Callable[[Transaction], Awaitable[Any]]

BATCH = 512
DEADLINE_SECONDS = 15.0  # of a batch; after it, callers are told to send it again
PAUSES = (0.0, 0.05, 0.1, 0.2, 0.5)
TRIES = 5  # of a batch that the server undoes for another's sake


@dataclass(slots=True, eq=False)
class Cold:
    """A job that runs by itself: `work` gives what JSON can hold. `erases` names the session that it deletes."""

    work: Work
    erases: SessionKey | None = None


@dataclass(slots=True, eq=False)
class _Ticket:
    """A job with the future of its caller, and what came of it."""

    job: Append | Cold
    future: asyncio.Future[Any]
    value: Any = None
    error: OutriderError | None = None


@dataclass(slots=True)
class Writer:
    """Belongs to the event loop in which it was made; `on_commit` and `on_delete` are called there."""

    url: str
    name: str
    on_commit: OnCommit | None = None
    on_delete: OnDelete | None = None
    on_batch: OnBatch | None = None
    _queue: deque[_Ticket] = field(default_factory=deque[_Ticket])
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _link: Link | None = None
    _number: int = 0
    _closing: bool = False
    _task: asyncio.Task[None] | None = None

    def start(self, link: Link) -> None:
        self._link = link
        self._task = asyncio.create_task(self._work(), name="outrider-store-writer")

    async def append(self, job: Append) -> Outcome:
        """Have a job committed with others. Raises what the port says of it."""
        return jobs.settled(job, await self._run(job))

    async def run(self, work: Work, *, erases: SessionKey | None = None) -> Any:
        """Have a job committed by itself."""
        return await self._run(Cold(work, erases))

    async def walk(self, steps: Callable[[], Steps[T]]) -> T:
        return await self.run(lambda tx: tx.walk(steps()))

    async def _run(self, job: Append | Cold) -> Any:
        """Cancelling the await does not take the job back."""
        if self._closing or self._task is None or self._task.done():
            raise Internal("The store is closed.")
        ticket = _Ticket(job, asyncio.get_running_loop().create_future())
        self._queue.append(ticket)
        self._more.set()
        return await ticket.future

    async def close(self) -> None:
        """Commit what was asked for, then let go of the connection."""
        self._closing = True
        self._more.set()
        if self._task is not None:
            await self._task
        if self._link is not None:
            with contextlib.suppress(*problems.FAILURES):
                async with asyncio.timeout(connections.CONNECT_SECONDS):
                    await Transaction(self._link).run("resign", {"writer": self.name})
                    await self._link.close()
            self._drop()

    async def _work(self) -> None:
        batch: list[_Ticket] = []
        try:
            while batch := await self._next_batch():
                if not await self._commit(batch):
                    batch += self._take_all()  # those behind have waited as long, and the server is still away
                self._deliver(batch)
        finally:
            self._closing = True
            self._abandon([*batch, *self._take_all()])

    async def _next_batch(self) -> list[_Ticket]:
        """What waits, in order, up to a job that must run by itself or a second one of a session or of a request; none
        once closed."""
        while not self._queue:
            if self._closing:
                return []
            self._more.clear()
            await self._more.wait()
        first = self._queue.popleft()
        batch = [first]
        if isinstance(first.job, Cold) or first.job.alone:
            return batch
        taken = _marks(first.job)
        while self._queue and len(batch) < BATCH:
            job = self._queue[0].job
            if isinstance(job, Cold) or job.alone or taken & (marks := _marks(job)):
                break
            taken |= marks
            batch.append(self._queue.popleft())
        return batch

    def _take_all(self) -> list[_Ticket]:
        taken = list(self._queue)
        self._queue.clear()
        for ticket in taken:
            ticket.error = problems.unreachable(connections.shown(self.url))
        return taken

    async def _commit(self, batch: list[_Ticket]) -> bool:
        """Each ticket gets its value or its error. False: the server could not be reached."""
        self._number += 1
        begun = time.perf_counter()
        try:
            await self._until_known(batch)
            if self.on_batch is not None:
                self.on_batch(len(batch), time.perf_counter() - begun)
        except problems.ONE_S_OWN as error:
            if len(batch) == 1:
                batch[0].error = problems.translate(error, connections.shown(self.url))
                return True
            for ticket in batch:  # one of them is at fault: each on its own, so that only that one fails
                if not await self._commit([ticket]):
                    return False
        except problems.FAILURES as error:
            for ticket in batch:
                ticket.error = problems.translate(error, connections.shown(self.url))
            return not problems.lost(error)
        return True

    async def _until_known(self, batch: list[_Ticket]) -> None:
        """Send the batch under its number until the server says what came of it. The writer's row in the database
        makes that safe: a number that is there already is answered as it was, and nothing is done again."""
        loop = asyncio.get_running_loop()
        deadline, tries, careful = loop.time() + DEADLINE_SECONDS, 0, False
        while True:
            left = deadline - loop.time()
            try:
                async with asyncio.timeout(max(left, 0.001)):
                    return await self._send(batch, careful)
            except asyncpg.UniqueViolationError:
                if careful or isinstance(batch[0].job, Cold):
                    raise
                careful = True
            except problems.AGAIN:
                tries += 1
                if tries == TRIES or deadline - loop.time() < connections.LOCK_SECONDS:
                    raise
            except asyncpg.ReadOnlySQLTransactionError:
                self._drop()  # it may be a standby now, and the name lead to another server
                raise
            except problems.LOST as error:
                self._drop()
                if not problems.lost(error) or left <= 0:
                    raise
                await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1

    async def _send(self, batch: list[_Ticket], careful: bool) -> None:
        if self._link is None or self._link.is_closed():
            self._link = await connections.to_write(self.url)
            await connections.bound_locks(self._link)
        tx = Transaction(self._link)
        if isinstance(batch[0].job, Cold):
            batch[0].value = await self._send_cold(tx, self._link, batch[0].job)
            return
        hot = [ticket.job for ticket in batch if isinstance(ticket.job, Append)]
        if hot[0].alone:
            batch[0].value = await self._send_with_files(tx, self._link, hot[0], careful)
            return
        values = jobs.arrays(hot) | {"writer": self.name, "batch": self._number, "careful": careful}
        faults.point("store.commit.before")
        (found,) = await tx.all(jobs.statement(values), values)
        faults.point("store.commit.after")
        for ticket, outcome in zip(batch, jobs.outcomes(found), strict=True):
            ticket.value = outcome

    async def _send_with_files(self, tx: Transaction, link: Link, job: Append, careful: bool) -> Outcome:
        """What was committed under this number before is answered as it was, and the files are not changed twice."""
        ours = {"writer": self.name, "batch": self._number}
        async with link.transaction():
            known = await tx.one("settled", ours)
            repeated = known is not None and known["batch"] == self._number
            values = jobs.arrays([job]) | ours | {"careful": careful}
            (found,) = await tx.all(jobs.statement(values), values)
            (outcome,) = jobs.outcomes(found)
            if outcome.verdict is Verdict.DONE and not repeated:
                await tx.walk(change_files(job.key, job.files))
            faults.point("store.commit.before")
        faults.point("store.commit.after")
        return outcome

    async def _send_cold(self, tx: Transaction, link: Link, job: Cold) -> Any:
        ours = {"writer": self.name, "batch": self._number}
        async with link.transaction():
            known = await tx.one("settled", ours)
            if known is None:
                await tx.run("enrol", ours)
            elif known["batch"] == self._number:
                return json.loads(known["answer"])
            value = await job.work(tx)
            await tx.run("settle", ours | {"answer": json.dumps(value)})
            faults.point("store.commit.before")
        faults.point("store.commit.after")
        return value

    def _drop(self) -> None:
        if self._link is not None:
            self._link.terminate()
            self._link = None

    def _deliver(self, batch: list[_Ticket]) -> None:
        """Announce, then wake the callers. `call_soon` keeps this order, and a failing callback from leaving callers
        without an answer."""
        for ticket in batch:
            if ticket.error is None:
                self._announce(ticket)
            if ticket.future.done():
                continue
            if ticket.error is None:
                ticket.future.set_result(ticket.value)
            else:
                ticket.future.set_exception(ticket.error)

    def _announce(self, ticket: _Ticket) -> None:
        loop, job = asyncio.get_running_loop(), ticket.job
        if isinstance(job, Cold):
            if job.erases is not None and self.on_delete is not None:
                loop.call_soon(self.on_delete, job.erases)
        elif job.events and ticket.value.verdict is Verdict.DONE and self.on_commit is not None:
            loop.call_soon(self.on_commit, job.key, jobs.rows(job, ticket.value))

    def _abandon(self, left: list[_Ticket]) -> None:
        """Answer those whom a broken task leaves behind; there are none at an ordinary end."""
        for ticket in left:
            if not ticket.future.done():
                ticket.future.set_exception(Internal("The store has failed."))


def _marks(job: Append) -> set[SessionKey | str]:
    """What two jobs of one batch may not share."""
    return {job.key} if job.keep is None else {job.key, job.keep.name}
