"""The vault's front: checks each request's capability, then hands it to the proxy that it names.

Owns the vault's routes and refusals. A refusal of its own carries a header, so that callers can tell it from an
upstream's answer.
"""

from __future__ import annotations

import logging
import re
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from outrider import faults
from outrider.endpoints import CAPABILITY_HEADER
from outrider.errors import (
    AuthenticationFailed,
    Conflict,
    InvalidRequest,
    NotFound,
    OutriderError,
    PeerRefused,
    PermissionDenied,
    RequestTooLarge,
    UpstreamUnreachable,
)
from outrider.ids import IdSource
from outrider.links.egress import PATH as EGRESS_PATH
from outrider.links.peers import check_role
from outrider.links.vault import (
    REFUSAL_HEADER,
    REFUSED_CAPABILITY,
    REFUSED_EPOCH,
    CapabilityAnswer,
    CapabilityRequest,
    read_claim,
)
from outrider.ports import metrics
from outrider.ports.egress import EgressClaim
from outrider.ports.telemetry import Meter, NoMeter
from outrider.proxy.desk import Desk
from outrider.proxy.model import ModelProxy
from outrider.vault.capabilities import LIFETIME, Capabilities
from outrider.wire.envelope import error_bytes

LONGEST_ASK = 64 * 1024
LONGEST_SECRET = 1024 * 1024
SECRETS = "/secrets/"

_MODEL = re.compile(r"/model/([^/]+)/(.+)")
_HEADER = CAPABILITY_HEADER.encode()
_PEER = struct.Struct("iII")

log = logging.getLogger("outrider.vault")


def app(
    capabilities: Capabilities,
    models: Mapping[str, ModelProxy],
    ids: IdSource,
    *,
    desk: Desk,
    meter: Meter | None = None,
    scrape: Callable[[], bytes] | None = None,
    egress: Callable[[EgressClaim], None] | None = None,
) -> ASGIApp:
    """POST /capabilities, /secrets/..., /egress, /model/{endpoint}/v1/..., GET /healthz, /metrics (from `scrape`)."""
    told = meter or NoMeter()

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        found = _MODEL.fullmatch(scope["path"])
        if found is not None:
            endpoint, path = found.groups()
            presented = _presented(scope)
            claim = read_claim(presented)
            if claim is not None:
                faults.point("vault.mint.before")
                presented = capabilities.mint(*claim, (endpoint,))
                faults.point("vault.mint.after")
                send = _with_capability(send, presented)
            capabilities.check(presented, endpoint)
            faults.point("vault.forward.before")
            await _counted(told, endpoint, models[endpoint], path, scope, receive, send)
            faults.point("vault.forward.after")
        else:
            await _answer(send, 200, await _asked(scope, receive, capabilities, desk, scrape, egress))

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await route(scope, receive, send)
        except OutriderError as error:
            log.warning("%s: %s", type(error).__name__, error.message)
            reason = _refusal(error)
            if reason != b"upstream":
                told.add(metrics.VAULT_REFUSALS, reason.decode())
            refusal = (REFUSAL_HEADER.encode(), reason)
            await _answer(send, error.status, error_bytes(error, ids.new("req")), refusal)

    return serve


async def _asked(
    scope: Scope,
    receive: Receive,
    capabilities: Capabilities,
    desk: Desk,
    scrape: Callable[[], bytes] | None,
    egress: Callable[[EgressClaim], None] | None,
) -> bytes:
    """The answer to one of our own small requests."""
    path, method = scope["path"], scope["method"]
    if path == "/capabilities" and method == "POST":
        return _mint(capabilities, await _whole_body(receive))
    if path.startswith(SECRETS) and method == "POST":
        return await desk.answer(path.removeprefix(SECRETS), await _whole_body(receive, LONGEST_SECRET))
    if path == EGRESS_PATH and method == "POST" and egress is not None:
        claim = _egress_claim(await _whole_body(receive))
        capabilities.see(claim.session, claim.epoch)
        egress(claim)
        return b"{}"
    if path == "/healthz":
        return b'{"status":"ok"}'
    if path == "/metrics" and scrape is not None:
        return scrape()
    raise NotFound(f"The vault has no {method} {path}.")


async def _counted(
    meter: Meter, endpoint: str, model: ModelProxy, path: str, scope: Scope, receive: Receive, send: Send
) -> None:
    """Forward, and count by the upstream's name and the status that it answered with."""
    outcome = ["cancelled"]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            outcome[0] = str(message["status"])
        await send(message)

    try:
        await model.forward(path, scope, receive, sending)
    except UpstreamUnreachable:
        outcome[0] = "unreachable"
        raise
    except NotFound:
        outcome[0] = "refused"
        raise
    finally:
        meter.add(metrics.VAULT_REQUESTS, endpoint, outcome[0])


def _with_capability(send: Send, capability: str) -> Send:
    """The answer to a claim brings the capability that was minted for it."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (_HEADER, capability.encode())]}
        await send(message)

    return sending


def _presented(scope: Scope) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER), "")


def _refusal(error: OutriderError) -> bytes:
    if isinstance(error, AuthenticationFailed):
        return REFUSED_CAPABILITY.encode()
    if isinstance(error, Conflict):
        return REFUSED_EPOCH.encode()
    return b"upstream" if isinstance(error, UpstreamUnreachable) else b"other"


def _mint(capabilities: Capabilities, body: bytes) -> bytes:
    try:
        asked = msgspec.json.decode(body, type=CapabilityRequest)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"Not a request for a capability: {error}") from error
    token = capabilities.mint(asked.session, asked.epoch, tuple(asked.upstreams))
    return msgspec.json.encode(CapabilityAnswer(token, LIFETIME))


def _egress_claim(body: bytes) -> EgressClaim:
    try:
        return msgspec.json.decode(body, type=EgressClaim)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"Not a claim to the network: {error}") from error


async def _whole_body(receive: Receive, longest: int = LONGEST_ASK) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > longest:
            raise RequestTooLarge(f"At most {longest} bytes.")
        if not message.get("more_body", False):
            return body


async def _answer(send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def protocol_for(peer: int) -> type[HttpToolsProtocol]:
    """An HTTP protocol that hangs up on every process that is not user `peer`'s or root's, by the kernel's word."""

    class Guarded(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            found = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            if _PEER.unpack(found)[1] not in (peer, 0):
                transport.abort()

    return Guarded


def protocol_for_peers() -> type[HttpToolsProtocol]:
    """An HTTP protocol over TLS whose requests are answered by what the client's certificate allows: everything for
    the role harness, and for the role api only to hand secrets in."""

    class Verified(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            try:
                peer = check_role(transport.get_extra_info("ssl_object"), ("api", "harness"), str(self.client))
                if "harness" not in peer.roles:
                    self.app = _secrets_only(self.app)
            except PeerRefused as refused:
                log.warning("refused: %s", refused.message)
                self.app = _refusing(refused)

    return Verified


def _secrets_only(app: ASGIApp) -> ASGIApp:
    refuse = _refusing(PeerRefused("The role api may hand secrets in, and nothing else."))

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        allowed = scope["path"].startswith(SECRETS) or scope["path"] == "/healthz"
        await (app if allowed else refuse)(scope, receive, send)

    return serve


def _refusing(refused: PeerRefused) -> ASGIApp:
    error = PermissionDenied(refused.message)

    async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
        await _answer(send, error.status, error_bytes(error, "peer"), (REFUSAL_HEADER.encode(), b"peer"))

    return refuse
