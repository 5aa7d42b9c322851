"""Starts the api+harness process and serves until it is told to stop: the listeners, signals, the drain.

Owns no choice of parts; see `wiring`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
import uvloop
from starlette.applications import Starlette

from outrider.api.app import create_app
from outrider.api.health import routes
from outrider.api.operator import create_operator_app
from outrider.config import Settings
from outrider.endpoints import Endpoints
from outrider.errors import UnfitDatabase
from outrider.harness.worker import Worker
from outrider.links import peers as links
from outrider.links.peers import Identity
from outrider.server.wiring import wired
from outrider.session.feed import Feed
from outrider.telemetry.prometheus import CONTENT_TYPE
from outrider.wire.requests import compile_all

log = logging.getLogger("outrider.server")
DRAIN_SECONDS = 5
REFUSED = 2  # an exit code: the supervisor does not try again
GC_THRESHOLDS = (20_000, 20, 20)  # what was imported is never garbage; the rest mostly goes without the collector
SWITCH_SECONDS = 0.0005  # the store's threads must get their turn beside a busy event loop
ASGIApplication = Callable[..., Awaitable[None]]


def main(
    settings: Settings,
    listener: socket.socket,
    *,
    endpoints: Endpoints,
    key_digest: str,
    credentials: Mapping[str, str] | None = None,
    metrics: socket.socket | None = None,
    peers: int | None = None,
) -> None:
    """Serve until SIGTERM. `key_digest` is the SHA-256 (hex) of the first API key; `credentials` are those of the
    infrastructure that this process uses itself, by the names of their variables; `metrics` is the operator's port;
    the memory file `peers` holds our certificate. `settings.roles` says whether this is API, harness or both."""
    compile_all()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    identity = None if peers is None else links.unpack(peers)
    try:
        uvloop.run(_serve(settings, listener, endpoints, key_digest, credentials or {}, metrics, identity))
    except UnfitDatabase as error:
        log.critical("%s", error.message)
        sys.exit(REFUSED)


async def _serve(
    settings: Settings,
    listener: socket.socket,
    endpoints: Endpoints,
    key_digest: str,
    credentials: Mapping[str, str],
    operator: socket.socket | None,
    identity: Identity | None,
) -> None:
    async with wired(settings, endpoints, key_digest, credentials, identity) as (services, worker, readiness, scrape):
        server = _Server(
            _uvicorn(
                create_app(services, readiness) if "api" in settings.roles else Starlette(routes=routes(readiness)),
                timeout_graceful_shutdown=DRAIN_SECONDS,
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            )
        )
        _on_stop_signals(server, services.feed, worker)
        async with _operator_port(operator, create_operator_app(readiness, scrape, CONTENT_TYPE)):
            await server.serve(sockets=[listener])
            if worker is not None:
                await worker.drain()


def _uvicorn(app: ASGIApplication, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        **more,
    )


@asynccontextmanager
async def _operator_port(listener: socket.socket | None, app: ASGIApplication) -> AsyncGenerator[None]:
    """Served until the drain is over, so that it can be watched."""
    if listener is None:
        yield
        return
    server = _Server(_uvicorn(app, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """Leaves signals to us: its own way would end the process before what was opened is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _on_stop_signals(server: uvicorn.Server, feed: Feed, worker: Worker | None) -> None:
    """SIGTERM and SIGINT drain: no new connections or sessions, open streams end at once (their clients connect again,
    to a process that stays), requests and running turns get a moment to finish."""
    loop = asyncio.get_running_loop()
    drains: set[asyncio.Task[None]] = set()

    def stop() -> None:
        server.should_exit = True
        feed.close()
        if worker is not None:
            drains.add(loop.create_task(worker.drain()))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
