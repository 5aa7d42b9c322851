"""Erases what sessions still have in their sandboxes of memory stores that were deleted."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from outrider.clock import Clock, rfc3339
from outrider.errors import SandboxUnavailable
from outrider.ports.log import SessionKey
from outrider.ports.memory import Attachment
from outrider.ports.mounted import erase
from outrider.ports.sandbox import Sandboxes
from outrider.resources.memory_mounts import attached, directory
from outrider.store.opening import Store

UNMADE = timedelta(hours=1)  # after which a session that had been given a store will not be made any more
LOOKED_FOR = timedelta(days=7)  # no server is down for longer than that; what stays then is a row
AT_ONCE = 1_000
log = logging.getLogger("outrider.server")


class MemorySweep:
    """What is on a host that is away is left to a later run, or to whoever reaches that host."""

    def __init__(self, store: Store, sandboxes: Sandboxes, clock: Clock) -> None:
        self._store = store
        self._sandboxes = sandboxes
        self._clock = clock

    async def run(self) -> None:
        now = datetime.fromisoformat(self._clock.now()).astimezone(UTC)
        await self._store.forget_attachments(rfc3339(now - LOOKED_FOR), rfc3339(now - UNMADE))
        for one in await self._store.orphans(AT_ONCE):
            try:
                await self._erase(one)
            except SandboxUnavailable as problem:
                log.info("session %s: its copy of memory store %s stays: %s", one.session, one.store, problem.message)

    async def _erase(self, one: Attachment) -> None:
        record = await self._store.session(SessionKey(one.workspace, one.session))
        if record is None:
            return
        for resource in attached(record):
            if resource["memory_store_id"] == one.store:
                await erase(self._sandboxes, one.session, directory(resource))
        await self._store.note_erased(one, self._clock.now())
