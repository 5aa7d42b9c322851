"""The model proxy: gives a request its key and passes bytes both ways as they come. One attempt, no redirects.

Promised: the key goes to the endpoint's own base URL only, and does not come back in a response's plain bytes. Not
promised: that an endpoint which is hostile can't send back the key that it was given in some other form.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

import anyio
import httpx2
from starlette.types import Receive, Scope, Send

from outrider.errors import NotFound, UpstreamUnreachable
from outrider.proxy.mask import Mask

PATHS = frozenset({"v1/messages", "v1/messages/count_tokens", "v1/models"})
CONNECT_SECONDS = 10.0
WRITE_SECONDS = 60.0
KEEP_ALIVE_SECONDS = {"https": 55.0, "http": 4.0}  # a new connection is dear with TLS, next to nothing without
MOST_CONNECTIONS = 1000
SHORTEST_SECRET = 8  # characters
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade".split()
)
NOT_FORWARDED = HOP_BY_HOP | {b"host", b"authorization", b"x-api-key", b"cookie", b"accept-encoding", b"expect"}
NOT_RETURNED = HOP_BY_HOP | {b"set-cookie"}
NEVER_BY_PROXY = ("all://127.0.0.1", "all://[::1]", "all://localhost")  # whatever HTTP_PROXY says
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


class _ClientLeft(Exception):
    """The harness closed its connection in the middle of its request."""


class ModelProxy:
    """One endpoint's proxy, with its own connections."""

    def __init__(self, upstream: Upstream, context: ssl.SSLContext, idle_seconds: float) -> None:
        self._upstream = upstream
        self._url = httpx2.URL(upstream.base_url.rstrip("/") + "/")
        self._credentials = upstream.credentials()
        keep = KEEP_ALIVE_SECONDS.get(self._url.scheme, 0.0)
        self._client = httpx2.AsyncClient(
            verify=context,
            mounts=dict.fromkeys(NEVER_BY_PROXY),
            follow_redirects=False,
            timeout=httpx2.Timeout(idle_seconds, connect=CONNECT_SECONDS, write=WRITE_SECONDS, pool=CONNECT_SECONDS),
            limits=httpx2.Limits(
                max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS, keepalive_expiry=keep
            ),
        )
        self._client.headers.clear()

    async def close(self) -> None:
        await self._client.aclose()

    async def forward(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an ASGI request with the endpoint's answer to it; ends with the client's connection.

        Raises NotFound, UpstreamUnreachable before the answer has begun. When the endpoint breaks off later the
        answer stays unfinished, which the server below shows as a broken connection.
        """
        if path not in PATHS:
            raise NotFound(f"The model proxy has no path {path}.")
        uploaded = anyio.Event()
        failure: list[UpstreamUnreachable] = []

        async def watch() -> None:
            await uploaded.wait()
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            body = _body(receive, uploaded) if _has_body(scope) else None
            if body is None:
                uploaded.set()
            try:
                await self._exchange(self._request(path, scope, body), send)
            except UpstreamUnreachable as error:
                failure.append(error)
            except _ClientLeft:
                pass
            group.cancel_scope.cancel()
        if failure:
            raise failure[0]

    def _request(self, path: str, scope: Scope, body: AsyncIterator[bytes] | None) -> httpx2.Request:
        headers = [pair for pair in scope["headers"] if _forwarded(pair[0])]
        headers += [(b"accept-encoding", b"identity"), *self._credentials]
        url = self._url.join(path).copy_with(query=scope["query_string"] or None)
        return self._client.build_request(scope["method"], url, headers=headers, content=body)

    async def _exchange(self, request: httpx2.Request, send: Send) -> None:
        try:
            response = await self._client.send(request, stream=True)
        except httpx2.RequestError as error:
            raise self._unreachable("can't be reached", error) from None
        try:
            self._check(response)
            await self._relay(response, send)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    def _check(self, response: httpx2.Response) -> None:
        if response.is_redirect:
            raise self._unreachable("answered with a redirect, which is not followed")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise self._unreachable("answered in an encoding that was not asked for")

    async def _relay(self, response: httpx2.Response, send: Send) -> None:
        mask = Mask(self._upstream.masked())
        raw = ((name.lower(), value) for name, value in response.headers.raw)
        headers = [(n, mask.whole(v)) for n, v in raw if n not in NOT_RETURNED and not n.startswith(OWN_PREFIX)]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        try:
            async for chunk in response.aiter_raw():
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


def _forwarded(name: bytes) -> bool:
    return name not in NOT_FORWARDED and not name.startswith(OWN_PREFIX)


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


async def _body(receive: Receive, uploaded: anyio.Event) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeft
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body", False):
            uploaded.set()
            return
