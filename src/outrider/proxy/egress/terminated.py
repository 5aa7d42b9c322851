"""A tunnel whose TLS ends here, because its host has a credential: each request is read, judged, and sent on with the
secret in its placeholder's place. The host's own certificate is verified before anything is sent to it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

import h11

from outrider.proxy.egress.hosts import BadTarget, Target, target
from outrider.proxy.egress.http1 import Headers, Talk, exchange, onward, value, whole_body
from outrider.proxy.egress.injector import Injector
from outrider.proxy.egress.placeholders import Injection, Masks, Unfit
from outrider.proxy.egress.policy import Policy
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
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(client.fileno(), ready.set)
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            await ready.wait()
        return client.recv(1, socket.MSG_PEEK) == HELLO
    except (OSError, TimeoutError):
        return False
    finally:
        loop.remove_reader(client.fileno())


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
        injection, missing = await injector.injection(policy, self._where.host)
        if missing:
            raise Unacceptable(502, f"the secret of {', '.join(missing)} can't be had from the vault")
        try:
            headers = injection.headers(onward(request.headers))
        except Unfit as unfit:
            raise Unacceptable(400, str(unfit)) from unfit
        headers = [pair for pair in headers if pair[0] != b"accept-encoding"]
        headers.append((b"accept-encoding", b"identity"))  # what comes back compressed could not be masked
        lasts = await self._exchange(request, headers, injection)
        injector.note(policy, sorted(injection.used), self._where)
        return lasts and self._client.again() and self._upstream.again()

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

    async def _exchange(self, request: h11.Request, headers: Headers, injection: Injection) -> bool:
        chunked = bool(value(request.headers, b"transfer-encoding"))
        length = int(value(request.headers, b"content-length") or b"0")
        swapping = injection.in_body and (chunked or length > 0) and not value(request.headers, b"content-encoding")
        body, change, held = injection.body(), self._sent, None
        if swapping:
            headers = [pair for pair in headers if pair[0] != b"content-length"]
            if not chunked and length <= LARGEST_BUFFERED:
                held = body.feed(await whole_body(self._client), True)
                self._traffic.sent += len(held)
                headers.append((b"content-length", str(len(held)).encode()))
            else:
                chunked = True

                def change(data: bytes, last: bool) -> bytes:
                    return self._sent(body.feed(data, last), last)

        masks = Masks(injection)
        return await exchange(
            self._client, request, self._upstream, request.target, headers, chunked=chunked, outward=change,
            inward=lambda data, last: self._received(masks.feed(data, last), last), body=held, answered=masks.headers,
        )  # fmt: skip

    def _sent(self, data: bytes, last: bool) -> bytes:
        self._traffic.sent += len(data)
        return data

    def _received(self, data: bytes, last: bool) -> bytes:
        self._traffic.received += len(data)
        return data
