"""The vault's front: checks each request's capability, then hands it to the proxy that it names.

Owns the vault's routes and refusals. A refusal of its own carries a header, so that callers can tell it from an
upstream's answer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outrider import faults
from outrider.endpoints import CAPABILITY_HEADER
from outrider.errors import (
    AuthenticationFailed,
    Conflict,
    InvalidRequest,
    NotDeclared,
    NotFound,
    OutriderError,
    RequestTooLarge,
    UpstreamUnreachable,
)
from outrider.ids import IdSource
from outrider.links.egress import PATH as EGRESS_PATH
from outrider.links.refusals import REFUSAL_HEADER, REFUSED_CAPABILITY, REFUSED_DECLARATION, REFUSED_EPOCH
from outrider.links.repositories import PATH as READ_PATH
from outrider.links.vault import CapabilityAnswer, CapabilityRequest, read_claim
from outrider.ports import metrics
from outrider.ports.egress import EgressClaim
from outrider.ports.repositories import Reading, ReadRequest
from outrider.ports.telemetry import Meter, NoMeter
from outrider.proxy.model import ModelProxy
from outrider.vault.capabilities import LIFETIME, Capabilities
from outrider.wire.envelope import error_bytes

Desk = Callable[[str, bytes], Awaitable[bytes]]
"""Answers one of our own small requests: the rest of its path, its body. Raises OutriderError."""
Ask = Callable[[str, bytes, Receive], Awaitable[bytes]]
"""Answers a request that ends with its connection: its path, its body, what says that the caller has left."""
Settle = Callable[[EgressClaim], Awaitable[None]]

LONGEST_ASK = 64 * 1024
LONGEST_SECRET = 1024 * 1024
LONGEST_CALL = 32 * 1024 * 1024  # as long as an event, and so a model's answer, may be
MCP = "/mcp/"

_MODEL = re.compile(r"/model/([^/]+)/(.+)")
_HEADER = CAPABILITY_HEADER.encode()

log = logging.getLogger("outrider.vault")


def app(
    capabilities: Capabilities,
    models: Mapping[str, ModelProxy],
    ids: IdSource,
    *,
    desks: Mapping[str, Desk],
    meter: Meter | None = None,
    scrape: Callable[[], bytes] | None = None,
    egress: Settle | None = None,
    read: Callable[[ReadRequest], Awaitable[Reading]] | None = None,
    mcp: Ask | None = None,
) -> ASGIApp:
    """POST /capabilities, /egress, /repositories/read, /mcp/..., /model/{endpoint}/v1/... and what begins like one of
    `desks`, GET /healthz, /metrics (from `scrape`)."""
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
            else:
                capabilities.check(presented, endpoint)
            faults.point("vault.forward.before")
            await _counted(told, endpoint, models[endpoint], path, scope, receive, send)
            faults.point("vault.forward.after")
        elif read is not None and scope["path"] == READ_PATH and scope["method"] == "POST":
            asked = _read_request(await _whole_body(receive))
            capabilities.see(asked.session, asked.epoch)
            await answer(send, 200, msgspec.json.encode(await read(asked)))
        elif scope["path"].startswith(MCP) and scope["method"] == "POST" and mcp is not None:
            body = await _whole_body(receive, LONGEST_CALL)
            await answer(send, 200, await mcp(scope["path"], body, receive))
        else:
            await answer(send, 200, await _asked(scope, receive, capabilities, desks, scrape, egress))

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await route(scope, receive, send)
        except OutriderError as error:
            log.warning("%s: %s", type(error).__name__, error.message)
            reason = _refusal(error)
            if reason != b"upstream":
                told.add(metrics.VAULT_REFUSALS, reason.decode())
            refusal = (REFUSAL_HEADER.encode(), reason)
            await answer(send, error.status, error_bytes(error, ids.new("req")), refusal)

    return serve


async def _asked(
    scope: Scope,
    receive: Receive,
    capabilities: Capabilities,
    desks: Mapping[str, Desk],
    scrape: Callable[[], bytes] | None,
    egress: Settle | None,
) -> bytes:
    """The answer to one of our own small requests."""
    path, method = scope["path"], scope["method"]
    if path == "/capabilities" and method == "POST":
        return _mint(capabilities, await _whole_body(receive))
    desk = next((begin for begin in desks if path.startswith(begin)), None)
    if desk is not None and method == "POST":
        return await desks[desk](path.removeprefix(desk), await _whole_body(receive, LONGEST_SECRET))
    if path == EGRESS_PATH and method == "POST" and egress is not None:
        claim = _egress_claim(await _whole_body(receive))
        capabilities.see(claim.session, claim.epoch)
        await egress(claim)
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
    if isinstance(error, NotDeclared):
        return REFUSED_DECLARATION.encode()
    return b"upstream" if isinstance(error, UpstreamUnreachable) else b"other"


def _mint(capabilities: Capabilities, body: bytes) -> bytes:
    try:
        asked = msgspec.json.decode(body, type=CapabilityRequest)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"Not a request for a capability: {error}") from error
    token = capabilities.mint(asked.session, asked.epoch, tuple(asked.upstreams))
    return msgspec.json.encode(CapabilityAnswer(token, LIFETIME))


def _read_request(body: bytes) -> ReadRequest:
    try:
        return msgspec.json.decode(body, type=ReadRequest)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"Not a request to read a repository: {error}") from error


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


async def answer(send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
