"""The keys that this process knows to be good, so that a request costs a hash and a look into a dictionary.

Promised: a key is refused at the latest `SURE_SECONDS` after the commit that revoked it, and its streams end soon
after, whichever process wrote it. The store keeps a count of such changes; it is read again and again while keys are in
use, and no remembered key is trusted unless the count was read, unchanged, within that time. No clocks are compared.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Generator
from contextlib import contextmanager

from starlette.datastructures import Headers

from outrider.api.auth import presented
from outrider.clock import Clock
from outrider.errors import AuthenticationFailed, OutriderError, PermissionDenied
from outrider.ports.access import Access, ApiKey
from outrider.resources.keys import digest

SURE_SECONDS = 1.0
LOOK_SECONDS = 0.4
IDLE_SECONDS = 60.0  # without a request, and without a stream, after which nobody looks
MOST = 4096


class KeyRing:
    """One for each process; `watching` must run beside it."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self.access = access
        self._clock = clock
        self._known: dict[str, ApiKey] = {}
        self._revision = -1
        self._sure_at = self._used_at = float("-inf")
        self._streams: dict[str, set[Callable[[], None]]] = {}
        self._streams_checked = True

    async def key(self, headers: Headers) -> ApiKey:
        """The caller's key. Raises AuthenticationFailed, and PermissionDenied for another workspace's header."""
        name = digest(presented(headers))
        self._used_at = self._clock.monotonic()
        if self._used_at - self._sure_at > SURE_SECONDS:
            await self._look()
        key = self._known.get(name) or await self._find(name)
        workspace = headers.get("anthropic-workspace-id")
        if workspace is not None and workspace != key.workspace:
            raise PermissionDenied(f"This key does not belong to workspace {workspace}.")
        return key

    async def everywhere(self, *, shared: bool) -> None:
        """After a key was revoked: returns when no process takes it any more."""
        await self._look()
        await self._end_streams()
        if shared:
            await asyncio.sleep(SURE_SECONDS)

    @contextmanager
    def stream(self, key: ApiKey, end: Callable[[], None]) -> Generator[None]:
        """While a stream is open: `end` is called once its key is no longer good."""
        ends = self._streams.setdefault(key.digest, set())
        ends.add(end)
        try:
            yield
        finally:
            ends.discard(end)
            if not ends and self._streams.get(key.digest) is ends:
                del self._streams[key.digest]

    async def watching(self) -> None:
        """Look again and again. An outage of the store ends nothing: keys are not trusted until it is back."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._streams or self._clock.monotonic() - self._used_at < IDLE_SECONDS:
                try:
                    await self._look()
                    await self._end_streams()
                except OutriderError:
                    continue

    async def _look(self) -> None:
        at = self._clock.monotonic()
        revision = await self.access.access_revision()
        if revision > self._revision:
            self._revision = revision
            self._known.clear()
            self._streams_checked = False
        self._sure_at = max(self._sure_at, at)

    async def _find(self, name: str) -> ApiKey:
        """Only what was read while the count stood still is remembered: else it may be older than the change."""
        revision = self._revision
        key = await self.access.key_by_digest(name)
        if key is None or key.revoked_at is not None or not hmac.compare_digest(key.digest, name):
            raise AuthenticationFailed("invalid API key")
        if revision == self._revision:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[name] = key
        return key

    async def _end_streams(self) -> None:
        if self._streams_checked:
            return
        revision = self._revision
        for name in list(self._streams):
            try:
                await self._find(name)
            except AuthenticationFailed:
                for end in list(self._streams.get(name, ())):
                    end()
        self._streams_checked = revision == self._revision
