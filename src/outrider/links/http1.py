"""HTTP/1.1 as its client, over connections that are kept: one request at a time on each, answers as they come.

Every model request takes this way twice, so its own time counts: to the vault, and from there to the model. Raises
httpx2's errors. Not promised: what nobody needs here (compression, HTTP/2, requests of unknown length).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import cast

import httptools
import httpx2

from outrider.errors import PeerRefused
from outrider.links.peers import explain

Header = tuple[bytes, bytes]
Timeouts = Mapping[str, float | None]
LONGEST_HEAD = 64 * 1024
HELD_BYTES = 256 * 1024  # of an answer that nobody takes, before the other end is left waiting
MOST_IDLE = 64
FRAMING = frozenset((b"content-length", b"transfer-encoding"))


class Connection(asyncio.Protocol):
    """One connection, and the answer that comes over it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._expecting = False
        self._failure: Exception | None = None
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        self._full = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._ready: list[bytes] = []
        self._held = self._head_bytes = 0
        self._framed = self._lasting = False
        self._cut_short = False
        self.headers: list[Header] = []
        self.begun = self.complete = False

    # -- what the request's owner does

    def expect(self) -> None:
        """Get ready for the next answer."""
        self._begin()
        self._expecting = True

    @property
    def open(self) -> bool:
        return self._failure is None

    @property
    def status(self) -> int:
        return self._parser.get_status_code()

    @property
    def reusable(self) -> bool:
        return self.complete and self._lasting and self.open and not self._cut_short

    def cut_short(self) -> None:
        """The answer came before the request was sent to its end, and the rest will not follow."""
        self._cut_short = True

    def rest(self) -> None:
        """The answer was read to its end: whatever comes now is out of place, and ends the connection."""
        self._expecting = False

    async def write(self, data: bytes, timeout: float | None) -> None:
        """Returns when it is sent, or as good as sent."""
        if self._failure is not None:
            raise httpx2.WriteError(str(self._failure)) from self._failure
        assert self._transport is not None
        self._transport.write(data)
        if self._full:
            self._writing = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._writing
            except TimeoutError as error:
                raise httpx2.WriteTimeout("The request could not be sent in time.") from error
            finally:
                self._writing = None
            if self._failure is not None:
                raise httpx2.WriteError(str(self._failure)) from self._failure

    async def receive(self, timeout: float | None) -> None:
        """Wait for more of the answer."""
        if self._failure is not None:
            raise self._failure
        self._reading = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._reading
        except TimeoutError as error:
            raise httpx2.ReadTimeout("No answer in time.") from error
        finally:
            self._reading = None

    def take(self) -> list[bytes]:
        """The body's parts that have come."""
        ready, self._ready = self._ready, []
        if self._held > HELD_BYTES and self._transport is not None:
            self._transport.resume_reading()
        self._held = 0
        return ready

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()  # nothing is left to send; over TLS a polite end would wait for the other side

    # -- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._expecting:
            return self._fail(httpx2.RemoteProtocolError("The other end spoke unasked."))
        held = self._held
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            return self._fail(httpx2.RemoteProtocolError(str(error)))
        if not self.begun:
            self._head_bytes += len(data)
            if self._head_bytes > LONGEST_HEAD:
                return self._fail(httpx2.RemoteProtocolError("The answer's head is too long."))
        if held <= HELD_BYTES < self._held and self._transport is not None:
            self._transport.pause_reading()
        return _wake(self._reading)

    def eof_received(self) -> None:
        """Hanging up is also how an answer of unknown length ends."""
        if self.begun and not self._framed:
            self.complete = True
        self._fail(httpx2.RemoteProtocolError("The connection ended before the answer did."))

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError):
            self._fail(httpx2.ReadError(explain(exc) if isinstance(exc, ssl.SSLError) else str(exc)))
        else:
            self.eof_received()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        _wake(self._writing)

    def _fail(self, failure: Exception) -> None:
        """For good: only the first failure counts, and what had come before it can still be taken."""
        if self._failure is None:
            self._failure = failure
            self.close()
        _wake(self._reading)
        _wake(self._writing)

    # -- what the parser says

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._framed = self._framed or name in FRAMING
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, body: bytes) -> None:
        self._held += len(body)
        self._ready.append(body)

    def on_message_complete(self) -> None:
        if self.status < 200:  # the answer itself follows
            self.begun = self._framed = False
            self.headers = []
        else:
            self.complete = True
            self._lasting = self._parser.should_keep_alive()  # the parser only knows it now, before it is done


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


