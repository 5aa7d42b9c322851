"""From a handler to an ASGI endpoint: request id, auth, body, stored answers, and errors as envelopes.

This is one of the two places that catch everything: an unforeseen error is logged with its request id and answered 500.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from outrider import subject
from outrider.api.answers import Answered, Answers, FileReply, Keep, StreamReply, keep_nothing
from outrider.api.answers import Reply as Reply
from outrider.api.auth import MANAGED_AGENTS, require_beta
from outrider.api.keyring import KeyRing
from outrider.api.rates import Counted, Rates
from outrider.api.scopes import require, require_own
from outrider.api.services import Services
from outrider.api.skills_in_use import SkillsInUse
from outrider.api.watching import count, watched
from outrider.errors import Conflict, InvalidRequest, NotFound, OutriderError, RequestTooLarge
from outrider.ports.access import ApiKey, Role
from outrider.ports.metrics import OTHER
from outrider.wire.envelope import error_bytes

log = logging.getLogger("outrider.api")
LAST_WORD_SECONDS = 1.0
NOTHING = (b"", b"{}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A body that is not read yet. `declared`: its length, 0 when it isn't said. `once` is `Answers.once` for what the
    body turned out to be."""

    pieces: AsyncIterator[bytes]
    content_type: str
    declared: int
    once: Callable[[bytes, Callable[[Keep], Awaitable[Answered]]], Awaitable[Answered]]


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request, as handlers see it. `keep` makes the answer's record for retries: a handler that
    stores it in its own transaction says so in the reply (`kept`); else it is stored after the handler. `trace` is the
    traceparent of the request's span, empty when it is not traced. `incoming` stands for `body` on routes that read it
    themselves. Names in `headers` are in lower case."""

    services: Services
    key: ApiKey
    path: Mapping[str, str]
    query: str
    body: bytes
    keep: Keep
    trace: str = ""
    incoming: Incoming | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def workspace(self) -> str:
        return self.key.workspace

    async def in_turn(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """A change of what the path names, once more where another came in between."""
        return await self.services.turns.take((self.workspace, *self.path.values()), attempt)


Handler = Callable[[Call], Awaitable[Answered]]


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the app's table. `scopes`: whose keys may ask; `counted`: against which of a workspace's rates;
    `betas`: which values of the beta header it goes by, none for what is generally available or our own; `streamed`:
    the handler reads the body; `bodiless`: it takes none, as no DELETE does."""

    method: str
    path: str
    handler: Handler
    scopes: frozenset[Role]
    counted: Counted
    betas: frozenset[str] = MANAGED_AGENTS
    streamed: bool = False
    bodiless: bool = False


