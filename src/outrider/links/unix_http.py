"""HTTP/1.1 over a unix socket, or a verified connection, as an httpx2 transport.

Not promised: what nobody needs between our own processes (proxies, compression, HTTP/2, streamed request bodies).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2

from outrider.links.http1 import Answer, Connect, Connection, Connections

SKIPPED = frozenset((b"transfer-encoding", b"content-length", b"accept-encoding", b"connection"))
ONCE = "outrider.once"
"""Extension of a request that may not be sent a second time, whatever became of the first."""


class StreamTransport(httpx2.AsyncBaseTransport):
    """Requests over what `connect` makes; `where` names its end. The request's URL gives the path and the host header
    only."""

    def __init__(self, where: str, connect: Connect) -> None:
        self._connections = Connections(where, connect, keep=math.inf, insist=True)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        sent = _head(request, len(body)) + body
        once = ONCE in request.extensions
        answer = await self._connections.ask(sent, request.extensions.get("timeout", {}), once=once)
        return httpx2.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    async def aclose(self) -> None:
        await self._connections.close()


class UnixTransport(StreamTransport):
    """Requests to whatever listens at `socket`."""

    def __init__(self, socket: Path) -> None:
        async def connect(make: Callable[[], Connection]) -> Connection:
            return (await asyncio.get_running_loop().create_unix_connection(make, str(socket)))[1]

        super().__init__(str(socket), connect)


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._answer.chunks()

    async def aclose(self) -> None:
        await self._answer.close()


def _head(request: httpx2.Request, length: int) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % pair for pair in request.headers.raw if pair[0].lower() not in SKIPPED]
    if length or request.method != "GET":
        lines.append(b"content-length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"
