"""One process's meter and tracer, as its settings want them: made at its start, closed at its end, scraped between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from outrider import __version__
from outrider.config import Settings
from outrider.errors import OutriderError
from outrider.ports import metrics
from outrider.ports.log import Row, SessionKey
from outrider.ports.metrics import Metric
from outrider.ports.telemetry import SILENT, Telemetry
from outrider.telemetry.prometheus import PrometheusMeter

SECONDS = 2.0
"""How long one part may take to answer a scrape."""

T = TypeVar("T")
Gauges = Mapping[Metric, Callable[[], Awaitable[float]]]


class Watch:
    """The server process's. Without `server.metrics` nothing is counted, without a collector nothing is traced."""

    def __init__(self, settings: Settings, role: str) -> None:
        self._meter = PrometheusMeter(metrics.SERVER) if settings.metrics else None
        self._close: Callable[[], Awaitable[None]] | None = None
        tracer = SILENT.tracer
        if settings.otlp_endpoint:
            from outrider.telemetry.otel import OtelTracer  # an extra: loaded only by those who asked for it

            tracer = made = OtelTracer.to(settings.otlp_endpoint, role)
            self._close = made.close
        self.telemetry = Telemetry(self._meter or SILENT.meter, tracer)
        self.telemetry.meter.set(metrics.BUILD, 1, __version__)
        self.telemetry.meter.set(metrics.STARTED, time.time())

    async def close(self) -> None:
        if self._close is not None:
            await self._close()

    def on_rows(self, _key: SessionKey, rows: list[Row]) -> None:
        self.telemetry.meter.add(metrics.LOG_ROWS, by=len(rows))

    def on_batch(self, jobs: int, seconds: float) -> None:
        """As the store's `on_batch`, from any thread."""
        self.telemetry.meter.observe(metrics.BATCH_JOBS, jobs)
        self.telemetry.meter.observe(metrics.COMMIT_SECONDS, seconds)

    async def scrape(self, gauges: Gauges, vault: Callable[[], Awaitable[bytes | None]]) -> bytes:
        """All metrics as they are now, the vault's own after ours. What does not answer in time is left out; a gauge
        that can't be read is NaN."""
        if self._meter is None:
            return b""
        meter = self._meter
        asked = [self._look(meter, metric, read) for metric, read in gauges.items()]
        found, *_ = await asyncio.gather(_in_time(vault()), *asked)
        meter.set(metrics.VAULT_UP, found is not None)
        return meter.text() + (found or b"")

    async def _look(self, meter: PrometheusMeter, metric: Metric, read: Callable[[], Awaitable[float]]) -> None:
        value = await _in_time(read())
        meter.set(metric, float("nan") if value is None else value)


async def _in_time(answer: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(SECONDS):
            return await answer
    except (OutriderError, OSError, TimeoutError):
        return None
