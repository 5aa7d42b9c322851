"""Composition root of the api+harness process: builds every object, wires them, owns start and stop.

It never names the vault or its proxies; secrets are out of this process's reach by construction.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
import uvloop
from starlette.applications import Starlette

from outrider import hands
from outrider.api.app import create_app
from outrider.api.health import Check, Readiness, routes
from outrider.api.operator import create_operator_app
from outrider.api.services import Services
from outrider.api.sweep import Sweep
from outrider.clock import SystemClock, rfc3339
from outrider.config import Settings
from outrider.doorbell.local import LocalDoorbell
from outrider.doorbell.opening import make_exchange
from outrider.doorbell.ring_only import RingOnly
from outrider.endpoints import Endpoints
from outrider.errors import OutriderError
from outrider.hands import AnySandboxes
from outrider.harness.loop import Hands
from outrider.harness.worker import NODE_ENDS, Worker
from outrider.ids import MonotonicIds
from outrider.links import peers as links
from outrider.links.peers import Identity
from outrider.links.secrets import SecretsLink
from outrider.links.vault import BASE_URL, VaultLink
from outrider.models.client import AnthropicModel
from outrider.ports import metrics
from outrider.ports.doorbell import Exchange
from outrider.ports.log import Row, SessionKey
from outrider.ports.model import ModelCall
from outrider.ports.records import ApiKey
from outrider.ports.telemetry import Meter
from outrider.sandbox.placed import PlacedSandboxes
from outrider.session.events import EventFactory
from outrider.session.feed import Feed
from outrider.store.opening import Store, Stores, open_stores
from outrider.store.upkeep import Upkeep
from outrider.telemetry.prometheus import CONTENT_TYPE
from outrider.telemetry.watch import Gauges, Watch
from outrider.wire.requests import compile_all

HOUSEKEEPING_SECONDS = 60.0
ANSWERS_KEPT = timedelta(hours=24)
DRAIN_SECONDS = 5
GC_THRESHOLDS = (20_000, 20, 20)  # what was imported is never garbage; the rest mostly goes without the collector
SWITCH_SECONDS = 0.0005  # the store's threads must get their turn beside a busy event loop
CONNECT_SECONDS = 10.0
WRITE_SECONDS = 60.0

log = logging.getLogger("outrider.server")

Scrape = Callable[[], Awaitable[bytes]]
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
    uvloop.run(_serve(settings, listener, endpoints, key_digest, credentials or {}, metrics, identity))


async def _serve(
    settings: Settings,
    listener: socket.socket,
    endpoints: Endpoints,
    key_digest: str,
    credentials: Mapping[str, str],
    operator: socket.socket | None,
    identity: Identity | None,
) -> None:
    async with _wired(settings, endpoints, key_digest, credentials, identity) as (services, worker, readiness, scrape):
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


@asynccontextmanager
async def _wired(
    settings: Settings,
    endpoints: Endpoints,
    key_digest: str,
    credentials: Mapping[str, str],
    identity: Identity | None,
) -> AsyncGenerator[tuple[Services, Worker | None, Readiness, Scrape]]:
    watch = Watch(settings, "server")
    clock, ids, telemetry = SystemClock(), MonotonicIds(), watch.telemetry
    feeds: list[Feed] = []

    def on_commit(key: SessionKey, rows: list[Row]) -> None:
        feeds[0].publish(key, rows)
        watch.on_rows(key, rows)

    stores = await open_stores(settings, credentials, on_commit=on_commit, on_batch=watch.on_batch)
    store, blobs = stores.whole, stores.blobs
    exchange, limits = make_exchange(settings, credentials, stores.rows.writer), settings.limits
    feed = Feed(
        store,
        clock,
        ids,
        _framer(settings.sse_event_names),
        replay_window=limits.replay_window,
        heartbeat=limits.heartbeat,
        exchange=exchange,
    )
    feeds.append(feed)
    if "api" in settings.roles:
        await _ensure_key(store, ids, clock, key_digest)
    room, dispatch = _room_gauge(settings), RingOnly(exchange or LocalDoorbell())
    workers: list[Worker] = []
    needed, told, gauges = _checks(store, room), dict[str, Check](), _gauges(store, feed)
    forget, probe, vault_metrics, reaches = hands.left_to_harnesses, hands.elsewhere, _no_metrics, hands.reaching(store)
    secrets, hang_up = hands.api_secrets(settings, identity)
    async with contextlib.AsyncExitStack() as stack:
        for close in (watch.close, blobs.close, store.close, hang_up):
            stack.push_async_callback(close)
        await stack.enter_async_context(_hearing(exchange, feed))
        if "harness" in settings.roles:
            sandboxes = hands.sandboxes(settings, identity, store, workers, telemetry.meter)
            vault = hands.vault(settings, identity)
            model = AnthropicModel(BASE_URL, _model_http(vault, settings), capability=_capability(vault))
            for part in (sandboxes, vault, model):
                stack.push_async_callback(part.close)
            work = Hands(
                *(store, feed, model, endpoints, sandboxes, limits, ids, clock, telemetry),
                *(vault.egress, hands.whereabouts(sandboxes)),
            )
            dispatch = worker = Worker(work, feed, exchange or LocalDoorbell(), _worker_id(settings.data))
            workers.append(worker)
            forget, probe, reaches = hands.forgetting(sandboxes), sandboxes.probe, hands.reaching(store, sandboxes)
            needed["vault"], told["sandbox"], secrets = vault.answers, _able(sandboxes), SecretsLink(vault.asks())
            gauges, vault_metrics = {**gauges, **_harness_gauges(worker, sandboxes)}, vault.metrics
            delete = _deleter(stores, feed, ids, clock, forget)
            upkeep = Upkeep(stores.rows, stores.blobs, stores.freezer, settings.retention, clock, delete)
            await stack.enter_async_context(worker.working())
            if isinstance(sandboxes, PlacedSandboxes):
                await stack.enter_async_context(_going_on(sandboxes.keep_all(worker.driving)))
            await stack.enter_async_context(
                _going_on(_housekeeping(store, sandboxes, upkeep, telemetry.meter, Sweep(store, secrets, clock)))
            )
        yield (
            Services(
                settings,
                store,
                store,
                store,
                secrets,
                store,
                feed,
                dispatch,
                endpoints,
                ids,
                clock,
                forget,
                room,
                probe,
                telemetry,
                reaches,
            ),
            next(iter(workers), None),
            Readiness(needed, told),
            lambda: watch.scrape(gauges, vault_metrics),
        )


def _worker_id(data: Path) -> str:
    return f"{hands.node(data)}{NODE_ENDS}{os.getpid()}-{os.urandom(4).hex()}"


def _checks(store: Store, room: Callable[[], bool]) -> dict[str, Check]:
    async def readable() -> bool:
        await store.runnable()
        return True

    async def has_room() -> bool:
        return room()

    return {"store": readable, "disk": has_room}


def _able(sandboxes: AnySandboxes) -> Check:
    async def able() -> bool:
        return (await sandboxes.probe()).available

    return able


async def _no_metrics() -> bytes:
    return b""


def _gauges(store: Store, feed: Feed) -> Gauges:
    async def runnable() -> float:
        return await store.runnable()

    async def readers() -> float:
        return feed.readers

    return {metrics.RUNNABLE: runnable, metrics.STREAM_READERS: readers}


def _harness_gauges(worker: Worker, sandboxes: AnySandboxes) -> Gauges:
    async def running() -> float:
        return worker.running

    async def live() -> float:
        return sandboxes.live

    return {metrics.RUNNING: running, metrics.SANDBOXES: live}


def _deleter(
    stores: Stores, feed: Feed, ids: MonotonicIds, clock: SystemClock, forget: Callable[[SessionKey], Awaitable[None]]
) -> Callable[[SessionKey, str], Awaitable[bool]]:
    """Deletes a session as a client would, unless it was changed at or after the time given."""

    async def delete(key: SessionKey, before: str) -> bool:
        counters, record = await stores.rows.counters(key), await stores.rows.session(key)
        if counters is None or record is None or record.updated_at >= before:
            return False
        gone = EventFactory(record.thread, "", ids, clock).public("session.deleted")
        await stores.whole.delete_session(key, if_head=counters.head)
        feed.deleted(key, gone.body)
        await forget(key)
        return True

    return delete


def _model_http(vault: VaultLink, settings: Settings) -> httpx2.AsyncClient:
    """Model requests leave by the vault's socket only."""
    idle = settings.limits.model_idle_timeout
    timeout = httpx2.Timeout(idle, connect=CONNECT_SECONDS, write=WRITE_SECONDS, pool=CONNECT_SECONDS)
    return httpx2.AsyncClient(transport=vault.transport(), timeout=timeout, trust_env=False)