class Answer:
    """An answer whose head has come. `close` it in the end, however that comes."""

    def __init__(self, pool: Connections, connection: Connection, idle: float | None) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._idle = idle
        self.status = connection.status
        self.headers = connection.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        connection = self._connection
        while connection is not None:
            for part in connection.take():
                yield part
            if connection.complete:
                return
            await connection.receive(self._idle)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(connection)


Connect = Callable[[Callable[[], Connection]], Awaitable[Connection]]
"""Makes a connection by the given protocol. Raises OSError, TimeoutError or PeerRefused."""


class Connections:
    """Those to one place, which `where` names. Kept ones are used again for `keep` seconds.

    `insist`: a request is sent once more when the other end hangs up on a kept connection without a word. Only where
    the other end is known to have done nothing then.
    """

    def __init__(self, where: str, connect: Connect, *, keep: float, insist: bool) -> None:
        self._where = where
        self._connect = connect
        self._keep = keep
        self._insist = insist
        self._idle: list[tuple[Connection, float]] = []
        self._closed = False

    async def ask(
        self, sent: bytes, timeouts: Timeouts, more: AsyncIterator[bytes] | None = None, *, once: bool = False
    ) -> Answer:
        """Send a request and wait for its answer's head. `more` is what of the body is not in `sent`. One that goes out
        `once` gets a new connection, and no second try."""
        kept = None if once else self._kept()
        if kept is not None:
            try:
                return await self._exchange(kept, sent, more, timeouts)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                if kept.begun or not self._insist or more is not None:
                    raise
        return await self._exchange(await self._connected(timeouts.get("connect")), sent, more, timeouts)

    async def _exchange(
        self, connection: Connection, sent: bytes, more: AsyncIterator[bytes] | None, timeouts: Timeouts
    ) -> Answer:
        try:
            with suppress(httpx2.WriteError):  # the other end may have said why it hung up
                await _send(connection, sent, more, timeouts.get("write"))
            while not connection.begun:
                await connection.receive(timeouts.get("read"))
        except BaseException:
            connection.close()
            raise
        return Answer(self, connection, timeouts.get("read"))

    async def close(self) -> None:
        self._closed = True
        for connection, _ in self._idle:
            connection.close()
        self._idle.clear()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end; hang up otherwise."""
        if connection.reusable and not self._closed and len(self._idle) < MOST_IDLE:
            connection.rest()
            self._idle.append((connection, time.monotonic()))
        else:
            connection.close()

    def _kept(self) -> Connection | None:
        """The one used last, if it is still good. Those left unused for too long are let go on the way."""
        oldest = time.monotonic() - self._keep
        while self._idle and self._idle[0][1] < oldest:
            self._idle.pop(0)[0].close()
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.open:
                connection.expect()
                return connection
            connection.close()
        return None

    async def _connected(self, timeout: float | None) -> Connection:
        try:
            async with asyncio.timeout(timeout):
                connection = await self._connect(Connection)
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(f"No connection to {self._where} in time.") from error
        except PeerRefused as error:
            raise httpx2.ConnectError(error.message) from error
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error
        connection.expect()
        return connection


async def _send(connection: Connection, sent: bytes, more: AsyncIterator[bytes] | None, timeout: float | None) -> None:
    await connection.write(sent, timeout)
    if more is not None:
        async for part in more:
            if connection.begun:
                return connection.cut_short()
            await connection.write(part, timeout)
