"""Answers kept for retries: a repeated POST gets what the first one got, instead of doing it twice.

With `Idempotency-Key`, for 24 hours. Without, when the SDK says by its retry count that it asks again, for 10 minutes
and the same key, path and body. A first attempt is never taken for a repeat; but one that was held up while its retry
was taken (at another server, say) is not taken once more. Of a body only a digest is kept, keyed with the caller's own
key, which is stored nowhere: what was in the body can't be guessed from it. An answer goes with what it is about:
whatever the path names, and what the answer itself is.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from starlette.requests import Request

from outrider.api.auth import presented
from outrider.clock import Clock, rfc3339
from outrider.errors import AlreadyAnswered, InvalidRequest, OutriderError
from outrider.ports.access import ApiKey
from outrider.ports.log import KeptAnswer, StoredAnswer
from outrider.ports.records import Records

KEYED = timedelta(hours=24)
RETRIED = timedelta(minutes=10)
LARGEST = 1024 * 1024  # bytes of an answer worth keeping
DIGEST_BYTES = 32
SESSION_PATH = re.compile(r"/v1/sessions/(sesn_[0-9A-Za-z]+)(?:/|$)", re.ASCII)

Keep = Callable[[bytes], KeptAnswer | None]

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Reply:
    """A JSON answer: an object to encode, or bytes that are encoded already. `kept`: stored for retries already, or
    holds a secret and must not be."""

    value: Any = None
    encoded: bytes | None = None
    status: int = 200
    kept: bool = False

    def bytes(self) -> bytes:
        return self.encoded if self.encoded is not None else _encode(self.value)


@dataclass(frozen=True, slots=True)
class StreamReply:
    """A server-sent event stream; `close` runs when it ends, however it ends."""

    frames: AsyncIterator[bytes]
    close: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True, slots=True)
class FileReply:
    """A file's bytes in pieces, of which there are `size`. `filename` may hold any character that names may."""

    pieces: AsyncIterator[bytes]
    size: int
    media_type: str
    filename: str


Answered = Reply | StreamReply | FileReply


def keep_nothing(_body: bytes) -> None:
    """For requests that change nothing."""


class Answers:
    """Stored answers of one process's requests; a retry that overtakes its first attempt waits for it. `shared`: other
    processes may take requests for the same store."""

    def __init__(self, records: Records, clock: Clock, *, shared: bool) -> None:
        self._records = records
        self._shared = shared
        self._clock = clock
        self._under_way: dict[str, asyncio.Future[None]] = {}

    async def once(
        self, request: Request, key: ApiKey, body: bytes, answer: Callable[[Keep], Awaitable[Answered]]
    ) -> Answered:
        """The stored answer to this request, or `answer()`'s, stored before it is given."""
        if request.method != "POST":
            return await answer(keep_nothing)
        content = hmac.digest(presented(request.headers).encode(), body, hashlib.sha256)
        keyed = request.headers.get("idempotency-key")
        name = session_of(request.url.path) + _name(
            key.id, request.url.path, keyed.encode() if keyed else content, keyed=bool(keyed)
        )
        place = _Place(key.workspace, name, content, tuple(request.path_params.values()))
        if keyed or request.headers.get("x-stainless-retry-count", "0") != "0":
            await self._first_attempt(name)
            since = rfc3339(datetime.now(UTC) - (KEYED if keyed else RETRIED))
            stored = await self._records.answer(key.workspace, name, not_before=since)
            if stored is not None:
                return _checked(stored, content)
            place = replace(place, since=since)
        elif self._shared:
            stored = await self._records.answer(key.workspace, name, not_before="")
            place = replace(place, retries=stored.retries if stored is not None else 0)
        return await self._run(place, answer)

    async def _first_attempt(self, name: str) -> None:
        while (earlier := self._under_way.get(name)) is not None:
            await asyncio.wait([earlier])

    async def _run(self, place: _Place, answer: Callable[[Keep], Awaitable[Answered]]) -> Answered:
        def keep(body: bytes) -> KeptAnswer | None:
            return None if len(body) > LARGEST else place.kept(self._clock.now(), body)

        done = self._under_way[place.name] = asyncio.get_running_loop().create_future()
        try:
            result = await answer(keep)
            if isinstance(result, Reply) and not result.kept and (kept := keep(result.bytes())) is not None:
                await self._records.put_answer(place.workspace, kept)
            return result
        except OutriderError as error:
            stored = await self._meanwhile(place, error)
            if stored is None:
                raise
            return _checked(stored, place.content)
        finally:
            if self._under_way.get(place.name) is done:
                del self._under_way[place.name]
            done.set_result(None)

    async def _meanwhile(self, place: _Place, error: OutriderError) -> StoredAnswer | None:
        """What another attempt was answered while this one was on its way. It may also have been refused for what the
        other one changed (an answer to a call that is answered now, say): a repeat is told what the other was told."""
        if place.since is None and not isinstance(error, AlreadyAnswered):
            return None
        return await self._records.answer(place.workspace, place.name, not_before=place.since or "")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a request's answer is kept, and what may not stand there by then: an answer of `since` or later if it may
    be a repeat; for a first attempt, one to a retry beyond `retries`. `named`: the ids in the path."""

    workspace: str
    name: str
    content: bytes
    named: tuple[str, ...] = ()
    since: str | None = None
    retries: int | None = None

    def kept(self, at: str, body: bytes) -> KeptAnswer:
        answer = StoredAnswer(200, self.content + body)
        retry, conditions = self.since is not None, (self.since, self.retries)
        return KeptAnswer(self.name, at, answer, retry, *conditions, about=self._about(body))

    def _about(self, body: bytes) -> tuple[str, ...]:
        """Wholes before their parts. Answers to a session's own requests are found by their names, too."""
        if "/" in self.name:
            return self.named[:1]
        made = _decode(body) if body else _Made()
        return tuple(dict.fromkeys(one for one in (*self.named, made.id, made.memory_version_id) if one))


class _Made(msgspec.Struct):
    """What an answer is, and the version of a memory whose text it may hold."""

    id: str = ""
    memory_version_id: str = ""


_decode = msgspec.json.Decoder(_Made).decode


def session_of(path: str) -> str:
    """What the names of answers to a session's requests begin with, so that they can be erased together with it."""
    found = SESSION_PATH.match(path)
    return f"{found[1]}/" if found is not None else ""


def _name(key_id: str, path: str, what: bytes, *, keyed: bool) -> str:
    parts = [key_id.encode(), path.encode(), b"key" if keyed else b"body", what]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _checked(stored: StoredAnswer, content: bytes) -> Reply:
    if stored.body[:DIGEST_BYTES] != content:
        raise InvalidRequest("Idempotency-Key: this key was used with another body.")
    return Reply(encoded=stored.body[DIGEST_BYTES:], status=stored.status)