class Endpoints:
    """Wraps handlers. One for each process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._rates = Rates(services.settings.rate_limits, services.clock)
        self._skills = SkillsInUse(services.records, services.clock)
        self._answers = Answers(services.records, services.clock, shared=services.log.shared)

    def endpoint(self, route: Route) -> Callable[[Request], Awaitable[Response]]:
        """Requests are observed by the path's pattern."""

        async def respond(request: Request) -> Response:
            request_id = self._services.ids.new("req")
            subject.name(request=request_id, session=request.path_params.get("session_id", ""))
            with watched(self._services.telemetry, request, route.path, request_id) as seen:
                try:
                    seen.response = await self._answer(request, route, request_id, seen.trace)
                except OutriderError as error:
                    seen.response = error_response(error, request_id)
                except ClientDisconnect:
                    raise
                except Exception:
                    log.exception("request %s %s %s failed", request_id, request.method, request.url.path)
                    seen.response = error_response(OutriderError("Internal server error."), request_id)
            return seen.response

        return respond

    async def _admitted(self, request: Request, route: Route) -> ApiKey:
        """Whose request it is; it is counted before the records are read for it. Raises AuthenticationFailed, NotFound,
        PermissionDenied, RateLimited."""
        services = self._services
        key = await services.ring.key(request.headers)
        if route.betas and services.settings.require_beta_header:
            require_beta(request.headers, request.url.path, route.betas)
        require(key, route.scopes)
        self._rates.take(key.workspace, route.counted)
        if any("\x00" in name for name in request.path_params.values()):  # PostgreSQL can't even be asked for one
            raise NotFound(f"Not found: {request.method} {request.url.path}")
        await require_own(services.records, self._skills, key, request.path_params)
        return key

    def count_unrouted(self, request: Request, status: int) -> None:
        """A request that no route takes."""
        count(self._services.telemetry.meter, request.method, OTHER, status)

    async def _answer(self, request: Request, route: Route, request_id: str, trace: str) -> Response:
        key = await self._admitted(request, route)
        about = (self._services, key, request.path_params, request.url.query)
        if route.streamed:
            incoming = self._incoming(request, key)
            result = await route.handler(Call(*about, b"", keep_nothing, trace, incoming, request.headers))
        else:
            body = await read_body(request, self._services.settings.limits.body_bytes)
            if route.bodiless or route.method == "DELETE":
                check_says_nothing(body)

            async def answer(keep: Keep) -> Answered:
                return await route.handler(Call(*about, body, keep, trace, headers=request.headers))

            result = await self._answers.once(request, key, body, answer)
        headers = {"request-id": request_id, "anthropic-workspace-id": key.workspace}
        if isinstance(result, StreamReply):
            return _Stream(result, headers, self._services.ring, key)
        return _response(result, headers)

    def _incoming(self, request: Request, key: ApiKey) -> Incoming:
        async def once(content: bytes, answer: Callable[[Keep], Awaitable[Answered]]) -> Answered:
            return await self._answers.once(request, key, content, answer)

        declared = int(request.headers.get("content-length", 0))
        return Incoming(request.stream(), request.headers.get("content-type", ""), declared, once)


def _response(result: Reply | FileReply, headers: dict[str, str]) -> Response:
    if isinstance(result, FileReply):
        return _file(result, headers)
    return Response(result.bytes(), result.status, headers, "application/json")


def _file(reply: FileReply, headers: dict[str, str]) -> Response:
    """Never shown by a browser as a page of ours, whatever it holds."""
    about = {
        "content-length": str(reply.size),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(reply.filename, safe='')}",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(reply.pieces, headers=headers | about, media_type=reply.media_type)


class _Stream(StreamingResponse):
    """An SSE response that always lets go of its subscription, and ends when its key is revoked."""

    def __init__(self, reply: StreamReply, headers: dict[str, str], ring: KeyRing, key: ApiKey) -> None:
        extra = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(reply.frames, headers=headers | extra, media_type="text/event-stream")
        self._close = reply.close
        self._ring = ring
        self._key = key

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        until = asyncio.timeout(None)
        try:
            async with until:
                with self._ring.stream(self._key, lambda: until.reschedule(loop.time())):
                    await super().__call__(scope, receive, send)
        except TimeoutError:
            if not until.expired():
                raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORD_SECONDS):  # a reader that does not read gets no more
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._close()


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises RequestTooLarge as soon as it is known to be over the limit."""
    declared = request.headers.get("content-length")
    if declared is not None and int(declared) > limit:
        raise too_large(limit)
    if request.method == "GET":
        return b""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def check_says_nothing(body: bytes) -> None:
    """Whatever else it held would be ignored. Raises InvalidRequest."""
    if b"".join(body.split()) not in NOTHING:
        raise InvalidRequest("This request takes no body: send none, or an empty object.")


def too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request body is over the limit of {limit // (1024 * 1024)} MB.")


def error_response(error: OutriderError, request_id: str) -> Response:
    """The error's envelope; a deterministic conflict tells the SDK not to retry it."""
    headers = {"request-id": request_id}
    if isinstance(error, Conflict | InvalidRequest):
        headers["x-should-retry"] = "false"
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    return Response(error_bytes(error, request_id), error.status, headers, "application/json")
