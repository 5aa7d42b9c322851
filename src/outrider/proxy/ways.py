"""The ways from the vault to a model's server: straight, over connections of our own that cost little, or through the
proxy that the environment names, by a general client."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.request import getproxies

import httpx2

from outrider.links.http1 import Connection, Connections, Header, Timeouts

CONNECT_SECONDS = 10.0
WRITE_SECONDS = 60.0
KEEP_ALIVE_SECONDS = {"https": 55.0, "http": 4.0}  # a new connection is dear with TLS, next to nothing without
PORTS = {"https": 443, "http": 80}
HEAD_START_SECONDS = 0.25  # of one address over the next
ON_THIS_HOST = frozenset(("127.0.0.1", "::1", "localhost"))  # never by a proxy, whatever HTTP_PROXY says
MOST_BY_PROXY = 1000


class Answer(Protocol):
    """What a server answers: `headers` with names in lower case. `close` it in the end."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Sequence[Header]: ...

    def chunks(self) -> AsyncIterator[bytes]: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `target` is its path and query; `body` is the beginning of its body and `more` the rest."""

    method: str
    target: bytes
    headers: list[Header]
    body: bytes = b""
    more: AsyncIterator[bytes] | None = field(default=None)


class Way(Protocol):
    """To one server. `ask` raises httpx2.RequestError, as do the answer's `chunks`."""

    async def ask(self, asked: Asked) -> Answer: ...

    async def close(self) -> None: ...


def way_to(url: httpx2.URL, context: ssl.SSLContext, idle_seconds: float) -> Way:
    """The way that the environment asks for. `idle_seconds`: how long the server may say nothing."""
    proxies = getproxies()
    by_proxy = url.host not in ON_THIS_HOST and (url.scheme in proxies or "all" in proxies)
    return ByProxy(url, context, idle_seconds) if by_proxy else Straight(url, context, idle_seconds)


class Straight:
    """Connections of our own, no request sent twice."""

    def __init__(self, url: httpx2.URL, context: ssl.SSLContext, idle_seconds: float) -> None:
        host, port = url.host, url.port or PORTS[url.scheme]
        tls: dict[str, Any] = {"ssl": context, "server_hostname": host} if url.scheme == "https" else {}

        async def connect(make: Callable[[], Connection]) -> Connection:
            connected = await _connected(host, port)
            return (await asyncio.get_running_loop().create_connection(make, sock=connected, **tls))[1]

        self._host = b"host: " + url.netloc
        self._timeouts: Timeouts = {"connect": CONNECT_SECONDS, "write": WRITE_SECONDS, "read": idle_seconds}
        self._connections = Connections(host, connect, keep=KEEP_ALIVE_SECONDS[url.scheme], insist=False)

    async def ask(self, asked: Asked) -> Answer:
        lines = [b"%s %s HTTP/1.1" % (asked.method.encode(), asked.target), self._host]
        lines += [b"%s: %s" % pair for pair in asked.headers]
        sent = b"\r\n".join(lines) + b"\r\n\r\n" + asked.body
        return await self._connections.ask(sent, self._timeouts, asked.more)

    async def close(self) -> None:
        await self._connections.close()


class ByProxy:
    """Wherever `NO_PROXY` and its like lead."""

    def __init__(self, url: httpx2.URL, context: ssl.SSLContext, idle_seconds: float) -> None:
        self._url = url
        self._client = httpx2.AsyncClient(
            verify=context,
            follow_redirects=False,
            timeout=httpx2.Timeout(idle_seconds, connect=CONNECT_SECONDS, write=WRITE_SECONDS, pool=CONNECT_SECONDS),
            limits=httpx2.Limits(
                max_connections=MOST_BY_PROXY,
                max_keepalive_connections=MOST_BY_PROXY,
                keepalive_expiry=KEEP_ALIVE_SECONDS[url.scheme],
            ),
        )
        self._client.headers.clear()

    async def ask(self, asked: Asked) -> Answer:
        url = self._url.copy_with(raw_path=asked.target)
        content = _joined(asked.body, asked.more) if asked.body or asked.more is not None else None
        request = self._client.build_request(asked.method, url, headers=asked.headers, content=content)
        return _Proxied(await self._client.send(request, stream=True))

    async def close(self) -> None:
        await self._client.aclose()


class _Proxied:
    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = [(name.lower(), value) for name, value in response.headers.raw]

    def chunks(self) -> AsyncIterator[bytes]:
        return self._response.aiter_raw()

    async def close(self) -> None:
        await self._response.aclose()


async def _joined(first: bytes, more: AsyncIterator[bytes] | None) -> AsyncIterator[bytes]:
    yield first
    if more is not None:
        async for part in more:
            yield part


async def _connected(host: str, port: int) -> socket.socket:
    """To the first of the host's addresses that answers; each has a head start over the next. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    left = [(family, address) for family, _, _, _, address in found]
    tried: set[asyncio.Task[socket.socket]] = set()
    problem = OSError("no address")
    try:
        while left or tried:
            if left:
                tried.add(asyncio.create_task(_dialled(*left.pop(0))))
            wait = HEAD_START_SECONDS if left else None
            done, tried = await asyncio.wait(tried, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None:
                    return task.result()
                problem = task.exception() or problem
        raise problem
    finally:
        for task in tried:
            task.add_done_callback(_unwanted)
            task.cancel()


def _unwanted(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _dialled(family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made
