"""Runs the scripted model's server: for a test's event loop, or on a socket that the caller owns."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import uvicorn

from outrider.clock import Clock, SystemClock
from outrider.models.scripted.app import ScriptedApp
from outrider.models.scripted.builtin import BUILTIN
from outrider.models.scripted.cache import PromptCache
from outrider.models.scripted.control import Control
from outrider.models.scripted.script import Script
from outrider.models.scripted.validation import known_fields


@dataclass(frozen=True, slots=True)
class ScriptedServer:
    """A running server. `url` is its base URL (empty for a unix socket); `control` is how a test holds it."""

    url: str
    control: Control


def loopback(port: int = 0) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


@asynccontextmanager
async def running(
    script: Script = BUILTIN,
    *,
    listener: socket.socket | None = None,
    key: str | None = None,
    cache_minimum: int = 1024,
    clock: Clock | None = None,
    control_routes: bool = False,
    keep: bool = True,
) -> AsyncGenerator[ScriptedServer]:
    """Serve `script` until the block ends, on a free loopback port unless a bound socket is given (and then closed).

    `keep` says whether requests are kept for `control`; `cache_minimum` is in tokens.
    """
    known_fields()  # now, because it may import the SDK's types for a second
    control = Control(keep=keep)
    cache = PromptCache(clock or SystemClock(), minimum=cache_minimum)
    app = ScriptedApp(script, control, cache, key=key, control_routes=control_routes)
    bound = listener or loopback()
    server = _server(app)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}" if bound.family == socket.AF_INET else ""
    await server.startup(sockets=[bound])
    try:
        yield ScriptedServer(url, control)
    finally:
        control.shut()
        with anyio.CancelScope(shield=True):
            await server.shutdown(sockets=[bound])


async def serve_on(listener: socket.socket, script: Script = BUILTIN) -> None:
    """Serve on a bound socket (TCP or unix) until cancelled, keeping no request."""
    async with running(script, listener=listener, keep=False):
        await anyio.sleep_forever()


def _server(app: ScriptedApp) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server
