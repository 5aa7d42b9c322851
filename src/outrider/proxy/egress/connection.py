"""One connection from a sandbox: reads what it asks for, judges it, and carries it out or says why not.

Each request is judged by itself, so a redirect is judged like any other. Promised: no byte leaves for a target that the
session's policy or the operator's address rules refuse.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import urlsplit

import h11

from outrider.networks import Allowance
from outrider.ports import metrics
from outrider.ports.telemetry import Meter, NoMeter
from outrider.proxy.egress.hosts import BadTarget, Target, target
from outrider.proxy.egress.http1 import GO_AWAY, Malformed, PriorKnowledge, Talk, exchange, onward, value
from outrider.proxy.egress.injector import Injector
from outrider.proxy.egress.policy import Policy
from outrider.proxy.egress.reach import Resolve, Unreachable, connected, system_resolve
from outrider.proxy.egress.record import Entry, Record
from outrider.proxy.egress.terminated import Exchange, Unacceptable, begins_tls, reach_tls, serve_tls
from outrider.proxy.egress.tunnel import Buffers, Traffic, Tunnel
from outrider.proxy.egress.wires import Gone, SocketWire

HEAD_SECONDS = 30.0
WRITE_SECONDS = 30.0
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
REASONS = {400: "Bad Request", 403: "Forbidden", 407: "Proxy Authentication Required",
           431: "Request Header Fields Too Large", 501: "Not Implemented",
           502: "Bad Gateway", 503: "Service Unavailable", 505: "HTTP Version Not Supported"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Terms:
    """What all connections share."""

    allowed: Sequence[Allowance]
    idle: float
    record: Record
    meter: Meter = field(default_factory=NoMeter)
    resolve: Resolve = system_resolve
    injector: Injector | None = None
    buffers: Buffers = field(default_factory=Buffers)


class Refused(Exception):
    """The sandbox is told why and the connection ends."""

    def __init__(self, status: int, message: str, where: Target | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.where = where


class Connection:
    """`policy` gives the session's policy as it is now; None while nobody has said what it may reach. `proof` is what
    Proxy-Authorization must say, where more than one sandbox could reach the listener."""

    def __init__(
        self, client: socket.socket, policy: Callable[[], Policy | None], terms: Terms, proof: bytes = b""
    ) -> None:
        self._client = client
        self._policy = policy
        self._terms = terms
        self._proof = proof
        self._talk = Talk(SocketWire(client), h11.SERVER, terms.idle)
        self._began = 0.0
        self._traffic = Traffic()
        self._how = "http"

    async def run(self) -> None:
        """Serve until either end is done. Closes the socket."""
        loop = asyncio.get_running_loop()
        try:
            while (request := await self._talk.request(HEAD_SECONDS)) is not None:
                self._began, self._traffic, self._how = loop.time(), Traffic(), "http"
                if not await self._serve(request):
                    break
        except Refused as refused:
            await self._tell(refused)
        except PriorKnowledge as asked:
            await self._turn_away(asked)
        except Malformed as malformed:
            await self._tell(Refused(malformed.status if malformed.status in REASONS else 400, str(malformed)))
        except Gone:
            pass
        finally:
            self._talk.wire.close()
            self._client.close()

    async def refuse(self, status: int, message: str) -> None:
        """Answer without having read a request."""
        try:
            await self._tell(Refused(status, message))
        finally:
            self._client.close()

    async def _serve(self, request: h11.Request) -> bool:
        """Whether the connection can serve another request."""
        if self._proof and not hmac.compare_digest(value(request.headers, b"proxy-authorization"), self._proof):
            raise Refused(407, "this proxy is not for you")
        if request.method == b"CONNECT":
            self._how = "connect"
            await self._connect(self._read_authority(request))
            return False
        where, path = self._read_absolute(request)
        return await self._forward(request, where, path)

    def _read_authority(self, request: h11.Request) -> Target:
        where = _target(request.target, None)
        named = value(request.headers, b"host")
        if named and _target(named, where.port).host != where.host:
            raise Refused(400, "the Host header names another host than the request", where)
        return where

    def _read_absolute(self, request: h11.Request) -> tuple[Target, bytes]:
        """The target and the path of `GET http://host/path`; the Host header must say the same."""
        try:
            parts = urlsplit(request.target.decode("ascii"))
        except (UnicodeDecodeError, ValueError):
            raise Refused(400, "the request's address can't be read") from None
        if parts.scheme != "http" or not parts.netloc:
            raise Refused(400, "this is a proxy: it takes http:// addresses, and CONNECT for all else")
        where = _target(parts.netloc.encode(), 80)
        if b"#" in request.target or b"\\" in request.target:
            raise Refused(400, "the request's address can't be read", where)
        named = value(request.headers, b"host")
        if named and _target(named, 80) != where:
            raise Refused(400, "the Host header names another host than the request", where)
        rest = request.target.decode("ascii")[len("http://") + len(parts.netloc) :]
        path = rest if rest.startswith("/") else "/" + rest
        return where, path.encode()

    def _judge(self, where: Target, *, connecting: bool = False) -> Policy:
        policy = self._policy()
        if policy is None:
            raise Refused(503, "what this session may reach is not known yet; it is again with its next command", where)
        reason = policy.connect_refusal(where) if connecting else policy.refusal(where)
        if reason is not None:
            raise Refused(403, reason, where)
        return policy

    async def _reach(self, where: Target) -> socket.socket:
        try:
            return await connected(where, self._terms.allowed, self._terms.resolve)
        except Unreachable as problem:
            raise Refused(403 if problem.denied else 502, str(problem), where) from problem

    async def _connect(self, where: Target) -> None:
        injector = self._terms.injector
        policy = self._judge(where, connecting=injector is not None)
        if isinstance(await self._talk.event(HEAD_SECONDS), h11.EndOfMessage):
            if injector is not None and policy.opens(where):
                await self._open_up(where, policy, injector)
            else:
                await self._tunnel(where, policy, await self._reach(where))

    async def _open_up(self, where: Target, policy: Policy, injector: Injector) -> None:
        """The host has a credential: TLS ends here. What is no TLS is tunnelled as ever, and gets no secret."""
        outside = await self._reach(where)
        if self._talk.state.trailing_data[0]:
            outside.close()
            raise Refused(400, "bytes for the tunnel came before it was open", where)
        await self._talk.wire.write(ESTABLISHED, WRITE_SECONDS)
        if not await begins_tls(self._client):
            if policy.refusal(where) is None:
                await self._tunnel(where, policy, outside, established=True)
            outside.close()
            return
        self._how = "terminated"
        upstream: Talk | None = None
        try:
            wire = await serve_tls(self._client, injector.authority.context(where.host))
            self._talk = Talk(wire, h11.SERVER, self._terms.idle)
            upstream = Talk(await reach_tls(outside, where.host, injector.upstream), h11.CLIENT, self._terms.idle)
            await self._serve_inside(where, upstream, injector)
        except Unacceptable as problem:
            raise Refused(problem.status, str(problem), where) from problem
        finally:
            if upstream is not None:
                upstream.wire.close()
            outside.close()

    async def _serve_inside(self, where: Target, upstream: Talk, injector: Injector) -> None:
        loop = asyncio.get_running_loop()
        while (request := await self._talk.request(self._terms.idle)) is not None:
            self._began, self._traffic = loop.time(), Traffic()
            policy = self._judge_inside(where, request)
            lasts = await Exchange(self._talk, upstream, where, self._traffic).run(request, policy, injector)
            self._note(policy, where, "allowed")
            if not lasts:
                return

    def _judge_inside(self, where: Target, request: h11.Request) -> Policy:
        """What the environment does not let in may be a request to a repository of the session."""
        policy = self._policy()
        if policy is not None and policy.used_by(where, request.method, request.target) is not None:
            return policy
        return self._judge(where)

    async def _tunnel(
        self, where: Target, policy: Policy, outside: socket.socket, *, established: bool = False
    ) -> None:
        try:
            if not established:
                await self._talk.wire.write(ESTABLISHED, WRITE_SECONDS)
            early = self._talk.state.trailing_data[0]
            if early:
                await SocketWire(outside).write(early, WRITE_SECONDS)
                self._traffic.sent += len(early)
            await Tunnel(self._client, outside, self._traffic, self._terms.idle, self._terms.buffers).run()
        finally:
            outside.close()
            self._note(policy, where, "allowed")

    async def _forward(self, request: h11.Request, where: Target, path: bytes) -> bool:
        policy = self._judge(where)
        outside = await self._reach(where)
        upstream = Talk(SocketWire(outside), h11.CLIENT, self._terms.idle)
        headers = [*onward(request.headers), (b"connection", b"close")]
        if not value(request.headers, b"host"):
            headers.insert(0, (b"host", str(where).encode()))
        try:
            chunked = bool(value(request.headers, b"transfer-encoding"))
            lasts = await exchange(
                self._talk, request, upstream, path, headers, chunked=chunked,
                outward=self._count_sent, inward=self._count_received,
            )  # fmt: skip
        except Gone as gone:
            if self._talk.unanswered():
                raise Refused(502, f"{where} broke off: {gone}", where) from gone
            raise
        finally:
            outside.close()
            self._note(policy, where, "allowed")
        return lasts and self._talk.again()

    def _count_sent(self, data: bytes, _last: bool) -> bytes:
        self._traffic.sent += len(data)
        return data

    def _count_received(self, data: bytes, _last: bool) -> bytes:
        self._traffic.received += len(data)
        return data

    async def _tell(self, refused: Refused) -> None:
        reason = str(refused)
        where = f" to {refused.where}" if refused.where is not None else ""
        verdict = "failed" if refused.status in (502, 503) else "refused"
        self._note(self._policy(), refused.where, verdict, reason)
        body = f"Outrider's egress proxy {verdict} this request{where}: {reason}.\n".encode("ascii", "replace")
        head = (
            f"HTTP/1.1 {refused.status} {REASONS[refused.status]}: {_one_line(reason)}\r\n"
            f"content-type: text/plain\r\ncontent-length: {len(body)}\r\n"
            f"x-outrider-egress: {verdict}\r\nconnection: close\r\n\r\n"
        )
        try:
            if not self._talk.unanswered():
                return  # an answer has begun: the end of the connection is all that can still be said
            await self._talk.wire.write(head.encode("ascii", "replace") + body, WRITE_SECONDS)
            if self._how != "terminated":
                self._client.shutdown(socket.SHUT_WR)
            await self._talk.wire.read(1.0)  # what still comes would turn the answer into a reset
        except (Gone, OSError):
            pass

    async def _turn_away(self, asked: PriorKnowledge) -> None:
        """Tell a client that speaks HTTP/2 in its own words to use HTTP/1.1."""
        self._note(self._policy(), None, "refused", str(asked))
        with contextlib.suppress(Gone):
            await self._talk.wire.write(GO_AWAY, WRITE_SECONDS)
            await self._talk.wire.read(1.0)

    def _note(self, policy: Policy | None, where: Target | None, verdict: str, reason: str = "") -> None:
        meter, traffic = self._terms.meter, self._traffic
        meter.add(metrics.EGRESS_REQUESTS, self._how, verdict)
        meter.add(metrics.EGRESS_BYTES, "sent", by=traffic.sent)
        meter.add(metrics.EGRESS_BYTES, "received", by=traffic.received)
        self._terms.record.note(
            Entry(
                session="" if policy is None else policy.session,
                epoch=0 if policy is None else policy.epoch,
                workspace="" if policy is None else policy.workspace,
                host="" if where is None else where.host,
                port=0 if where is None else where.port,
                how=self._how,
                verdict=verdict,
                reason=reason,
                sent=traffic.sent,
                received=traffic.received,
                seconds=round(asyncio.get_running_loop().time() - self._began, 3) if self._began else 0.0,
            )
        )


def _target(authority: bytes, default_port: int | None) -> Target:
    try:
        return target(authority, default_port)
    except BadTarget as bad:
        _refuse(bad)


def _refuse(bad: BadTarget) -> NoReturn:
    raise Refused(400, str(bad)) from bad


def _one_line(text: str) -> str:
    return "".join(letter if 32 <= ord(letter) < 127 else "?" for letter in text)[:200]
