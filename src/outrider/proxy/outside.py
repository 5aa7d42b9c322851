"""HTTP clients for servers whose addresses users give us: MCP servers and token endpoints.

Promised: a name is resolved once for a client, only a judged address is connected to, an answer's length is bounded,
what came of a request is known to whoever set `EXCHANGE`. Certificates are checked against the name, not the address.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

import anyio
import httpx2

from outrider.networks import Address, Allowance
from outrider.proxy.egress.hosts import BadTarget, target
from outrider.proxy.egress.reach import Resolve, Unreachable, judged, system_resolve

CONNECT_SECONDS = 10.0
WRITE_SECONDS = 60.0
KEEP_ALIVE_SECONDS = 55.0
MOST_CONNECTIONS = 16
LONGEST_ANSWER = 16 * 1024 * 1024
PORTS = {"http": 80, "https": 443}


@dataclass(slots=True)
class Exchange:
    """What became of the requests of one ask: the last answer's status, whether one left, and what went wrong."""

    status: int | None = None
    sent: bool = False
    problem: str = ""
    failed: anyio.Event = field(default_factory=anyio.Event)

    def answered(self, status: int) -> None:
        self.status = status
        if status >= 400:
            self.failed.set()

    def again(self) -> None:
        """The refusal is answered with another try, which counts in its place."""
        self.status, self.failed = None, anyio.Event()


EXCHANGE: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


class Outside:
    """Makes clients. `allowed` are addresses that are not public and may be reached all the same."""

    def __init__(
        self, context: ssl.SSLContext, allowed: Sequence[Allowance] = (), resolve: Resolve = system_resolve
    ) -> None:
        self._context = context
        self._allowed = allowed
        self._resolve = resolve

    def client(
        self, read_seconds: float, *, auth: httpx2.Auth | None = None, longest: int = LONGEST_ANSWER
    ) -> httpx2.AsyncClient:
        """For one host. It follows no redirects by itself and takes nothing from the environment."""
        timeout = httpx2.Timeout(read_seconds, connect=CONNECT_SECONDS, write=WRITE_SECONDS, pool=CONNECT_SECONDS)
        limits = httpx2.Limits(max_connections=MOST_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_SECONDS)
        inner = httpx2.AsyncHTTPTransport(verify=self._context, limits=limits, trust_env=False)
        guarded = _Guarded(inner, self._allowed, self._resolve, longest)
        return httpx2.AsyncClient(transport=guarded, auth=auth, timeout=timeout, trust_env=False)


class _Guarded(httpx2.AsyncBaseTransport):
    def __init__(
        self, inner: httpx2.AsyncBaseTransport, allowed: Sequence[Allowance], resolve: Resolve, longest: int
    ) -> None:
        self._inner = inner
        self._allowed = allowed
        self._resolve = resolve
        self._longest = longest
        self._pinned: dict[str, list[Address]] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = EXCHANGE.get() or Exchange()
        try:
            response = await self._sent(request, exchange)
        except httpx2.RequestError as error:
            exchange.problem = exchange.problem or _said(error)
            raise
        exchange.answered(response.status_code)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            exchange.problem = "it answered in an encoding that was not asked for"
            raise httpx2.ReadError(exchange.problem)
        stream = _Bounded(response, self._longest, exchange)
        return httpx2.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )

    async def _sent(self, request: httpx2.Request, exchange: Exchange) -> httpx2.Response:
        url = request.url
        headers = request.headers.copy()
        headers["accept-encoding"] = "identity"
        problem: httpx2.RequestError | None = None
        for address in await self._addresses(url):
            to = url.copy_with(host=str(address))
            extensions = {**request.extensions, "sni_hostname": url.raw_host.decode("ascii")}
            sent = httpx2.Request(request.method, to, headers=headers, stream=request.stream, extensions=extensions)
            try:
                exchange.sent = True
                return await self._inner.handle_async_request(sent)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
                exchange.sent = False
                problem = error
        self._pinned.pop(url.host, None)
        raise problem or httpx2.ConnectError("no address")

    async def _addresses(self, url: httpx2.URL) -> list[Address]:
        found = self._pinned.get(url.host)
        if found is None:
            try:
                where = target(url.netloc, PORTS.get(url.scheme))
                found = await judged(where, self._allowed, self._resolve, "[mcp] allow_private")
            except (BadTarget, Unreachable) as error:
                raise httpx2.ConnectError(str(error)) from None
            self._pinned[url.host] = found
        return found

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """An answer's body, up to a length."""

    def __init__(self, response: httpx2.Response, longest: int, exchange: Exchange) -> None:
        self._response = response
        self._left = longest
        self._longest = longest
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, httpx2.AsyncByteStream)
        async for chunk in self._response.stream:
            self._left -= len(chunk)
            if self._left < 0:
                self._exchange.problem = f"it answered with more than {self._longest:,} bytes"
                raise httpx2.ReadError(self._exchange.problem)
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


def _said(error: httpx2.RequestError) -> str:
    """Without what the other side may have put into it: its name, and the text of errors that are our own."""
    own = isinstance(error, httpx2.ConnectError)
    return f"{error}" if own and str(error) else type(error).__name__
