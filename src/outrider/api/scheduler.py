"""Fires deployments when their time has come, and goes on with runs that nobody brings to an end.

Every process with an API does so. A time is claimed in the store, so it fires once; a run whose process died, or found
something not answering, is taken up by whoever sees that it stays. What is due by longer than `LATE` was missed: it has
no run. Clocks decide when something happens, and nothing else.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from outrider import faults
from outrider.api.pursuit import Pursuit, now_and_then
from outrider.api.runs import attempt, new_run
from outrider.api.services import Services
from outrider.ports.deployments import DeploymentRecord, RunRecord
from outrider.resources import schedules
from outrider.resources.deployments import fields_of

TICK_SECONDS = 1.0
LATE = timedelta(minutes=5)
PATIENCE_SECONDS = 2.0  # with a run that somebody else, or this process before, may be about to end
GIVE_UP = timedelta(minutes=10)
BATCH = 100
log = logging.getLogger("outrider.scheduler")


class Scheduler:
    """One for a process. `tick` is what `run` does each second."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._runs = Pursuit[RunRecord]("run", self._attempt)
        self._runs.failed = lambda run: self._seen.pop(run.id, None)
        self._seen: dict[str, float] = {}

    async def run(self) -> None:
        try:
            await now_and_then(TICK_SECONDS, self.tick, "schedules")
        finally:
            await self._runs.stop()

    async def tick(self) -> None:
        """Fire what is due, and have pending runs ended. Raises OutriderError when the store does not answer."""
        services = self._services
        for record in await services.deployments.deployments_due(services.clock.now(), limit=BATCH):
            await self._fire(record)
        pending = await services.deployments.pending_runs(limit=BATCH)
        now = services.clock.monotonic()
        self._seen = {run.id: self._seen.get(run.id, now) for run in pending}
        for run in pending:
            if now - self._seen[run.id] >= PATIENCE_SECONDS:
                self._runs.begin(run)

    async def settled(self) -> None:
        """Until what this process has begun is over."""
        await self._runs.settled()

    async def _fire(self, record: DeploymentRecord) -> None:
        services, schedule = self._services, fields_of(record)["schedule"]
        now, due = services.clock.now(), record.next_at
        assert due is not None
        moment = schedules.latest_due(schedule, due, now, late=LATE)
        following = schedules.following(schedule, now)
        if moment is None:
            log.warning("deployment %s: %s was missed", record.id, due)
            await services.deployments.skip(record, next_at=following)
            return
        run = new_run(services, record, "schedule", scheduled_at=moment)
        faults.point("run.fire.before")
        fired = await services.deployments.fire(run, due=due, next_at=following)
        faults.point("run.fire.after")
        if fired:
            self._runs.begin(run)

    async def _attempt(self, run: RunRecord) -> None:
        age = datetime.fromisoformat(self._services.clock.now()) - datetime.fromisoformat(run.created_at)
        await attempt(self._services, run, give_up=age > GIVE_UP)
