"""Builds every object of the api+harness process and wires them; what was opened here is closed here.

It never names the vault or its proxies; secrets are out of this process's reach by construction.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from outrider.api.dreamers import Dreamers
from outrider.api.health import Readiness
from outrider.api.keyring import KeyRing
from outrider.api.lapsing import Lapsing
from outrider.api.leases import Leases, WorkBell
from outrider.api.scheduler import Scheduler
from outrider.api.services import Services, nothing_kept
from outrider.api.sweep import Sweep, Withdrawal
from outrider.clock import SystemClock
from outrider.config import Settings
from outrider.doorbell.local import LocalDoorbell
from outrider.doorbell.opening import make_exchange
from outrider.doorbell.ring_only import RingOnly
from outrider.endpoints import Endpoints
from outrider.harness.enlisting import WorkEnlisting
from outrider.harness.loop import Hands
from outrider.harness.outputs import Outputs
from outrider.harness.showing import NamedFiles
from outrider.harness.uploads import Uploads
from outrider.harness.worker import NODE_ENDS, Worker
from outrider.ids import MonotonicIds
from outrider.links.declarations import DeclarationsLink
from outrider.links.peers import Identity
from outrider.links.secrets import SecretsLink
from outrider.links.vault import BASE_URL, VaultLink
from outrider.models.client import AnthropicModel
from outrider.ports.access import ApiKey
from outrider.ports.doorbell import Exchange
from outrider.ports.model import ModelCall
from outrider.sandbox.placed import PlacedSandboxes
from outrider.server import hands
from outrider.server.delivering import delivering
from outrider.server.erasing import WorkspaceErasure
from outrider.server.forgetting import MemorySweep
from outrider.server.housekeeping import deleter, going_on, housekeeping, parts_of
from outrider.server.telling import Announcer, able, checks, gauges_of, harness_gauges, hearing, no_metrics, room_gauge
from outrider.session.feed import Feed
from outrider.store.opening import Store, open_stores
from outrider.store.upkeep import Upkeep
from outrider.telemetry.watch import Watch

CONNECT_SECONDS = 10.0
WRITE_SECONDS = 60.0
log = logging.getLogger("outrider.server")
Scrape = Callable[[], Awaitable[bytes]]


@asynccontextmanager
async def wired(
    settings: Settings,
    endpoints: Endpoints,
    key_digest: str,
    credentials: Mapping[str, str],
    identity: Identity | None,
) -> AsyncGenerator[tuple[Services, Worker | None, Readiness, Scrape]]:
    watch = Watch(settings, "server")
    clock, ids, telemetry, on_commit = SystemClock(), MonotonicIds(), watch.telemetry, Announcer()
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
    on_commit.hears += [feed.publish, watch.on_rows]
    room, dispatch = room_gauge(settings), RingOnly(exchange or LocalDoorbell())
    workers, bell, doomed = list[Worker](), WorkBell(), asyncio.Event()
    needed, told, gauges = checks(store, room), hearing(settings, exchange), gauges_of(store, feed)
    forget, probe, vault_metrics, reaches = hands.left_to_harnesses, hands.elsewhere, no_metrics, hands.reaching(store)
    (secrets, declarations, hang_up), requests = hands.api_link(settings, identity), nothing_kept
    async with contextlib.AsyncExitStack() as stack:
        for close in (watch.close, blobs.close, store.close, hang_up):
            stack.push_async_callback(close)
        await stack.enter_async_context(_hearing(exchange, feed))
        ring = await stack.enter_async_context(_ring(settings, store, ids, clock, key_digest))
        on_commit.hears.append(
            await stack.enter_async_context(delivering(settings, identity, store, (ids, clock, telemetry.meter)))
        )
        if "harness" in settings.roles:
            vault = hands.vault(settings, identity)
            sandboxes = hands.sandboxes(settings, identity, store, workers, telemetry.meter)
            model = AnthropicModel(BASE_URL, _model_http(vault, settings), capability=_capability(vault))
            connectors = hands.connectors(settings, vault, store)
            for part in (sandboxes, vault, model, connectors):
                stack.push_async_callback(part.close)
            work = Hands(
                *(store, feed, model, endpoints, sandboxes, limits, ids, clock, telemetry),
                *(*hands.outside(settings, vault, store), hands.whereabouts(sandboxes)),
                outputs=Outputs(store, blobs, sandboxes, limits, ids, clock),
                uploads=Uploads(store, store, blobs, sandboxes),
                shows=NamedFiles(store, blobs),
                connectors=connectors,
                memories=store,
                work=WorkEnlisting(store, ids, clock, ttl=limits.work_lease, ring=bell.ring),
            )
            dispatch = worker = Worker(work, feed, exchange or LocalDoorbell(), _worker_id(settings.node_file))
            workers.append(worker)
            forget, reaches = hands.forgetting(sandboxes), hands.reaching(store, sandboxes)
            probe, needed["vault"], told["sandbox"] = sandboxes.probe, vault.answers, able(sandboxes)
            secrets, declarations = SecretsLink(vault.asks()), DeclarationsLink(vault.asks())
            requests = vault.egress.requests
            gauges, vault_metrics = {**gauges, **harness_gauges(worker, sandboxes)}, vault.metrics
            delete = deleter(stores, feed, ids, clock, forget, secrets)
            upkeep = Upkeep(stores.rows, blobs, stores.freezer, settings.retention, clock, delete)
            await stack.enter_async_context(worker.working())
            if isinstance(sandboxes, PlacedSandboxes):
                await stack.enter_async_context(going_on(sandboxes.keep_all(worker.driving)))
            parts = parts_of(
                *(store, sandboxes, upkeep),
                *(Sweep(store, store, store, secrets, clock), Withdrawal(declarations, store)),
                MemorySweep(store, sandboxes, clock),
            )
            await stack.enter_async_context(going_on(housekeeping(sandboxes, parts, telemetry.meter)))
            await stack.enter_async_context(
                going_on(WorkspaceErasure(*(store, blobs, secrets, declarations, clock), delete, doomed).watching())
            )
        yield (
            await stack.enter_async_context(
                _scheduling(
                    Services(
                        settings,
                        *(store, store, store, store, store, store, store, store, store, store),
                        blobs,
                        secrets,
                        declarations,
                        store,
                        feed,
                        dispatch,
                        endpoints,
                        ids,
                        clock,
                        forget,
                        room,
                        probe,
                        ring,
                        store,
                        Leases(clock),
                        telemetry,
                        reaches,
                        driving=workers[0].driving if workers else tuple,
                        requests=requests,
                        erase_soon=doomed.set,
                        bell=bell,
                    )
                )
            ),
            next(iter(workers), None),
            Readiness(needed, told),
            lambda: watch.scrape(gauges, vault_metrics),
        )


@asynccontextmanager
async def _scheduling(services: Services) -> AsyncGenerator[Services]:
    """Deployments fire, and leases of work lapse, in each process with an API; dreams go on in each that reaches
    sandboxes."""
    async with contextlib.AsyncExitStack() as loops:
        if "api" in services.settings.roles:
            await loops.enter_async_context(going_on(Scheduler(services).run()))
            await loops.enter_async_context(going_on(Lapsing(services).run()))
        if "harness" in services.settings.roles:
            await loops.enter_async_context(going_on(Dreamers(services).run()))
        yield services


def _worker_id(node: Path) -> str:
    return f"{hands.node(node)}{NODE_ENDS}{os.getpid()}-{os.urandom(4).hex()}"


@asynccontextmanager
async def _ring(
    settings: Settings, store: Store, ids: MonotonicIds, clock: SystemClock, digest: str
) -> AsyncGenerator[KeyRing]:
    """Keys for an API, which begins with its first one; without an API nobody asks."""
    ring = KeyRing(store, clock)
    if "api" not in settings.roles:
        yield ring
        return
    await _first_key(settings, store, ids, clock, digest)
    async with going_on(ring.watching()):
        yield ring


async def _first_key(settings: Settings, store: Store, ids: MonotonicIds, clock: SystemClock, digest: str) -> None:
    """This server's first key, in place of the one that it was started with before."""
    key = ApiKey(ids.new("apikey"), store.default_workspace, digest, "first key", "admin", clock.now())
    stored = await store.first_key(hands.node(settings.node_file), key)
    if stored.revoked_at is not None:
        log.warning("this server's first API key, %s, was revoked: make others with `outrider keys create`", stored.id)


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


def _model_http(vault: VaultLink, settings: Settings) -> httpx2.AsyncClient:
    """Model requests leave by the vault's socket only."""
    idle = settings.limits.model_idle_timeout
    timeout = httpx2.Timeout(idle, connect=CONNECT_SECONDS, write=WRITE_SECONDS, pool=CONNECT_SECONDS)
    return httpx2.AsyncClient(transport=vault.transport(), timeout=timeout, trust_env=False)


def _capability(vault: VaultLink) -> Callable[[ModelCall], Awaitable[str]]:
    async def capability(call: ModelCall) -> str:
        return vault.presented(call.session, call.epoch, call.endpoint)

    return capability
