"""What a process tells of itself: numbers to a meter, spans to a tracer. Implementations: `telemetry/`, or nothing.

Telling never fails, never waits, and decides nothing. No content of messages, no tool input, no credential goes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Protocol

from outrider.ports.metrics import Metric

Attributes = Mapping[str, str | int | float | bool]
NO_ATTRIBUTES: Attributes = {}
SpanKind = Literal["internal", "server", "client"]


class Meter(Protocol):
    """Safe to use from any thread. `labels` are the values of `metric.labels`, in order."""

    def add(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        ...

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Take a value into a histogram."""
        ...

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        ...


class Span(Protocol):
    """Something that takes time. `traceparent` (W3C) is what its parts name as their parent; empty when untraced."""

    @property
    def traceparent(self) -> str: ...

    def note(self, attributes: Attributes) -> None:
        """Add what became known meanwhile."""
        ...

    def end(self, error: str = "") -> None:
        """`error` is a kind of failure, one word, never a text from outside. Only the first end counts."""
        ...

    def __enter__(self) -> Span: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; an exception's type is its error."""
        ...


class Tracer(Protocol):
    def span(
        self, name: str, *, parent: str = "", kind: SpanKind = "internal", attributes: Attributes = NO_ATTRIBUTES
    ) -> Span:
        """Begin a span below `parent`, a traceparent; without a valid one it begins a trace of its own."""
        ...


class NoMeter:
    """Takes no notice."""

    def add(self, metric: Metric, *labels: str, by: float = 1) -> None: ...

    def observe(self, metric: Metric, value: float, *labels: str) -> None: ...

    def set(self, metric: Metric, value: float, *labels: str) -> None: ...


class NoSpan:
    """Is not there."""

    traceparent = ""

    def note(self, attributes: Attributes) -> None: ...

    def end(self, error: str = "") -> None: ...

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


NO_SPAN = NoSpan()


class NoTracer:
    """Traces nothing."""

    def span(
        self, name: str, *, parent: str = "", kind: SpanKind = "internal", attributes: Attributes = NO_ATTRIBUTES
    ) -> Span:
        return NO_SPAN


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Both, for those who tell numbers and spans. Silent unless told otherwise."""

    meter: Meter = field(default_factory=NoMeter)
    tracer: Tracer = field(default_factory=NoTracer)


SILENT = Telemetry()
