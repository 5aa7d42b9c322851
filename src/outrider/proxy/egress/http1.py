"""HTTP/1.1 between two ends: every message is parsed strictly and written anew, so nothing ambiguous is passed on.

One exchange at a time. An upgrade that the upstream accepts turns both connections into plain streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager

import h11

from outrider.proxy.egress.wires import Gone, Wire

LARGEST_HEAD = 64 * 1024
USE_HTTP_1 = b"this host has a credential of the session, so its connections speak HTTP/1.1"
GO_AWAY = (
    bytes.fromhex("000000 04 00 00000000")
    + (8 + len(USE_HTTP_1)).to_bytes(3)
    + bytes.fromhex("07 00 00000000 00000000 0000000d")
    + USE_HTTP_1
)
"""HTTP/2's way to ask for HTTP/1.1: settings, and the end of the connection for HTTP_1_1_REQUIRED."""
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer upgrade expect"
    b" transfer-encoding".split()
)

Headers = list[tuple[bytes, bytes]]


class Malformed(Exception):
    """A message that can be read in more than one way, or in none."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class PriorKnowledge(Malformed):
    """The client began to speak HTTP/2 without having agreed on it."""


class Talk:
    """One end of HTTP/1.1 over a wire. `idle`: the longest silence in the middle of a message."""

    def __init__(self, wire: Wire, role: type[h11.CLIENT] | type[h11.SERVER], idle: float) -> None:
        self.wire = wire
        self.idle = idle
        self.state = h11.Connection(role, max_incomplete_event_size=LARGEST_HEAD)

    async def event(self, seconds: float | None = None) -> h11.Event | type[h11.PAUSED]:
        """Raises Gone, Malformed."""
        while True:
            try:
                found = self.state.next_event()
            except h11.RemoteProtocolError as error:
                raise Malformed(str(error), error.error_status_hint) from error
            if found is not h11.NEED_DATA:
                return found  # type: ignore[return-value]
            self.state.receive_data(await self.wire.read(self.idle if seconds is None else seconds))

    async def send(self, event: h11.Event) -> None:
        data = self.state.send(event)
        if data:
            await self.wire.write(data, self.idle)

    async def request(self, seconds: float) -> h11.Request | None:
        """The next request's head; None when the client hangs up between two. Raises Gone, Malformed."""
        found = await self.event(seconds)
        if isinstance(found, h11.ConnectionClosed) or not isinstance(found, h11.Request):
            return None
        _check_framing(found)
        return found

    def unanswered(self) -> bool:
        """Whether an answer of our own can still be given."""
        return self.state.our_state in (h11.IDLE, h11.SEND_RESPONSE)

    def again(self) -> bool:
        """Get ready for the next exchange; False if the connection can't serve one."""
        if self.state.our_state is not h11.DONE or self.state.their_state is not h11.DONE:
            return False
        self.state.start_next_cycle()
        return True


def _check_framing(request: h11.Request) -> None:
    names = [name for name, _ in request.headers]
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version < b"1.1"):
        raise Malformed("a body with two lengths")
    if request.method == b"PRI" and request.http_version == b"2.0":
        raise PriorKnowledge("HTTP/2 is not spoken here", 505)
    if request.http_version not in (b"1.0", b"1.1"):
        raise Malformed("a version other than HTTP/1.0 and HTTP/1.1", 505)
    if names.count(b"host") > 1:
        raise Malformed("more than one Host header")


def value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    return next((value for key, value in headers if key == name), b"")


