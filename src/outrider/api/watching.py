"""What an API request tells of itself: a count, a duration, a span, by the route's pattern and never by its ids."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from outrider.ports.metrics import HTTP_REQUESTS, HTTP_SECONDS, OTHER
from outrider.ports.telemetry import Attributes, Meter, Telemetry

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


@dataclass(slots=True)
class Seen:
    """A request under way. `response` is None as long as there is none: its client left."""

    trace: str
    response: Response | None = None


@contextmanager
def watched(telemetry: Telemetry, request: Request, route: str, request_id: str) -> Generator[Seen]:
    """Around the making of an answer. Joins the trace that the client's `traceparent` names."""
    begun = time.perf_counter()
    attributes: Attributes = {"http.request.method": request.method, "http.route": route, "request.id": request_id}
    parent = request.headers.get("traceparent", "")
    name = f"{request.method} {route}"
    with telemetry.tracer.span(name, parent=parent, kind="server", attributes=attributes) as span:
        seen = Seen(span.traceparent)
        yield seen
        if seen.response is None:
            return
        status = seen.response.status_code
        if span.traceparent:
            span.note(_ids(request) | {"http.response.status_code": status})
            if status >= 500:
                span.end(str(status))
    telemetry.meter.observe(HTTP_SECONDS, time.perf_counter() - begun, route, request.method)
    count(telemetry.meter, request.method, route, status)


def count(meter: Meter, method: str, route: str, status: int) -> None:
    meter.add(HTTP_REQUESTS, route, method if method in METHODS else OTHER, str(status))


def _ids(request: Request) -> dict[str, str | int | float | bool]:
    """Ids of what the path names. They are the client's text: only what looks like one of ours."""
    found: dict[str, str | int | float | bool] = {}
    for name, value in request.path_params.items():
        if isinstance(value, str) and value.replace("_", "").isalnum() and len(value) <= 64:
            found[f"outrider.{name.removesuffix('_id')}.id"] = value
    return found
