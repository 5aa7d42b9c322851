"""Composition root of the vault process: the only one that holds keys. Serves a unix socket to one user,
and harnesses elsewhere over mutual TLS.

Takes its keys from a memory file, after it has made itself unreadable. Writes to its own directory only.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from outrider.clock import Clock, SystemClock
from outrider.config import McpSettings, Settings, WebhookSettings
from outrider.endpoints import VAULT_KEY, VAULT_TOKEN, Endpoints
from outrider.errors import OutriderError
from outrider.ids import MonotonicIds
from outrider.links import peers as links
from outrider.links.declarations import SESSIONS
from outrider.links.egress import RECORD
from outrider.links.secrets import SECRETS
from outrider.ports import metrics
from outrider.ports.telemetry import Meter
from outrider.proxy import entrance, gate
from outrider.proxy.credentials import Credentials
from outrider.proxy.declared import Declared
from outrider.proxy.desk import Desk
from outrider.proxy.egress.room import Room, serving, watching
from outrider.proxy.git.mirror import Mirrors
from outrider.proxy.git.room import looking
from outrider.proxy.mcp.connector import Connector
from outrider.proxy.mcp.front import Front
from outrider.proxy.model import ModelProxy, Upstream
from outrider.proxy.outside import Outside
from outrider.proxy.webhooks import Webhooks
from outrider.telemetry.prometheus import PrometheusMeter
from outrider.vault import keyring, process
from outrider.vault.audit import Audit
from outrider.vault.capabilities import Capabilities
from outrider.vault.declarations import Declarations
from outrider.vault.epochs import Epochs
from outrider.vault.keys import KeySources
from outrider.vault.secrets import SecretStore
from outrider.vault.transit import TransitKey

DRAIN_SECONDS = 5
REFUSED = 2  # an exit code: the supervisor does not try again
GC_THRESHOLDS = (20_000, 20, 20)  # as in the server: collections in the middle of a stream cost milliseconds
KEEP_ALIVE_SECONDS = 300

log = logging.getLogger("outrider.vault")


def main(
    settings: Settings,
    secrets: int,
    listener: socket.socket | None,
    *,
    endpoints: Endpoints,
    peer: int,
    remote: socket.socket | None = None,
    peers: int | None = None,
    egress: socket.socket | None = None,
    far_egress: socket.socket | None = None,
) -> None:
    """Serve until SIGTERM. `secrets` is the memory file's descriptor, `peer` the uid that may connect to `listener`;
    over `remote` come those whose certificate (ours is in the memory file `peers`) says that they are harnesses.
    The ways out of this machine's sandboxes come in at `egress`, those of sandbox hosts elsewhere at `far_egress`."""
    context = None if peers is None else links.server_context(links.unpack(peers))
    if not process.seal():
        log.info("memory is not kept out of swap: the limit on locked memory (RLIMIT_MEMLOCK) is not lifted")
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # an answer left unfinished on purpose is no error
    keys = keyring.take(secrets)
    held = _open(settings, keys)
    upstreams = [Upstream(one.name, one.base_url, one.auth, keys.reveal(one.secret)) for one in endpoints.all]
    doors: list[Door] = []
    if listener is not None:
        doors.append(Door(listener, entrance.protocol_for(peer, settings.roles)))
    if remote is not None:
        doors.append(Door(remote, entrance.protocol_for_peers(), context))
    audit = Audit(settings.vault_data, SystemClock())
    epochs = Epochs(settings.vault_data)
    far = None if far_egress is None or context is None else (far_egress, context)
    ways = Ways(settings, egress, far) if egress is not None or far is not None else None
    idle, mirrors = settings.limits.model_idle_timeout, partial(looking, settings)
    work = serve(
        *(upstreams, doors, held, audit, epochs),
        idle_seconds=idle,
        ways=ways,
        mirrors=mirrors,
        mcp=settings.mcp,
        webhooks=settings.webhooks,
    )
    uvloop.run(work)


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket, who may come in by it, and for TLS its context."""

    listener: socket.socket
    protocol: type[HttpToolsProtocol]
    context: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Ways:
    """Where the sandboxes' ways out come in."""

    settings: Settings
    listener: socket.socket | None
    far: tuple[socket.socket, ssl.SSLContext] | None

    def served(self, meter: Meter, credentials: Credentials) -> AbstractAsyncContextManager[Room]:
        return serving(self.settings, self.listener, self.far, meter, SystemClock(), credentials)


def watch(settings: Settings, listener: socket.socket, sandboxes: Path, place: Path, sessions: Sequence[str]) -> None:
    """An egress proxy alone, without keys or secrets, until SIGTERM: these sessions, whose directories lie in
    `sandboxes`, reach what the operator's address rules let in, and what they asked is written to `place`."""

    async def serve() -> None:
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        async with watching(settings, listener, sandboxes, place, sessions):
            await told.wait()

    uvloop.run(serve())