def onward(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers that are meant for the other side."""
    held = list(headers)
    named = {word.strip().lower() for key, words in held if key == b"connection" for word in words.split(b",")}
    return [(key, text) for key, text in held if key not in _HOP_BY_HOP and key not in named]


def wants_upgrade(request: h11.Request) -> bytes:
    """The protocol that the client wants to change to, or nothing."""
    words = [word.strip().lower() for word in value(request.headers, b"connection").split(b",")]
    return value(request.headers, b"upgrade") if b"upgrade" in words else b""


Change = Callable[[bytes, bool], bytes]
"""What becomes of a piece of a body, and whether it is the last."""


def unchanged(data: bytes, _last: bool) -> bytes:
    return data


async def exchange(
    client: Talk, request: h11.Request, upstream: Talk, target: bytes, headers: Headers, *, chunked: bool,
    outward: Change = unchanged, inward: Change = unchanged, body: bytes | None = None,
    answered: Callable[[Headers], Headers] = list,
) -> bool:  # fmt: skip
    """Pass `request` on with this target and these headers, and the answer back; False after a change of protocol.

    `body` goes in place of the client's, which was read already; `answered` says what becomes of the answer's headers.

    Raises Gone, Malformed.
    """
    upgrade = wants_upgrade(request)
    framing: Headers = [(b"transfer-encoding", b"chunked")] if chunked else []
    change = [(b"connection", b"upgrade"), (b"upgrade", upgrade)] if upgrade else []
    await upstream.send(h11.Request(method=request.method, target=target, headers=[*headers, *framing, *change]))
    await go_on(client)
    work = _upload(client, upstream, outward) if body is None else _put(upstream, body)
    async with _beside(work):
        switched = await _answer(client, upstream, inward, answered)
    if switched:
        await relay(client, upstream)
        return False
    return True


@asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        if not task.done():
            task.cancel()
        (problem,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(problem, Malformed):
        raise problem


async def go_on(client: Talk) -> None:
    """Ask for the body, if the client waits to be asked."""
    if client.state.they_are_waiting_for_100_continue:
        await client.send(h11.InformationalResponse(status_code=100, headers=[]))


async def whole_body(client: Talk) -> bytes:
    found = bytearray()
    await go_on(client)
    while isinstance(event := await client.event(), h11.Data):
        found += event.data
    return bytes(found)


async def _put(upstream: Talk, body: bytes) -> None:
    if body:
        await upstream.send(h11.Data(data=body))
    await upstream.send(h11.EndOfMessage())


async def _upload(client: Talk, upstream: Talk, outward: Change) -> None:
    while True:
        event = await client.event()
        if isinstance(event, h11.Data):
            data = outward(bytes(event.data), False)
            if data:
                await upstream.send(h11.Data(data=data))
        elif isinstance(event, h11.EndOfMessage):
            rest = outward(b"", True)
            if rest:
                await upstream.send(h11.Data(data=rest))
            await upstream.send(h11.EndOfMessage())
            return
        else:
            return


async def _answer(client: Talk, upstream: Talk, inward: Change, answered: Callable[[Headers], Headers]) -> bool:
    """True when the upstream has changed to the protocol that the client wanted."""
    while True:
        event = await _heard(upstream)
        if isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                kept = [(key, text) for key, text in event.headers if key != b"transfer-encoding"]
                await client.send(h11.InformationalResponse(status_code=101, headers=kept))
                return True
        elif isinstance(event, h11.Response):
            kept = answered(onward(event.headers))
            await client.send(h11.Response(status_code=event.status_code, headers=kept, reason=event.reason))
        elif isinstance(event, h11.Data):
            data = inward(bytes(event.data), False)
            if data:
                await client.send(h11.Data(data=data))
        elif isinstance(event, h11.EndOfMessage):
            rest = inward(b"", True)
            if rest:
                await client.send(h11.Data(data=rest))
            await client.send(h11.EndOfMessage())
            return False
        else:
            raise Gone("the upstream hung up before its answer was whole")


async def _heard(upstream: Talk) -> h11.Event | type[h11.PAUSED]:
    """What an upstream says that can't be read counts as a broken connection: the client is not to blame."""
    try:
        return await upstream.event()
    except Malformed as malformed:
        raise Gone(f"its answer can't be read: {malformed}") from malformed


async def relay(client: Talk, upstream: Talk) -> None:
    """Both ways as they come, first what was read too far; until one end is done."""
    for source, sink in ((client, upstream), (upstream, client)):
        rest = source.state.trailing_data[0]
        if rest:
            await sink.wire.write(rest, sink.idle)

    async def carry(source: Talk, sink: Talk) -> None:
        while data := await source.wire.read(source.idle):
            await sink.wire.write(data, sink.idle)

    ways = [asyncio.ensure_future(carry(client, upstream)), asyncio.ensure_future(carry(upstream, client))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
