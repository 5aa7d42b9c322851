"""What the store needs from time to time: strays and expired files erased, resting logs moved to the blob store, old
sessions deleted.

Every process with a store may do it; what two do at once is done once. Ages of sessions are policy: they are read off
the wall clock, and nothing but the moment depends on them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from outrider.clock import Clock, rfc3339
from outrider.config import Retention
from outrider.errors import OutriderError
from outrider.ports.blobs import Blobs
from outrider.ports.files import all_of
from outrider.ports.log import SessionKey
from outrider.store.cold import Freezer
from outrider.store.strays import Owners, sweep

SWEEP_SECONDS = 3600.0
EXPIRED_DAYS = 30  # for which a file's record outlives its bytes
UPLOAD_DAYS = 1  # the longest that bytes may be on their way
BATCH = 100

log = logging.getLogger("outrider.store")


class Upkeep:
    """`delete` deletes a session as a client would, unless it was changed at or after the time given; it says so."""

    def __init__(
        self,
        store: Owners,
        blobs: Blobs,
        freezer: Freezer,
        retention: Retention,
        clock: Clock,
        delete: Callable[[SessionKey, str], Awaitable[bool]],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._freezer = freezer
        self._retention = retention
        self._clock = clock
        self._delete = delete
        self._due: dict[str, float] = {}

    def parts(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """By what they clear up. Each does its work once an hour, and at its first call; what failed is done again at
        the next. Raises what the blob store or the log raises."""
        return {name: partial(self._when_due, name, part) for name, part in self._parts().items()}

    async def all(self) -> None:
        """At once, whatever is due."""
        for part in self._parts().values():
            await part()

    def _parts(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "expired files": self._expire_files,
            "blobs": self._erase_strays,
            "old sessions": self._delete_old,
            "resting logs": self._freeze_resting,
        }

    async def _when_due(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        now = self._clock.monotonic()
        if now >= self._due.get(name, now):
            await part()
            self._due[name] = now + SWEEP_SECONDS

    async def _erase_strays(self) -> None:
        if erased := await sweep(self._store, self._blobs):
            log.info("%d blobs that nothing referred to were erased", erased)

    async def _delete_old(self) -> None:
        if (days := self._retention.delete_after_days) is not None:
            before = self._days_ago(days)
            await self._each(before, lambda key: self._delete(key, before), "deleted", cold_too=True)

    async def _freeze_resting(self) -> None:
        if (days := self._retention.cold_after_days) is not None:
            await self._each(self._days_ago(days), self._freezer.freeze, "moved to the blob store")

    async def _expire_files(self) -> None:
        """Their bytes become strays. Uploads that ended without a word leave drafts, which no list shows."""
        await self._store.expire_files(self._clock.now(), forget=self._days_ago(EXPIRED_DAYS))
        for announced in await self._store.abandon_files(self._days_ago(UPLOAD_DAYS)):
            await self._blobs.delete_all(all_of(announced.workspace, announced.id))
            await self._store.forget_announced(announced)

    def _days_ago(self, days: float) -> str:
        return rfc3339(datetime.fromisoformat(self._clock.now()).astimezone(UTC) - timedelta(days=days))

    async def _each(
        self, before: str, act: Callable[[SessionKey], Awaitable[bool]], done: str, *, cold_too: bool = False
    ) -> None:
        """The longest unchanged first, until all have had their turn. Each time one more batch than was seen is asked
        for, since those that could not be dealt with stay in the list."""
        seen: set[SessionKey] = set()
        left = 0
        while True:
            found = await self._store.resting(before, BATCH + left, cold_too=cold_too)
            if not (new := [key for key in found if key not in seen]):
                return
            for key in new:
                seen.add(key)
                left += not await self._one(key, act, done)

    async def _one(self, key: SessionKey, act: Callable[[SessionKey], Awaitable[bool]], done: str) -> bool:
        try:
            acted = await act(key)
        except OutriderError as error:
            log.warning("session %s is not %s: %s", key.session, done, error.message)
            return False
        if acted:
            log.info("session %s: unused for long, %s", key.session, done)
        return acted