class _Server(uvicorn.Server):
    """Leaves signals to us: there may be two."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def key_sources(settings: Settings, keys: keyring.Keyring) -> KeySources:
    """Where the key of the stored secrets is, by the settings and what the environment gave."""
    told, outside = settings.vault, None
    if told.transit_url:
        token = keys.get(f"env:{VAULT_TOKEN}")
        outside = TransitKey(
            told.transit_url.rstrip("/"), told.transit_mount, told.transit_key, token, told.transit_namespace
        )
    return KeySources(settings.vault_key_file, keys.get(f"env:{VAULT_KEY}"), outside)


def _open(settings: Settings, keys: keyring.Keyring) -> SecretStore:
    """The stored secrets; without the keys that they need this process refuses to start, and touches nothing."""
    try:
        return SecretStore.open(settings.vault_data, key_sources(settings, keys))
    except OutriderError as error:
        log.error("the vault refuses to start: %s", error.message)
        sys.exit(REFUSED)


async def rekey(settings: Settings, keys: Mapping[str, str]) -> int:
    """Wrap the keys of all stored secrets anew, beside a running vault or without one; how many there were."""
    store = SecretStore.open(settings.vault_data, key_sources(settings, keyring.Keyring(keys)))
    try:
        return await store.rekey()
    finally:
        store.close()


async def _finish_rekey(held: SecretStore) -> None:
    """What a killed rekey, or another key in the settings, has left to do."""
    try:
        done = await held.finish()
    except OutriderError as error:
        log.warning("rekey: %s", error.message)
    else:
        if done:
            log.info("rekey: %s secrets are now under key %s", done, held.key_id)


async def serve(
    upstreams: Sequence[Upstream],
    doors: Sequence[Door],
    held: SecretStore,
    audit: Audit,
    epochs: Epochs,
    *,
    idle_seconds: float = 300.0,
    ways: Ways | None = None,
    mirrors: Callable[[Meter, Clock, Credentials], AbstractAsyncContextManager[Mirrors]] | None = None,
    mcp: McpSettings | None = None,
    webhooks: WebhookSettings | None = None,
) -> None:
    """The vault with these upstreams and stored secrets, until SIGTERM."""
    context = httpx2.create_ssl_context()
    models = {upstream.name: ModelProxy(upstream, context, idle_seconds) for upstream in upstreams}
    capabilities = Capabilities(os.urandom(32), SystemClock().monotonic, frozenset(models), epochs)
    told = mcp or McpSettings()
    outside = Outside(context, told.allow_private)
    credentials = Credentials(held, audit, outside, SystemClock())
    rekeying = asyncio.create_task(_finish_rekey(held))
    meter = PrometheusMeter(metrics.VAULT)
    meter.set(metrics.VAULT_STARTED, time.time())
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(held.close)
        stack.callback(audit.close)
        stack.callback(epochs.close)
        stack.push_async_callback(_close, models, rekeying)
        egress, declared = None, Declared(Declarations(held))
        sender = Webhooks(credentials, context, webhooks or WebhookSettings(), SystemClock())
        desks: dict[str, gate.Desk] = {SECRETS: Desk(credentials, outside, sender).answer, SESSIONS: declared.answer}
        if ways is not None:
            room = await stack.enter_async_context(ways.served(meter, credentials))
            egress, desks[RECORD] = declared.bounding(room.settle), room.answer
        read = None
        if mirrors is not None:
            read = declared.reading((await stack.enter_async_context(mirrors(meter, SystemClock(), credentials))).read)
        connector = Connector(credentials, outside, told, SystemClock().monotonic)
        front = Front(await stack.enter_async_context(connector.running()), capabilities, declared.held)
        app = gate.app(
            *(capabilities, models, MonotonicIds()),
            desks=desks,
            meter=meter,
            scrape=meter.text,
            egress=egress,
            read=read,
            mcp=front.answer,
        )
        await _serve_until_told(app, doors)


async def _serve_until_told(app: ASGIApp, doors: Sequence[Door]) -> None:
    servers = [_Server(_config(app, door)) for door in doors]

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await asyncio.gather(*(server.serve(sockets=[door.listener]) for server, door in zip(servers, doors, strict=True)))


async def _close(models: Mapping[str, ModelProxy], rekeying: asyncio.Task[None]) -> None:
    rekeying.cancel()
    await asyncio.gather(rekeying, *(model.close() for model in models.values()), return_exceptions=True)


def _config(app: ASGIApp, door: Door) -> uvicorn.Config:
    context = door.context
    return uvicorn.Config(
        app,
        http=door.protocol,
        loop="uvloop",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )
