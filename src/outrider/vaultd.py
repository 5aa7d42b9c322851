"""Composition root of the vault process: the only one that holds keys. Serves one unix socket to one user.

Takes its keys from a memory file, after it has made itself unreadable. Writes nothing to disk yet.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import time
from collections.abc import Sequence

import httpx2
import uvicorn
import uvloop

from outrider.clock import SystemClock
from outrider.config import Settings
from outrider.endpoints import Endpoints
from outrider.ids import MonotonicIds
from outrider.ports import metrics
from outrider.proxy import gate
from outrider.proxy.model import ModelProxy, Upstream
from outrider.telemetry.prometheus import PrometheusMeter
from outrider.vault import keyring, process
from outrider.vault.capabilities import Capabilities

DRAIN_SECONDS = 5
GC_THRESHOLDS = (20_000, 20, 20)  # as in the server: collections in the middle of a stream cost milliseconds
KEEP_ALIVE_SECONDS = 300


def main(
    settings: Settings,
    secrets: int,
    listener: socket.socket,
    *,
    endpoints: Endpoints,
    peer: int,
) -> None:
    """Serve until SIGTERM. `secrets` is the memory file's descriptor, `peer` the uid that may connect."""
    process.seal()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # an answer left unfinished on purpose is no error
    keys = keyring.take(secrets)
    upstreams = [Upstream(one.name, one.base_url, one.auth, keys.reveal(one.secret)) for one in endpoints.all]
    uvloop.run(serve(upstreams, listener, peer=peer, idle_seconds=settings.limits.model_idle_timeout))


async def serve(
    upstreams: Sequence[Upstream], listener: socket.socket, *, peer: int, idle_seconds: float = 300.0
) -> None:
    """The vault with these upstreams on a listening unix socket."""
    context = httpx2.create_ssl_context()
    models = {upstream.name: ModelProxy(upstream, context, idle_seconds) for upstream in upstreams}
    capabilities = Capabilities(os.urandom(32), SystemClock().monotonic, frozenset(models))
    meter = PrometheusMeter(metrics.VAULT)
    meter.set(metrics.VAULT_STARTED, time.time())
    config = uvicorn.Config(
        gate.app(capabilities, models, MonotonicIds(), meter=meter, scrape=meter.text),
        http=gate.protocol_for(peer),
        loop="uvloop",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    try:
        await uvicorn.Server(config).serve(sockets=[listener])
    finally:
        await asyncio.gather(*(model.close() for model in models.values()))
