"""Asks for a worker where a session's built-in tools are run by one: as a turn begins, so that it has time to come, and
again before the session waits for results, so that it never waits for nobody.

Between the two the log says that the session needs somebody, and whoever ends its work item then queues another one. So
a death at any point leaves either an item or a session that is still driven, by an owner who comes by here again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from outrider import faults
from outrider.clock import Clock
from outrider.errors import OutriderError
from outrider.harness.hands import Hands
from outrider.harness.journal import Journal
from outrider.ids import IdSource
from outrider.ports.log import SessionKey
from outrider.ports.work import WorkQueues

log = logging.getLogger("outrider.harness")


class WorkEnlisting:
    """Implements `Enlists`; `ring` is told of the environment in which an item was queued."""

    def __init__(
        self, work: WorkQueues, ids: IdSource, clock: Clock, *, ttl: float, ring: Callable[[str], None]
    ) -> None:
        self._work = work
        self._ids = ids
        self._clock = clock
        self._ttl = max(1, round(ttl))
        self._ring = ring

    async def enlist(self, key: SessionKey, environment: str) -> None:
        id, now = self._ids.new("work"), self._clock.now()
        faults.point("work.enlist.before")
        queued = await self._work.enlist_work(key, environment, id=id, at=now, ttl=self._ttl)
        faults.point("work.enlist.after")
        if queued:
            self._ring(environment)


class Enlistment:
    """Of one session, for one driver."""

    def __init__(self, hands: Hands, journal: Journal) -> None:
        self._hands = hands
        self._journal = journal
        self._begun = False

    async def begin(self) -> None:
        """Once a turn. If it fails, there is still time."""
        if not self._journal.state.self_hosted or self._begun:
            return
        try:
            await self._enlist()
            self._begun = True
        except OutriderError as problem:
            log.warning("session %s: no worker is asked for yet: %s", self._journal.lease.key.session, problem.message)

    async def settle(self, stop_reason: Mapping[str, Any]) -> None:
        """Before the turn ends, or the session waits: raises what keeps it from being queued."""
        self._begun = False
        if self._journal.state.self_hosted and stop_reason["type"] == "requires_action":
            await self._enlist()

    async def _enlist(self) -> None:
        await self._hands.work.enlist(self._journal.lease.key, self._journal.context.environment["id"])
