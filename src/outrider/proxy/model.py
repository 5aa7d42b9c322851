"""The model proxy: gives a request its key and passes bytes both ways as they come. One attempt, no redirects.

Promised: the key goes to the endpoint's own base URL only, and does not come back in a response's plain bytes. Not
promised: that an endpoint which is hostile can't send back the key that it was given in some other form.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

import httpx2
from starlette.types import Receive, Scope, Send

from outrider.errors import InvalidRequest, NotFound, UpstreamUnreachable
from outrider.proxy.mask import Mask
from outrider.proxy.ways import Answer, Asked, way_to

PATHS = frozenset({"v1/messages", "v1/messages/count_tokens", "v1/models"})
SHORTEST_SECRET = 8  # characters
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade".split()
)
NOT_FORWARDED = HOP_BY_HOP | {b"host", b"authorization", b"x-api-key", b"cookie", b"accept-encoding", b"expect"}
NOT_RETURNED = HOP_BY_HOP | {b"set-cookie"}
OWN_PREFIX = b"x-outrider-"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A Messages endpoint. `key` is shown by no repr."""

    name: str
    base_url: str
    auth: Literal["x-api-key", "bearer", "none"]
    key: str = field(repr=False, default="")

    def masked(self) -> bytes:
        """What must not come back. A few letters (`none`, `ollama`: local servers want something) are no secret, and
        masking them would change ordinary words."""
        return self.key.encode() if len(self.key) >= SHORTEST_SECRET else b""

    def credentials(self) -> list[tuple[bytes, bytes]]:
        if not self.key or self.auth == "none":
            return []
        key = self.key.encode()
        return [(b"authorization", b"Bearer " + key)] if self.auth == "bearer" else [(b"x-api-key", key)]


log = logging.getLogger("outrider.proxy")


class ModelProxy:
    """One endpoint's proxy, with its own connections."""

    def __init__(self, upstream: Upstream, context: ssl.SSLContext, idle_seconds: float) -> None:
        self._upstream = upstream
        self._url = httpx2.URL(upstream.base_url.rstrip("/") + "/")
        self._added = [(b"accept-encoding", b"identity"), *upstream.credentials()]
        self._way = way_to(self._url, context, idle_seconds)

    async def close(self) -> None:
        await self._way.close()

    async def forward(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an ASGI request with the endpoint's answer to it; ends with the client's connection.

        Raises NotFound, InvalidRequest, UpstreamUnreachable before the answer has begun. When the endpoint breaks off
        later the answer stays unfinished, which the server below shows as a broken connection.
        """
        if path not in PATHS:
            raise NotFound(f"The model proxy has no path {path}.")
        body = _Body(receive, _length(scope))
        asked = await self._asked(path, scope, body)
        if asked is None:
            return
        answering = asyncio.current_task()
        assert answering is not None
        leaving = asyncio.create_task(body.client_leaves(answering))
        try:
            await self._exchange(asked, send)
        except asyncio.CancelledError:
            if not body.client_left or answering.uncancel():  # else somebody else wants the end
                raise
        finally:
            leaving.cancel()

    async def _asked(self, path: str, scope: Scope, body: _Body) -> Asked | None:
        """What the endpoint is asked; None when the client has left already."""
        headers = [pair for pair in scope["headers"] if _forwarded(pair[0])]
        headers += self._added
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        target = self._url.raw_path + path.encode() + query
        try:
            first = await body.first()
        except _ClientLeft:
            return None
        return Asked(scope["method"], target, headers, first, None if body.complete else body.rest())

    async def _exchange(self, asked: Asked, send: Send) -> None:
        try:
            answer = await self._way.ask(asked)
        except httpx2.RequestError as error:
            raise self._unreachable("can't be reached", error) from None
        except _ClientLeft:
            return
        try:
            self._check(answer)
            await self._relay(answer, send)
        finally:
            await answer.close()

    def _check(self, answer: Answer) -> None:
        if 300 <= answer.status < 400:
            raise self._unreachable("answered with a redirect, which is not followed")
        if any(name == b"content-encoding" and value != b"identity" for name, value in answer.headers):
            raise self._unreachable("answered in an encoding that was not asked for")

    async def _relay(self, answer: Answer, send: Send) -> None:
        mask = Mask(self._upstream.masked())
        headers = [(n, mask.whole(v)) for n, v in answer.headers if n not in NOT_RETURNED and not _own(n)]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        try:
            async for chunk in answer.chunks():
                ready = mask.feed(chunk)
                if ready:
                    await send({"type": "http.response.body", "body": ready, "more_body": True})
        except httpx2.RequestError as error:
            log.warning("%s", self._unreachable("broke off in its answer", error).message)
            return  # unfinished: see `forward`
        await send({"type": "http.response.body", "body": mask.rest(), "more_body": False})

    def _unreachable(self, what: str, error: Exception | None = None) -> UpstreamUnreachable:
        cause = f" ({type(error).__name__})" if error is not None else ""
        return UpstreamUnreachable(f"Model endpoint {self._upstream.name} at {self._url.host} {what}{cause}.")


class _ClientLeft(Exception):
    """The harness closed its connection in the middle of its request."""


class _Body:
    """A request's body as it comes in, and the end of its client. Raises _ClientLeft."""

    def __init__(self, receive: Receive, length: int) -> None:
        self._receive = receive
        self.client_left = False
        self._uploaded = asyncio.Event()
        if not length:
            self._uploaded.set()

    @property
    def complete(self) -> bool:
        return self._uploaded.is_set()

    async def first(self) -> bytes:
        """As much as is there, at least a byte of what is to come."""
        part = b""
        while not part and not self.complete:
            part = await self._next()
        return part

    async def rest(self) -> AsyncIterator[bytes]:
        while not self.complete:
            if part := await self._next():
                yield part

    async def client_leaves(self, answering: asyncio.Task[None]) -> None:
        """Wait for it, and cancel the task that answers."""
        await self._uploaded.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.client_left = True
        answering.cancel()

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeft
        if not message.get("more_body", False):
            self._uploaded.set()
        return message.get("body", b"")


def _length(scope: Scope) -> int:
    """Of the body, as our clients always give it."""
    headers = dict[bytes, bytes](scope["headers"])
    if b"transfer-encoding" in headers:
        raise InvalidRequest("The model proxy wants the length of a request's body in its header.")
    return int(headers.get(b"content-length", b"0"))


def _forwarded(name: bytes) -> bool:
    return name not in NOT_FORWARDED and not _own(name)


def _own(name: bytes) -> bool:
    return name.startswith(OWN_PREFIX)
