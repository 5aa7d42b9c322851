"""Composition root of a sandbox host's process: serves this machine's sandboxes to harnesses elsewhere.

Holds no database's address, no key but its own certificate's, and no session's log. When it dies, calls go on.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import uvloop

from outrider.config import Settings
from outrider.links import peers
from outrider.links.peers import Identity
from outrider.links.sandbox_server import SandboxServer
from outrider.links.ways import Forwarder
from outrider.sandbox.driver import BubblewrapSandboxes

log = logging.getLogger("outrider.sandbox")


def main(settings: Settings, listener: socket.socket, *, peers: int, egress: socket.socket | None = None) -> None:
    """Serve until SIGTERM. `peers` is the descriptor of the memory file with our certificate. The ways out that come in
    at `egress` are passed on to the vault."""
    uvloop.run(_serve(settings, listener, peers, egress))


async def _serve(settings: Settings, listener: socket.socket, fd: int, egress: socket.socket | None) -> None:
    identity = peers.unpack(fd)
    context = peers.server_context(identity)
    sandboxes = BubblewrapSandboxes(
        settings.sandboxes,
        settings.zygote_socket,
        settings.sandbox_run,
        settings.limits,
        build_seconds=settings.packages.build_timeout,
    )
    lease = settings.sandbox_lease if settings.shared_workspaces else 0.0
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with SandboxServer(sandboxes, lease).serving(listener, context), _passing_on(settings, identity, egress):
        able = await sandboxes.probe()
        if not able.available:
            log.warning("no sandbox can be made here: %s; to mend it: %s", able.problem, able.fix)
        await stopped.wait()
    await sandboxes.close()


@asynccontextmanager
async def _passing_on(settings: Settings, identity: Identity, egress: socket.socket | None) -> AsyncGenerator[None]:
    if egress is None or settings.egress.url is None:
        yield
        return
    where = peers.address(settings.egress.url, "egress.url")
    sessions = settings.sandboxes / "sessions"
    async with Forwarder(sessions, where, peers.client_context(identity), settings.egress.connections).open(egress):
        yield
