"""Who may come in at the vault's sockets, and what each role may ask: by the kernel's word, or by a certificate.

A harness uses credentials in the name of sessions; it neither hands secrets in nor says what a session has declared.
An API does both, and uses none.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Collection
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from outrider.errors import PeerRefused, PermissionDenied
from outrider.links.declarations import SESSIONS
from outrider.links.peers import check_role
from outrider.links.refusals import REFUSAL_HEADER
from outrider.links.secrets import SECRETS
from outrider.proxy.gate import answer
from outrider.wire.envelope import error_bytes

FOR_API_ALONE = frozenset(
    {f"{SECRETS}put", f"{SECRETS}patch", f"{SECRETS}validate", f"{SECRETS}send", f"{SESSIONS}declare"}
)
FOR_BOTH = "/healthz"
_PEER = struct.Struct("iII")

log = logging.getLogger("outrider.vault")


def may(roles: Collection[str], path: str) -> bool:
    """Whether a peer with these roles may ask for this path."""
    if path == FOR_BOTH:
        return True
    as_api = path.startswith((SECRETS, SESSIONS))
    as_harness = path not in FOR_API_ALONE
    return ("api" in roles and as_api) or ("harness" in roles and as_harness)


def protocol_for(peer: int, roles: Collection[str]) -> type[HttpToolsProtocol]:
    """An HTTP protocol that hangs up on every process that is not user `peer`'s or root's, by the kernel's word. That
    user's process has `roles`."""

    class Guarded(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            found = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            if _PEER.unpack(found)[1] not in (peer, 0):
                transport.abort()
            self.app = _within(roles, self.app)

    return Guarded


def protocol_for_peers() -> type[HttpToolsProtocol]:
    """An HTTP protocol over TLS whose requests are answered by what the client's certificate allows."""

    class Verified(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            try:
                peer = check_role(transport.get_extra_info("ssl_object"), ("api", "harness"), str(self.client))
                self.app = _within(peer.roles, self.app)
            except PeerRefused as refused:
                log.warning("refused: %s", refused.message)
                self.app = _refusing(refused)

    return Verified


def _within(roles: Collection[str], app: ASGIApp) -> ASGIApp:
    named = " and ".join(sorted(set(roles) & {"api", "harness"}))

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        refuse = None if may(roles, path) else _refusing(PeerRefused(f"The role {named} may not ask for {path}."))
        await (refuse or app)(scope, receive, send)

    return serve


def _refusing(refused: PeerRefused) -> ASGIApp:
    error = PermissionDenied(refused.message)

    async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
        await answer(send, error.status, error_bytes(error, "peer"), (REFUSAL_HEADER.encode(), b"peer"))

    return refuse
