"""A session's memory stores in its sandbox: mounted with its first call, brought up to date before each further one,
and what a call wrote stored as versions of the session's before its result is told.

What the store refuses, because another changed it meanwhile too, is an error of that call; the file is put back to what
the store has before the next one. A crash costs nothing: the host knows what was settled, the store what was stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from outrider import faults
from outrider.clock import Clock
from outrider.errors import CallLost, Overloaded, SandboxUnavailable
from outrider.harness.journal import Journal
from outrider.harness.remembering import Remembering
from outrider.ids import IdSource
from outrider.ports.memory import MemoryRecord, MemoryStores
from outrider.ports.mounted import Change, Held, MountedMemory, Step
from outrider.ports.sandbox import Mount, NotMounted, Sandboxes, ToolCall, ToolOutcome, text_outcome
from outrider.resources.memory import MOST_CONTENT
from outrider.resources.memory_mounts import ROOT, directory, fits_a_file

PORTION = 2 * 1024 * 1024
MOST_STEPS = 500
FEW = 20
TRIES = 3
STORE_SECONDS = 30.0
PAUSE_SECONDS = 0.5
REST_SECONDS = 60.0
WRITING = frozenset({"bash", "write", "edit"})
REFUSED = "Not kept in memory; these files will be put back to what the memory store has:"

log = logging.getLogger("outrider.harness")


class Hands(Protocol):
    """What of a harness's hands is needed here."""

    @property
    def sandboxes(self) -> Sandboxes: ...
    @property
    def memories(self) -> MemoryStores | None: ...
    @property
    def ids(self) -> IdSource: ...
    @property
    def clock(self) -> Clock: ...