def _capability(vault: VaultLink) -> Callable[[ModelCall], Awaitable[str]]:
    async def capability(call: ModelCall) -> str:
        return vault.presented(call.session, call.epoch, call.endpoint)

    return capability


async def _say_if_unable(sandboxes: AnySandboxes) -> None:
    """One line for the operator; agents learn it at their first tool call."""
    able = await sandboxes.probe()
    if not able.available:
        log.warning("tools will refuse: no sandbox can be made here: %s; to mend it: %s", able.problem, able.fix)


@asynccontextmanager
async def _hearing(exchange: Exchange | None, feed: Feed) -> AsyncGenerator[None]:
    """Where processes share a store: hear of the others, and look into the log for what was not heard."""
    if exchange is None:
        yield
    else:
        async with exchange.opened(feed), feed.looking():
            yield


def _framer(names: str) -> Callable[[str, bytes], bytes]:
    """Server-sent event bytes: named by type, or all `message` for clients that know only that name."""

    def by_type(kind: str, body: bytes) -> bytes:
        return b"event: " + kind.encode() + b"\ndata: " + body + b"\n\n"

    def as_message(_kind: str, body: bytes) -> bytes:
        return b"event: message\ndata: " + body + b"\n\n"

    return by_type if names == "type" else as_message


async def _ensure_key(store: Store, ids: MonotonicIds, clock: SystemClock, digest: str) -> None:
    if await store.key_by_digest(digest) is None:
        key = ApiKey(ids.new("key"), store.default_workspace, digest, "first key", clock.now())
        await store.put_key(key)


