"""The `Tracer` port over the OpenTelemetry SDK: a provider of its own, spans sent by OTLP over HTTP from a thread.

Promised: a collector that is slow or gone delays nothing here and breaks nothing. Not promised: that each span arrives;
the queue is bounded, and what does not fit is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from types import TracebackType

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from outrider import __version__
from outrider.ports import telemetry as ports
from outrider.ports.telemetry import NO_ATTRIBUTES, Attributes

QUEUE = 4096  # spans
BATCH = 512
DELAY_MILLISECONDS = 1000
EXPORT_SECONDS = 5.0
FLUSH_SECONDS = 3.0
NAME = "outrider"
PATH = "/v1/traces"

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}


class OtelTracer:
    """`close` it at the end, which sends what is left for a few seconds at most."""

    def __init__(self, exporter: SpanExporter, role: str) -> None:
        resource = Resource.create(_resource(role))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=QUEUE,
                max_export_batch_size=BATCH,
                schedule_delay_millis=DELAY_MILLISECONDS,
            )
        )
        self._tracer = self._provider.get_tracer(NAME, __version__)

    @classmethod
    def to(cls, endpoint: str, role: str) -> OtelTracer:
        """Spans go to the collector at `endpoint`, its base URL or the whole one. The standard's other variables
        (headers, certificates, sampler) are read by the library."""
        _soften_the_exporters_log()
        url = endpoint if endpoint.rstrip("/").endswith(PATH) else endpoint.rstrip("/") + PATH
        return cls(OTLPSpanExporter(endpoint=url, timeout=EXPORT_SECONDS), role)

    def span(
        self, name: str, *, parent: str = "", kind: ports.SpanKind = "internal", attributes: Attributes = NO_ATTRIBUTES
    ) -> ports.Span:
        above = _context(parent)
        context = set_span_in_context(NonRecordingSpan(above)) if above is not None else set_span_in_context(_NOTHING)
        return _Span(self._tracer.start_span(name, context, _KINDS[kind], attributes=dict(attributes)))

    async def close(self) -> None:
        """Bounded: a collector that does not answer costs `FLUSH_SECONDS`, and what was left is lost."""
        closing = asyncio.get_running_loop().run_in_executor(None, self._close)
        await asyncio.wait([closing], timeout=FLUSH_SECONDS + 1)

    def _close(self) -> None:
        self._provider.force_flush(int(FLUSH_SECONDS * 1000))
        self._provider.shutdown()


_NOTHING = NonRecordingSpan(SpanContext(0, 0, is_remote=False))


class _Span:
    """One span of the SDK's. What is not sampled has a traceparent too, so that its parts are not sampled either."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        context = span.get_span_context()
        self._open = True
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))

    def end(self, error: str = "") -> None:
        if not self._open:
            return
        self._open = False
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()

    def __enter__(self) -> _Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(kind.__name__ if kind is not None else "")


def _context(traceparent: str) -> SpanContext | None:
    """What a traceparent names, by the rules of W3C Trace Context; None for anything else."""
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    context = SpanContext(
        int(found[2], 16), int(found[3], 16), is_remote=True, trace_flags=TraceFlags(int(found[4], 16))
    )
    return context if context.is_valid else None


def _resource(role: str) -> dict[str, str]:
    found = {"service.version": __version__, "outrider.role": role}
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return found if named else {"service.name": NAME, **found}


def _soften_the_exporters_log() -> None:
    """A collector that is down is told once in a while, without the stack of the HTTP library beneath."""
    for name in ("opentelemetry.exporter", "opentelemetry.sdk"):
        logging.getLogger(name).addFilter(_without_stack)
    for name in ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal"):
        logging.getLogger(name).addFilter(_without_stack)


def _without_stack(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True
