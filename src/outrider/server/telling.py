"""What this process tells of itself to those who ask: the parts that /readyz names, and the gauges of its metrics."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from outrider.api.health import Check
from outrider.config import Settings
from outrider.harness.worker import Worker
from outrider.ports import metrics
from outrider.ports.doorbell import Exchange
from outrider.ports.log import Row, SessionKey
from outrider.server.hands import AnySandboxes
from outrider.session.feed import Feed
from outrider.store.opening import Store
from outrider.store.shapes import OnCommit
from outrider.telemetry.watch import Gauges


class Announcer:
    """Told of each commit, it tells all who are to hear of it, in order."""

    def __init__(self) -> None:
        self.hears: list[OnCommit] = []

    def __call__(self, key: SessionKey, rows: list[Row]) -> None:
        for hear in self.hears:
            hear(key, rows)


def checks(store: Store, room: Callable[[], bool]) -> dict[str, Check]:
    async def readable() -> bool:
        await store.runnable()
        return True

    async def has_room() -> bool:
        return room()

    return {"store": readable, "disk": has_room}


def hearing(settings: Settings, exchange: Exchange | None) -> dict[str, Check]:
    """Whether other processes are heard at once. Without it all goes on, more slowly."""
    if exchange is None:
        return {}

    async def connected() -> bool:
        return exchange.connected

    return {"notifications" if settings.nats_url is None else "nats": connected}


def able(sandboxes: AnySandboxes) -> Check:
    async def able() -> bool:
        return (await sandboxes.probe()).available

    return able


async def no_metrics() -> bytes:
    return b""


def gauges_of(store: Store, feed: Feed) -> Gauges:
    async def runnable() -> float:
        return await store.runnable()

    async def readers() -> float:
        return feed.readers

    return {metrics.RUNNABLE: runnable, metrics.STREAM_READERS: readers}


def harness_gauges(worker: Worker, sandboxes: AnySandboxes) -> Gauges:
    async def running() -> float:
        return worker.running

    async def live() -> float:
        return sandboxes.live

    return {metrics.RUNNING: running, metrics.SANDBOXES: live}


def room_gauge(settings: Settings) -> Callable[[], bool]:
    """Whether the log's file system has its reserve left, below which nothing new is taken on."""

    def has_room() -> bool:
        usage = shutil.disk_usage(settings.data)
        return usage.free > settings.limits.log_reserve_bytes

    return has_room
