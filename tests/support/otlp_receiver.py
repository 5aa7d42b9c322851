"""A small OpenTelemetry collector for tests: takes spans by OTLP over HTTP and keeps them as plain facts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

DEADLINE = 40.0


@dataclass(frozen=True)
class Kept:
    """One span as it arrived, ids in hex."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    failed: bool


class Receiver:
    """`url` is what `otlp_endpoint` should be."""

    def __init__(self) -> None:
        self.spans: list[Kept] = []
        self.raw = b""
        self._news = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.take(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, body: bytes) -> None:
        sent = ExportTraceServiceRequest.FromString(body)
        found = [span for one in sent.resource_spans for scope in one.scope_spans for span in scope.spans]
        with self._news:
            self.raw += body
            self.spans += [_kept(span) for span in found]
            self._news.notify_all()

    def until(self, look: Callable[[list[Kept]], Any]) -> Any:
        """The first answer of `look` at all spans so far that is something."""
        with self._news:
            found = self._news.wait_for(lambda: look(self.spans), DEADLINE)
        assert found, [span.name for span in self.spans]
        return found

    @contextmanager
    def open(self) -> Generator[Receiver]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join(DEADLINE)


def _kept(span: Any) -> Kept:
    attributes = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
    failed = span.status.code == span.status.STATUS_CODE_ERROR
    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
    return Kept(span.name, *ids, attributes, failed)
