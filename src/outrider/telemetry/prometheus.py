"""The `Meter` port over a Prometheus registry of its own; nothing is registered with the library's global one."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from outrider.ports.metrics import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class PrometheusMeter:
    """Knows the given metrics only; another one is a KeyError, which tests meet before anybody else does."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        disable_created_metrics()  # a series more for each, which nobody asks for
        self._registry = CollectorRegistry(auto_describe=False)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in metrics:
            self._register(metric)

    def add(self, metric: Metric, *labels: str, by: float = 1) -> None:
        counter = self._counters[metric.name]
        (counter.labels(*labels) if labels else counter).inc(by)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        histogram = self._histograms[metric.name]
        (histogram.labels(*labels) if labels else histogram).observe(value)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        gauge = self._gauges[metric.name]
        (gauge.labels(*labels) if labels else gauge).set(value)

    def text(self) -> bytes:
        """All values in Prometheus' text format, `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _register(self, metric: Metric) -> None:
        if metric.kind == "counter":
            self._counters[metric.name] = Counter(metric.name, metric.help, metric.labels, registry=self._registry)
        elif metric.kind == "gauge":
            self._gauges[metric.name] = Gauge(metric.name, metric.help, metric.labels, registry=self._registry)
        else:
            self._histograms[metric.name] = Histogram(
                metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self._registry
            )
