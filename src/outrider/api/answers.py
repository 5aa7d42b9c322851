"""Answers kept for retries: a repeated POST gets what the first one got, instead of doing it twice.

With `Idempotency-Key`, for 24 hours. Without, when the SDK says by its retry count that it asks again, for 10 minutes
and the same key, path and body. A first attempt is never taken for a repeat.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from starlette.requests import Request

from outrider.clock import Clock, rfc3339
from outrider.errors import InvalidRequest
from outrider.ports.records import ApiKey, Records, StoredAnswer

KEYED = timedelta(hours=24)
RETRIED = timedelta(minutes=10)
LARGEST = 1024 * 1024  # bytes of an answer worth keeping
DIGEST_BYTES = 32

T = TypeVar("T")


class Answers:
    """Stored answers of one process's requests; a retry that overtakes its first attempt waits for it."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._under_way: dict[str, asyncio.Future[None]] = {}

    async def once(
        self, request: Request, key: ApiKey, body: bytes, answer: Callable[[], Awaitable[StoredAnswer | T]]
    ) -> StoredAnswer | T:
        """The stored answer to this request, or `answer()`'s, stored before it is given."""
        content = hashlib.sha256(body).digest()
        keyed = request.headers.get("idempotency-key")
        name = _name(key.id, request.url.path, keyed.encode() if keyed else content, keyed=bool(keyed))
        if keyed or request.headers.get("x-stainless-retry-count", "0") != "0":
            await self._first_attempt(name)
            stored = await self._stored(key.workspace, name, KEYED if keyed else RETRIED)
            if stored is not None:
                return _checked(stored, content)
        return await self._run(key.workspace, name, content, answer)

    async def _first_attempt(self, name: str) -> None:
        earlier = self._under_way.get(name)
        if earlier is not None:
            await asyncio.wait([earlier])

    async def _stored(self, workspace: str, name: str, age: timedelta) -> StoredAnswer | None:
        return await self._records.answer(workspace, name, not_before=rfc3339(datetime.now(UTC) - age))

    async def _run(
        self, workspace: str, name: str, content: bytes, answer: Callable[[], Awaitable[StoredAnswer | T]]
    ) -> StoredAnswer | T:
        done = self._under_way[name] = asyncio.get_running_loop().create_future()
        try:
            result = await answer()
            if isinstance(result, StoredAnswer) and len(result.body) <= LARGEST:
                kept = StoredAnswer(result.status, content + result.body)
                await self._records.put_answer(workspace, name, self._clock.now(), kept)
            return result
        finally:
            if self._under_way.get(name) is done:
                del self._under_way[name]
            done.set_result(None)


def _name(key_id: str, path: str, what: bytes, *, keyed: bool) -> str:
    parts = [key_id.encode(), path.encode(), b"key" if keyed else b"body", what]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _checked(stored: StoredAnswer, content: bytes) -> StoredAnswer:
    if stored.body[:DIGEST_BYTES] != content:
        raise InvalidRequest("Idempotency-Key: this key was used with another body.")
    return StoredAnswer(stored.status, stored.body[DIGEST_BYTES:])
