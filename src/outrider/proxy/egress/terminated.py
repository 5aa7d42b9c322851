"""A tunnel whose TLS ends here, because its host has a credential: each request is read, judged, and sent on with the
secret in its placeholder's place. The host's own certificate is verified before anything is sent to it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass

import h11

from outrider.links.ways import readable
from outrider.proxy.egress.compressed import Repacked, can_unpack
from outrider.proxy.egress.hosts import BadTarget, Target, target
from outrider.proxy.egress.http1 import Change, Headers, Talk, exchange, onward, value, whole_body
from outrider.proxy.egress.injector import Injector
from outrider.proxy.egress.placeholders import Injection, Masks, Unfit
from outrider.proxy.egress.policy import Policy
from outrider.proxy.egress.resigned import signed
from outrider.proxy.egress.sigv4 import Unsignable
from outrider.proxy.egress.tunnel import Traffic
from outrider.proxy.egress.wires import CHUNK, Gone, StreamWire

HANDSHAKE_SECONDS = 15.0
HELLO_SECONDS = 5.0
HELLO = b"\x16"
LARGEST_BUFFERED = 1024 * 1024


class Unacceptable(Exception):
    """A request, or an upstream, that is answered with a refusal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def begins_tls(client: socket.socket) -> bool:
    """Whether what the client sends first is a TLS handshake; other protocols are tunnelled."""
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            await readable(client)
        return client.recv(1, socket.MSG_PEEK) == HELLO
    except (OSError, TimeoutError):
        return False


async def serve_tls(client: socket.socket, context: ssl.SSLContext) -> StreamWire:
    """Be the server on a socket of ours, which stays ours. Raises Gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK)
    protocol = asyncio.StreamReaderProtocol(reader)
    try:
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, client.dup(), ssl=context, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
    except (OSError, TimeoutError) as error:
        raise Gone(f"the handshake inside failed: {error}") from error
    return StreamWire(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


async def reach_tls(outside: socket.socket, host: str, context: ssl.SSLContext) -> StreamWire:
    """Raises Unacceptable when the host can't show that it is the host."""
    try:
        reader, writer = await asyncio.open_connection(
            sock=outside.dup(), ssl=context, server_hostname=host, ssl_handshake_timeout=HANDSHAKE_SECONDS, limit=CHUNK
        )
    except ssl.SSLCertVerificationError as error:
        raise Unacceptable(502, f"the certificate of {host} can't be verified: {error.verify_message}") from error
    except (OSError, TimeoutError) as error:
        raise Unacceptable(502, f"no TLS connection to {host}: {error}") from error
    return StreamWire(reader, writer)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request's head as it goes out; `body` where it was read already. A `signed` one's body must stay as it is."""

    target: bytes
    headers: Headers
    body: bytes | None
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Framed:
    """How a body goes out: `held` whole, or in pieces that are changed by `change`."""

    headers: Headers
    chunked: bool
    change: Change
    held: bytes | None


class Exchange:
    """One request inside the tunnel."""

    def __init__(self, client: Talk, upstream: Talk, where: Target, traffic: Traffic) -> None:
        self._client = client
        self._upstream = upstream
        self._where = where
        self._traffic = traffic

    async def run(self, request: h11.Request, policy: Policy, injector: Injector) -> bool:
        """Whether the tunnel can carry another. Raises Gone, Malformed, Unacceptable."""
        self._check(request)
        injection, missing = await injector.injection(policy, self._where, request)
        if missing:
            raise Unacceptable(502, f"the secret of {', '.join(missing)} can't be had from the vault")
        try:
            outgoing = await self._outgoing(request, injection)
        except (Unfit, Unsignable) as unfit:
            raise Unacceptable(400, str(unfit)) from unfit
        try:
            lasts = await self._exchange(request, outgoing, injection)
        except Gone as gone:
            if self._client.unanswered():
                raise Unacceptable(502, f"{self._where} broke off: {gone}") from gone
            raise
        injector.note(policy, injection, self._where)
        return lasts and self._client.again() and self._upstream.again()

    async def _outgoing(self, request: h11.Request, injection: Injection) -> Outgoing:
        """The request's head as it goes out, with the secrets in it. Raises Unfit, Unsignable."""
        found, body = await signed(self._client, request, injection)
        headers = injection.headers(onward(request.headers))
        headers = [pair for pair in headers if pair[0] != b"accept-encoding"]
        headers.append((b"accept-encoding", b"identity"))  # what comes back compressed could not be masked
        if found is None:
            return Outgoing(request.target, headers, body)
        asked = found.again(request.method, request.target, headers, injection)
        return Outgoing(asked.target, asked.headers, body, signed=True)

    def _check(self, request: h11.Request) -> None:
        if not request.target.startswith(b"/") and request.target != b"*":
            raise Unacceptable(400, "inside a tunnel a request's target begins with /")
        try:
            named = target(value(request.headers, b"host"), self._where.port)
            plain = target(value(request.headers, b"host"), 443)
        except BadTarget as bad:
            raise Unacceptable(400, str(bad)) from bad
        if self._where not in (named, plain) or named.host != self._where.host:
            raise Unacceptable(400, "the Host header names another host than the tunnel's")

    async def _exchange(self, request: h11.Request, outgoing: Outgoing, injection: Injection) -> bool:
        framed = await self._framed(request, outgoing, injection)
        masks = Masks(injection)
        return await exchange(
            self._client, request, self._upstream, outgoing.target, framed.headers, chunked=framed.chunked,
            outward=framed.change, body=framed.held, answered=masks.headers,
            inward=lambda data, last: self._received(masks.feed(data, last), last),
        )  # fmt: skip

    async def _framed(self, request: h11.Request, outgoing: Outgoing, injection: Injection) -> Framed:
        """How the body goes out: as it comes, swapped as it comes, or whole when it was short enough to be read."""
        headers, held = outgoing.headers, outgoing.body
        chunked = bool(value(request.headers, b"transfer-encoding"))
        length = int(value(request.headers, b"content-length") or b"0")
        encoding = value(request.headers, b"content-encoding")
        readable = not encoding or can_unpack(encoding)
        if outgoing.signed or not (injection.in_body and (chunked or length > 0) and readable):
            return Framed(headers, chunked, self._sent, held)  # a signed body's hash is part of what is signed
        body = injection.body() if not encoding else Repacked(injection.body(), encoding)
        headers = [pair for pair in headers if pair[0] != b"content-length"]
        if held is None and (chunked or length > LARGEST_BUFFERED):
            return Framed(headers, True, lambda data, last: self._sent(body.feed(data, last), last), None)
        held = body.feed(await whole_body(self._client) if held is None else held, True)
        self._traffic.sent += len(held)
        return Framed([*headers, (b"content-length", str(len(held)).encode())], False, self._sent, held)

    def _sent(self, data: bytes, last: bool) -> bytes:
        self._traffic.sent += len(data)
        return data

    def _received(self, data: bytes, last: bool) -> bytes:
        self._traffic.received += len(data)
        return data
