"""HTTP/1.1 over a unix socket, or a verified connection, as an httpx2 transport: kept connections, streamed answers.

Every model request takes this way, so its own time counts. Not promised: what nobody needs between our own processes
(proxies, compression, HTTP/2, streamed request bodies).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import httptools
import httpx2

from outrider.errors import PeerRefused
from outrider.links.peers import explain

CHUNK = 64 * 1024
Timeouts = Mapping[str, float | None]
MOST_IDLE = 64


class _Connection:
    """One connection and the answer that comes over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.expect()

    def expect(self) -> None:
        """Get ready for the next answer."""
        self._parser = httptools.HttpResponseParser(self)
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = False
        self.complete = False
        self._lasting = False
        self.ready: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, body: bytes) -> None:
        self.ready.append(body)

    def on_message_complete(self) -> None:
        self.complete = True
        self._lasting = self._parser.should_keep_alive()  # the parser only knows it now, before it is done

    @property
    def status(self) -> int:
        return self._parser.get_status_code()

    @property
    def reusable(self) -> bool:
        return self.complete and self._lasting and not self.reader.at_eof()

    async def receive(self, timeout: float | None) -> None:
        """Read and parse what comes next. Raises httpx2 errors."""
        try:
            async with asyncio.timeout(timeout):
                data = await self.reader.read(CHUNK)
        except TimeoutError as error:
            raise httpx2.ReadTimeout("No answer in time.") from error
        except OSError as error:
            said = explain(error) if isinstance(error, ssl.SSLError) else str(error)
            raise httpx2.ReadError(said) from error
        if not data:
            raise httpx2.RemoteProtocolError("The connection ended before the answer did.")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise httpx2.RemoteProtocolError(str(error)) from error

    def close(self) -> None:
        self.writer.transport.abort()  # nothing is left to send; over TLS a polite end would wait for the other side


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class StreamTransport(httpx2.AsyncBaseTransport):
    """Requests over what `connect` gives (it raises OSError, TimeoutError or PeerRefused; `where` names its end). The
    request's URL gives the path and the host header only."""

    def __init__(self, where: str, connect: Callable[[], Awaitable[Streams]]) -> None:
        self._where = where
        self._connect = connect
        self._idle: list[_Connection] = []
        self._closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        sent = _head(request, len(body)) + body
        timeout = request.extensions.get("timeout", {})
        kept = self._kept()
        if kept is not None:
            try:
                return await self._exchange(kept, sent, timeout)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                if kept.begun:
                    raise  # else the other end hung up while the connection was idle: once more on a new one
        return await self._exchange(await self._connected(timeout.get("connect")), sent, timeout)

    async def _exchange(self, connection: _Connection, sent: bytes, timeout: Timeouts) -> httpx2.Response:
        try:
            await self._send(connection, sent, timeout.get("write"))
            while not connection.begun:
                await connection.receive(timeout.get("read"))
        except BaseException:
            connection.close()
            raise
        stream = _Answer(self, connection, timeout.get("read"))
        return httpx2.Response(connection.status, headers=connection.headers, stream=stream)

    async def aclose(self) -> None:
        self._closed = True
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection whose answer was read to its end; hang up otherwise."""
        if connection.reusable and not self._closed and len(self._idle) < MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.reader.at_eof():  # the other end has not hung up meanwhile
                connection.expect()
                return connection
            connection.close()
        return None

    async def _connected(self, timeout: float | None) -> _Connection:
        try:
            async with asyncio.timeout(timeout):
                return _Connection(*await self._connect())
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(f"No connection to {self._where} in time.") from error
        except PeerRefused as error:
            raise httpx2.ConnectError(error.message) from error
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error

    async def _send(self, connection: _Connection, data: bytes, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                connection.writer.write(data)
                await connection.writer.drain()
        except TimeoutError as error:
            raise httpx2.WriteTimeout("The request could not be sent in time.") from error
        except OSError as error:
            raise httpx2.WriteError(str(error)) from error


class UnixTransport(StreamTransport):
    """Requests to whatever listens at `socket`."""

    def __init__(self, socket: Path) -> None:
        super().__init__(str(socket), lambda: asyncio.open_unix_connection(str(socket), limit=CHUNK))


class _Answer(httpx2.AsyncByteStream):
    """The answer's body as it comes."""

    def __init__(self, transport: StreamTransport, connection: _Connection, timeout: float | None) -> None:
        self._transport = transport
        self._connection = connection
        self._timeout = timeout
        self._open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        connection = self._connection
        while True:
            ready, connection.ready = connection.ready, []
            for part in ready:
                yield part
            if connection.complete:
                return
            await connection.receive(self._timeout)

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._transport.give_back(self._connection)


def _head(request: httpx2.Request, length: int) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    skipped = (b"transfer-encoding", b"content-length", b"accept-encoding", b"connection")
    lines += [b"%s: %s" % pair for pair in request.headers.raw if pair[0].lower() not in skipped]
    if length or request.method != "GET":
        lines.append(b"content-length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"
