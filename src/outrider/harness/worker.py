"""One process's share of the sessions: claims what is runnable, drives each session in a task of its own.

This is one of the two places that catch everything: a session whose driver fails is tried again a few times, then its
turn is given up with a `session.error`, so that no bug leaves a session running for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Literal

from outrider import faults, subject
from outrider.errors import CallLost, Fenced, OutriderError, Overloaded, SandboxUnavailable, causes
from outrider.harness.journal import Journal
from outrider.harness.liveness import Liveness, bury
from outrider.harness.loop import Driver, Hands
from outrider.harness.watchdog import Watchdog
from outrider.ports import metrics
from outrider.ports.doorbell import Doorbell
from outrider.ports.log import Lease
from outrider.session import events
from outrider.session.feed import Feed
from outrider.session.inbox import close_call, span_end

SWEEP_SECONDS = 1.0
TRIES = 3
PAUSE_SECONDS = 1.0
DRAIN_SECONDS = 4.0
RETIRE_SECONDS = 5.0
LONGEST_PAUSE = 5  # times as long
NODE_ENDS = "/"

log = logging.getLogger("outrider.harness")


class Worker:
    """Drives up to `limits.running_sessions` sessions at once; the rest wait their turn in the store.

    A `worker_id` of the form `node/process` says that there is one worker at a time on this node.

    Implements the `Dispatch` port for the API of the same process.
    """

    def __init__(self, hands: Hands, feed: Feed, doorbell: Doorbell, worker_id: str) -> None:
        self._hands = hands
        self._feed = feed
        self._doorbell = doorbell
        self._name = self._id = worker_id
        self._lives = 1
        self._meter = hands.telemetry.meter
        self._running: set[Lease] = set()  # a session may be claimed anew while its last driver still ends
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._drivers: set[Driver] = set()
        self._draining = asyncio.Event()
        self._drained_by: float | None = None

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[None]:
        """Work while the block runs; on leaving, drop every session where it stands (the log says where to go on)."""
        await self._bury_the_gone()
        async with asyncio.TaskGroup() as group:
            self._group = group
            loops = [group.create_task(loop) for loop in self._loops()]
            try:
                yield
            finally:
                self._group = None
                for task in [*loops, *self._tasks]:
                    task.cancel()
        await self._retire(self._id)

    def _loops(self) -> list[Coroutine[None, None, None]]:
        store = self._hands.log
        watchdog = Watchdog(store, lambda: self._id, lambda: {lease.key for lease in self._running}, self.ring)
        loops: list[Coroutine[None, None, None]] = [self._claim_loop(), watchdog.watch()]
        if store.shared:
            liveness = Liveness(store, self._hands.clock, self)
            loops += [liveness.beat(), liveness.watch()]
        return loops

    async def drain(self) -> None:
        """Claim nothing more, and let what runs come to a place from where another owner goes on at once: between two
        steps of a session, and with what a model is saying written down, if it ends within `DRAIN_SECONDS`."""
        self._draining.set()
        if self._drained_by is None:
            self._drained_by = self._hands.clock.monotonic() + DRAIN_SECONDS
        self._doorbell.recheck()  # so that the claim loop hears of it
        for driver in self._drivers:
            driver.stop_soon()
        left = self._drained_by - self._hands.clock.monotonic()
        if self._tasks and left > 0:
            await asyncio.wait(self._tasks, timeout=left)

    async def _retire(self, worker: str) -> None:
        """Whatever is still said to be ours waits for another owner, who needn't find out that we are gone. Whoever
        watches does it for us if the store can't be reached."""
        try:
            async with asyncio.timeout(RETIRE_SECONDS):
                if await bury(self._hands.log, worker):
                    self._doorbell.ring()
        except (TimeoutError, OutriderError) as error:
            log.warning("worker %s could not retire: %s", worker, error)

    def renew(self) -> None:
        """Nothing that this worker holds is its own any more: it drops all, and goes on under a new id."""
        buried, self._lives = self._id, self._lives + 1
        self._id = f"{self._name}.{self._lives}"
        for task in self._tasks:
            task.cancel()
        if self._group is not None:
            self._group.create_task(self._retire(buried))
        self._doorbell.ring()

    async def _bury_the_gone(self) -> None:
        """Where one process owns the store, whoever else is in it has died, and so has whoever was on this node before
        us; of the others, the beats are watched."""
        node = self._name.partition(NODE_ENDS)[0] + NODE_ENDS
        for worker in await self._hands.log.beats():
            if worker != self._id and (worker.startswith(node) or not self._hands.log.shared):
                await bury(self._hands.log, worker)

    @property
    def running(self) -> int:
        return len(self._running)

    def driving(self) -> list[str]:
        """The sessions that this worker drives now."""
        return [lease.key.session for lease in self._running]

    @property
    def id(self) -> str:
        return self._id

    def ring(self) -> None:
        self._doorbell.ring()

    def claimant(self) -> str | None:
        """As `Dispatch`: whoever has sessions waiting for room takes none past the queue."""
        has_room = self._working() and len(self._running) < self._hands.limits.running_sessions
        return self._id if has_room else None

    def _working(self) -> bool:
        return self._group is not None and not self._draining.is_set()

    def take(self, lease: Lease) -> None:
        """As `Dispatch`. One that comes too late, for an earlier life or for none, is left to whoever buries it."""
        if self._group is None or lease.worker != self._id:
            return
        if self._draining.is_set() or len(self._running) >= self._hands.limits.running_sessions:
            self._spawn(self._group, self._put_back(lease))
        else:
            self._start(self._group, lease)

    async def _put_back(self, lease: Lease) -> None:
        """Requests that came at once were all told that there is room: the session waits its turn after all."""
        await self._surrender(lease)
        self._doorbell.ring()

    async def _surrender(self, lease: Lease) -> None:
        """Not given up before it worked: a session that is owned but not driven would stand still."""
        while True:
            try:
                return await self._hands.log.surrender(lease.key, lease.worker, epoch=lease.epoch)
            except OutriderError as error:
                log.warning("session %s could not be surrendered: %s", lease.key.session, error)
                await asyncio.sleep(PAUSE_SECONDS)

    def _start(self, group: asyncio.TaskGroup, lease: Lease) -> None:
        self._meter.add(metrics.CLAIMS)
        self._running.add(lease)
        self._spawn(group, self._drive(lease))

    def _spawn(self, group: asyncio.TaskGroup, work: Coroutine[None, None, None]) -> None:
        task = group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _claim_loop(self) -> None:
        while not self._draining.is_set():
            await self._claim()
            await self._doorbell.wait(SWEEP_SECONDS, room=self._room > 0)

    @property
    def _room(self) -> int:
        return self._hands.limits.running_sessions - len(self._running)

    async def _claim(self) -> None:
        """Take what there is room for. A store out of reach does not end the loop: the next sweep asks again."""
        room = self._room
        try:
            leases = await self._claimed(room) if room > 0 else []
        except OutriderError as error:
            log.warning("no session claimed: %s", error.message)
            return
        for lease in leases:
            self.take(lease)
        if leases and len(leases) == room:  # the ring was heard here alone, and there may be more than fits
            self._doorbell.ring()

    async def _claimed(self, room: int) -> list[Lease]:
        faults.point("harness.claim.before")
        leases = await self._hands.log.claim(self._id, limit=room)
        if leases:
            faults.point("harness.claim.after")
        return leases

    async def _drive(self, lease: Lease) -> None:
        subject.name(session=lease.key.session)
        journal = Journal(self._hands.log, lease, self._hands.ids, self._hands.clock)
        failures = waits = 0
        try:
            while failures < TRIES:
                end = await self._attempt(journal, failures + 1)
                if end == "over":
                    return
                failures, waits = failures + (end == "failed"), waits + (end == "no room")
                await asyncio.sleep(PAUSE_SECONDS * min(failures + waits, LONGEST_PAUSE))
            await self._give_up(journal)
        finally:
            self._running.discard(lease)
            self._doorbell.recheck()

    async def _attempt(self, journal: Journal, attempt: int) -> Literal["over", "failed", "no room"]:
        """`over`: this lease needs nothing more. While the disk is full, or the log locked, the session waits."""
        key = journal.lease.key
        tail = self._feed.watch(key)
        end: Literal["over", "failed", "no room"] = "over"
        try:
            if not await self._run(Driver(self._hands, journal, tail)):
                await self._surrender(journal.lease)
        except* Fenced:
            self._meter.add(metrics.FENCED)
            log.info("session %s has another owner now", key.session)
            await self._surrender(journal.lease)
        except* Overloaded as group:
            log.warning("session %s waits: %s", key.session, causes(group)[0])
            end = "no room"
        except* Exception:
            self._meter.add(metrics.DRIVER_FAILURES)
            log.exception("session %s: driver failed, attempt %d of %d", key.session, attempt, TRIES)
            end = "failed"
        finally:
            self._feed.unwatch(key, tail)
        return end

    async def _run(self, driver: Driver) -> bool:
        self._drivers.add(driver)
        if self._draining.is_set():
            driver.stop_soon()
        try:
            return await driver.run()
        finally:
            self._drivers.discard(driver)

    async def _give_up(self, journal: Journal) -> None:
        """End the turn with an error, by the shortest way; if even that fails (it may be the log itself that can't be
        understood) the session is left to the next sweep, and nobody else suffers."""
        try:
            await journal.load()
            await self._stop_calls(journal)
            factory = journal.factory
            if journal.state.open_span is not None:
                journal.stage(span_end(factory, journal.state.open_span, is_error=True))
            text = events.text_blocks(events.INTERRUPTED_TEXT)
            journal.stage(*(close_call(factory, call, text) for call in journal.state.open_calls))
            journal.stage(factory.error("unknown_error", "The turn failed inside the server.", "exhausted"))
            journal.stage(*(factory.processed(item.id, dropped=True) for item in journal.state.queue))
            journal.stage_idle({"type": "retries_exhausted"}, None)
            await journal.flush(release=True, exact=True)
        except Exception:
            log.exception("session %s could not be given up", journal.lease.key.session)
            await self._surrender(journal.lease)

    async def _stop_calls(self, journal: Journal) -> None:
        """As far as the sandbox can be reached: what is said to be interrupted should not run on."""
        lease = journal.lease
        for call in journal.state.open_calls:
            if call.started and call.kind != "mcp":
                with suppress(CallLost, SandboxUnavailable):
                    await self._hands.sandboxes.interrupt(lease.key.session, call.id, epoch=lease.epoch)