def _room_gauge(settings: Settings) -> Callable[[], bool]:
    """Whether the log's file system has its reserve left, below which nothing new is taken on."""

    def has_room() -> bool:
        usage = shutil.disk_usage(settings.data)
        return usage.free > settings.limits.log_reserve_bytes

    return has_room


def _tell_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a loop has stopped until the next start", exc_info=error)


async def _housekeeping(store: Store, sandboxes: AnySandboxes, upkeep: Upkeep, meter: Meter, sweep: Sweep) -> None:
    """Each minute: erase what sandboxes of deleted sessions left and secrets that no credential has, forget old
    answers, and the store's own upkeep."""
    await _say_if_unable(sandboxes)
    while True:
        try:
            await store.forget_answers(rfc3339(datetime.now(UTC) - ANSWERS_KEPT))
            await sandboxes.sweep(await store.session_ids())
            await upkeep.when_due()
            await sweep.run()
        except OutriderError as error:
            meter.add(metrics.HOUSEKEEPING_FAILURES)
            log.warning("housekeeping: %s", error.message)
        await asyncio.sleep(HOUSEKEEPING_SECONDS)


@asynccontextmanager
async def _going_on(loop: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """A loop for as long as the block runs."""
    task = asyncio.create_task(loop)
    task.add_done_callback(_tell_if_failed)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
