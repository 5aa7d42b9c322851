"""A session's repositories in the loop: read by the vault before the first model request, and put into the workspace
with the first tool calls. What fails is an error event; the session goes on without it, and tries again next turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from typing import Any, Protocol

from outrider import faults
from outrider.errors import CallLost, SandboxUnavailable
from outrider.harness.journal import Journal
from outrider.ports.egress import EgressRepository
from outrider.ports.repositories import CLONE, Reading, ReadRequest, Repositories, error_of, message_of
from outrider.ports.sandbox import Sandboxes, ToolCall, ToolOutcome
from outrider.session import checkouts, events
from outrider.session.state import Repository

MOST_TRIES = 3
STOP_SECONDS = 10.0

log = logging.getLogger("outrider.harness")


class Hands(Protocol):
    """What of a harness's hands is needed here."""

    @property
    def repositories(self) -> Repositories: ...
    @property
    def sandboxes(self) -> Sandboxes: ...


class Execute(Protocol):
    """`Sandboxes.execute` for this session and owner."""

    async def __call__(self, call: ToolCall, *, resume: bool) -> ToolOutcome: ...


class Mounting:
    """One drive's. `news` is set when something has come to an end."""

    def __init__(
        self,
        hands: Hands,
        journal: Journal,
        news: asyncio.Event,
        spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
        execute: Execute,
    ) -> None:
        self._hands = hands
        self._journal = journal
        self._news = news
        self._spawn = spawn
        self._execute_call = execute
        self._reading: asyncio.Task[None] | None = None
        self._readings: dict[str, Reading] = {}
        self._checkout: asyncio.Task[None] | None = None
        self._outcome: ToolOutcome | str | None = None
        self._intended: set[str] = set()

    def under_way(self) -> list[asyncio.Task[None]]:
        return [task for task in (self._reading, self._checkout) if task is not None]

    # -- reading

    async def read(self, unread: list[str]) -> None:
        if self._reading is None:
            await self._journal.flush()  # a client should see that the turn has begun
            self._reading = self._spawn(self._read(unread))
        if not self._reading.done():
            await self._news.wait()
            return
        self._reading = None
        readings, self._readings = self._readings, {}
        for resource, reading in readings.items():
            self._stage_reading(resource, reading)
        await self._journal.flush()

    async def _read(self, unread: list[str]) -> None:
        lease, repositories = self._journal.lease, self._hands.repositories
        known = {one.resource: one for one in await repositories.of(lease.key.workspace, lease.key.session)}
        faults.point("harness.repository.before")
        asked = [one for one in unread if one in known]
        found = await asyncio.gather(*(self._read_one(known[resource]) for resource in asked))
        faults.point("harness.repository.after")
        gone = Reading(error=CLONE, message="This server has no way to repositories.")
        self._readings = dict.fromkeys(unread, gone) | dict(zip(asked, found, strict=True))
        self._news.set()

    async def _read_one(self, repository: EgressRepository) -> Reading:
        lease = self._journal.lease
        checkout = self._mount(repository.resource)["checkout"]
        request = ReadRequest(lease.key.session, lease.epoch, lease.key.workspace, repository, checkout)
        return await self._hands.repositories.read(request)

    def _stage_reading(self, resource: str, reading: Reading) -> None:
        facts = {"resource": resource, "error": reading.error, "skills": [asdict(one) for one in reading.skills]}
        self._journal.stage(self._journal.factory.internal(events.REPOSITORY, facts))
        if reading.error is not None:
            self._stage_error(resource, reading.error, reading.message)

    def _stage_error(self, resource: str, kind: str, message: str) -> None:
        url = self._mount(resource)["url"]
        self._journal.stage(self._journal.factory.error(kind, message, "retrying", repository_url=url))

    def _mount(self, resource: str) -> dict[str, Any]:
        return next(one for one in self._journal.context.mounts if one["id"] == resource)

    # -- checking out

    async def check_out(
        self,
        resource: str,
        can_run: Callable[[], Awaitable[bool]],
        tell_egress: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        repository = self._journal.state.repository(resource)
        assert repository is not None
        if self._checkout is None:
            if not await can_run():
                return
            await self._begin(repository, tell_egress)
        if self._outcome is None:
            await self._news.wait()
            return
        self._checkout, outcome, self._outcome = None, self._outcome, None
        self._stage_outcome(repository, outcome)
        await self._journal.flush()

    async def _begin(self, repository: Repository, tell_egress: Callable[[], Coroutine[None, None, None]]) -> None:
        if repository.checkout != "begun":
            self._stage_begin(repository)
        await self._journal.flush()
        await tell_egress()
        call = self._journal.state.repository(repository.id)
        assert call is not None
        self._checkout = self._spawn(self._execute(repository.id, call.call, resume=call.call not in self._intended))

    def _stage_begin(self, repository: Repository) -> None:
        call = self._journal.factory.id()
        self._intended.add(call)
        facts = {"resource": repository.id, "call_id": call}
        self._journal.stage(self._journal.factory.internal(events.CHECKOUT, facts))

    async def _execute(self, resource: str, call_id: str, *, resume: bool) -> None:
        """Its outcome: what the command said, or why there is no sandbox."""
        given = {"command": checkouts.command(self._mount(resource)), "timeout_ms": checkouts.TIMEOUT_MS}
        call = ToolCall(call_id, self._journal.state.thread, "bash", given, folders=self._journal.context.shared)
        faults.point("harness.checkout.before")
        outcome: ToolOutcome | str
        try:
            outcome = await self._execute_call(call, resume=resume)
        except CallLost:
            outcome = ToolOutcome([])
        except SandboxUnavailable as problem:
            outcome = problem.message
        faults.point("harness.checkout.after")
        self._outcome = outcome
        self._news.set()

    def _stage_outcome(self, repository: Repository, outcome: ToolOutcome | str) -> None:
        url = self._mount(repository.id)["url"]
        if isinstance(outcome, str):
            return self._stage_end(repository, CLONE, f"{url}: {outcome}")
        text = "".join(str(block.get("text", "")) for block in outcome.content)
        said = checkouts.verdict(text)
        if said is None and repository.tries < MOST_TRIES:
            return self._stage_begin(repository)
        if said == "":
            return self._stage_end(repository, None, "")
        kind = error_of(text)
        self._stage_end(repository, kind, message_of(kind, url, text))
        return None

    def _stage_end(self, repository: Repository, error: str | None, message: str) -> None:
        facts = {"resource": repository.id, "error": error}
        self._journal.stage(self._journal.factory.internal(events.CHECKED_OUT, facts))
        if error is not None:
            self._stage_error(repository.id, error, message)

    async def stop(self) -> None:
        """An interrupt: what runs is ended, and begun anew when it is needed next."""
        lease = self._journal.lease
        for repository in self._journal.state.repositories:
            if repository.checkout == "begun" and self._checkout is not None:
                try:
                    await self._hands.sandboxes.interrupt(lease.key.session, repository.call, epoch=lease.epoch)
                except (CallLost, SandboxUnavailable):
                    log.info("session %s: its checkout can't be reached to be ended", lease.key.session)
        tasks = self.under_way()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        self._reading = self._checkout = self._outcome = None
        self._readings = {}