class SessionMemory:
    """One drive's. Calls of a session without memory stores are handed on as they are."""

    def __init__(self, hands: Hands, journal: Journal) -> None:
        self._hands = hands
        self._journal = journal
        self._lock = asyncio.Lock()
        self._running = 0
        self._held: Held | None = None
        self._told: set[tuple[str, str, str]] = set()
        self._unsaid: list[str] = []

    async def execute(self, call: ToolCall, *, resume: bool) -> ToolOutcome:
        """As `Sandboxes.execute`. Raises SandboxUnavailable, CallLost, Fenced."""
        if not self._resources:
            return await self._execute(call, resume=resume)
        outcome = await (self._execute(call, resume=True) if resume else self._begin(call))
        return await self._kept(outcome) if call.name in WRITING else outcome

    async def rest(self) -> None:
        """Before the session rests: what was written in the background is stored, too."""
        if not self._resources:
            return
        try:
            async with asyncio.timeout(REST_SECONDS), self._lock:
                await self._refresh()
        except (SandboxUnavailable, NotMounted, CallLost, Overloaded, TimeoutError) as problem:
            session = self._journal.lease.key.session
            log.warning("session %s: its memory is left to its next turn: %s", session, problem or "it took too long")

    @property
    def _resources(self) -> list[dict[str, Any]]:
        return self._journal.context.memory

    @property
    def _mounts(self) -> list[Mount]:
        return [(directory(one), one["access"] == "read_write") for one in self._resources]

    def _mounted(self) -> MountedMemory:
        lease = self._journal.lease
        return MountedMemory(self._hands.sandboxes, lease.key.session, lease.epoch, self._mounts)

    def _remembering(self) -> Remembering:
        assert self._hands.memories is not None
        return Remembering(self._hands.memories, self._journal.lease, self._hands.ids, self._hands.clock)

    # -- calls

    async def _execute(self, call: ToolCall, *, resume: bool) -> ToolOutcome:
        lease = self._journal.lease
        return await self._hands.sandboxes.execute(lease.key.session, call, epoch=lease.epoch, resume=resume)

    async def _begin(self, call: ToolCall) -> ToolOutcome:
        try:
            async with self._lock:
                if self._running == 0:
                    await self._patiently(self._refresh_if_mounted)
                self._running += 1
            try:
                return await self._run(replace(call, mounts=self._mounts))
            finally:
                self._running -= 1
        except Overloaded as problem:
            return text_outcome(f"Nothing was run: memory can't be reached now: {problem.message}", is_error=True)

    async def _run(self, call: ToolCall) -> ToolOutcome:
        for _ in range(TRIES):
            try:
                return await self._execute(call, resume=False)
            except NotMounted:
                async with self._lock:
                    await self._patiently(self._mount)
        raise SandboxUnavailable("The session's memory could not be mounted.")

    async def _mount(self) -> None:
        faults.point("memory.mount.before")
        await self._mounted().mount()
        faults.point("memory.mount.after")
        self._held = None
        if not await self._pull(self._remembering()):
            raise SandboxUnavailable("The session's memory can't be mounted while other calls run.")

    async def _kept(self, outcome: ToolOutcome) -> ToolOutcome:
        """Its outcome once all that it wrote is stored, or refused."""
        try:
            async with self._lock:
                refused = await self._patiently(self._push)
        except (SandboxUnavailable, NotMounted, Overloaded) as problem:
            refused = [f"- what was written there is not stored yet: {problem.message}"]
        notes, self._unsaid = self._unsaid, []
        if not refused and not notes:
            return outcome
        text = "\n".join([REFUSED, *notes, *refused])
        return ToolOutcome([*outcome.content, {"type": "text", "text": text}], outcome.is_error or bool(refused))

    async def _patiently(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """A store that can't be reached is waited for."""
        deadline = self._hands.clock.monotonic() + STORE_SECONDS
        while True:
            try:
                return await work()
            except Overloaded:
                if self._hands.clock.monotonic() > deadline:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)

    # -- both ways

    async def _refresh_if_mounted(self) -> None:
        """A sandbox that can't be reached is left to the call, which says so, or has it elsewhere by then."""
        try:
            await self._refresh()
        except (NotMounted, SandboxUnavailable):
            self._held = None

    async def _refresh(self) -> None:
        """Both ways: while no call runs, so that nobody's file is changed under their hands."""
        remembering, mounted = self._remembering(), self._mounted()
        refused = await self._store_changes(remembering, mounted)
        self._unsaid += self._say(refused)
        await self._put_back(remembering, mounted, [change for change, _ in refused])
        await self._pull(remembering)
        self._told.clear()

    async def _push(self) -> list[str]:
        return self._say(await self._store_changes(self._remembering(), self._mounted()))

    async def _store_changes(self, remembering: Remembering, mounted: MountedMemory) -> list[tuple[Change, str]]:
        refused: list[tuple[Change, str]] = []
        after: list[Any] | None = None
        while True:
            changes, after = await mounted.changes(MOST_CONTENT, after)
            kept: list[Step] = []
            for change in changes:
                store = self._store_of(change.mount)
                problem = await remembering.store(store, change)
                if problem is not None:
                    refused.append((change, problem))
                    continue
                stored = (await remembering.listing(store)).get(change.path)
                kept.append(Step("keep", change.mount, change.path, None if stored is None else stored.sha256))
            await self._settle(mounted, kept)
            if after is None:
                return refused

    def _store_of(self, mount: str) -> str:
        return next(one["memory_store_id"] for one in self._resources if directory(one) == mount)

    def _say(self, refused: Sequence[tuple[Change, str]]) -> list[str]:
        """Once each, as long as it is not put back."""
        said: list[str] = []
        for change, problem in refused:
            if (change.mount, change.path, problem) not in self._told:
                self._told.add((change.mount, change.path, problem))
                said.append(f"- {ROOT}/{change.mount}{change.path}: {problem}")
        return said

    async def _put_back(self, remembering: Remembering, mounted: MountedMemory, changes: Sequence[Change]) -> None:
        drops: list[Step] = []
        if changes and self._held is None:
            self._held = await mounted.held()
        for change in changes:
            there = (await remembering.listing(self._store_of(change.mount))).get(change.path)
            if there is None and change.path != "/":
                drops.append(Step("drop", change.mount, change.path))
            elif self._held is not None:
                self._held[change.mount].pop(change.path, None)  # then it is put anew
        await self._settle(mounted, drops)

    async def _pull(self, remembering: Remembering) -> bool:
        """Make the files what the stores have; whether that is so now."""
        mounted = self._mounted()
        if self._held is None:
            self._held = await mounted.held()
        for resource in self._resources:
            store, mount = resource["memory_store_id"], directory(resource)
            listing, held = await remembering.listing(store), self._held[mount]
            drops = [Step("drop", mount, path) for path in held.keys() - listing.keys()]
            if not await self._settle(mounted, drops):
                return False
            wanted = [one for path, one in listing.items() if held.get(path) != one.sha256 and fits_a_file(path)]
            async for found in self._contents(remembering, store, wanted):
                puts = [Step("put", mount, one.path, one.sha256, content.decode()) for one, content in found]
                if not await self._settle(mounted, puts):
                    return False
        return True

    async def _contents(
        self, remembering: Remembering, store: str, wanted: Sequence[MemoryRecord]
    ) -> AsyncIterator[list[tuple[MemoryRecord, bytes]]]:
        """In portions. What is gone by now is left to the next look."""
        workspace, stores = remembering.workspace, remembering.stores
        if len(wanted) <= FEW:
            found = await stores.contents(workspace, store, [one.version for one in wanted])
            yield [(one, found[one.version]) for one in wanted if one.version in found]
            return
        paths, after = {one.path for one in wanted}, ""
        while page := await stores.current(workspace, store, after=after, limit=MOST_STEPS, most_bytes=PORTION):
            yield [(one, content) for one, content in page if one.path in paths]
            after = page[-1][0].path

    async def _settle(self, mounted: MountedMemory, steps: Sequence[Step]) -> bool:
        if not steps:
            return True
        held, self._held = self._held, None  # unknown, if this breaks off
        faults.point("memory.settle.before")
        replaced = await mounted.settle(steps)
        faults.point("memory.settle.after")
        self._held = held
        if held is not None:
            _note(held, [step for step in steps if replaced or step.what == "keep"])
        return replaced or all(step.what == "keep" for step in steps)


def _note(held: Held, steps: Sequence[Step]) -> None:
    for step in steps:
        if step.sha256 is None:
            held[step.mount].pop(step.path, None)
        else:
            held[step.mount][step.path] = step.sha256
