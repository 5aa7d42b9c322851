"""A real HTTP server that webhooks are sent to: it answers as it is told and remembers what came."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2

SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Came:
    """One request, as it came."""

    headers: Mapping[str, str]
    body: str

    @property
    def event(self) -> str:
        return self.headers["webhook-id"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Receiver:
    """Each path is an endpoint of its own. `answers` are the statuses of its next requests, then 204."""

    def __init__(self, port: int = 0) -> None:
        self._lock = threading.Condition()
        self._came: dict[str, list[Came]] = defaultdict(list)
        self._answers: dict[str, list[int]] = defaultdict(list)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return  # whoever sent it was killed in the middle
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = receiver._take(self.path, Came(headers, body.decode()))
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("location", f"{receiver.url}/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Silence."""

        self._server = _Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, *statuses: int) -> str:
        """The URL of an endpoint that gives these answers first."""
        with self._lock:
            self._answers[path] = list(statuses)
        return f"{self.url}{path}"

    def _take(self, path: str, came: Came) -> int:
        with self._lock:
            self._came[path].append(came)
            self._lock.notify_all()
            return self._answers[path].pop(0) if self._answers[path] else 204

    def came(self, path: str) -> list[Came]:
        with self._lock:
            return list(self._came[path])

    def wait(self, path: str, enough: Callable[[list[Came]], bool], seconds: float = SECONDS) -> list[Came]:
        """What has come once it is enough."""
        with self._lock:
            found = self._lock.wait_for(lambda: enough(self._came[path]), seconds)
            assert found, f"{path} got {[one.body for one in self._came[path]]}"
            return list(self._came[path])

    @contextmanager
    def open(self) -> Generator[Receiver]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join(SECONDS)


def delivery(server: str, key: str, webhook: str, wanted: Callable[[list[Any]], bool]) -> list[Any]:
    """The endpoint's deliveries, newest first, once they are as wanted."""
    pause, found = threading.Event(), list[Any]()
    for _ in range(600):
        found = ask(server, key, "GET", f"/{webhook}/deliveries?limit=100")["data"]
        if wanted(found):
            return found
        pause.wait(0.1)
    raise AssertionError(f"the deliveries of {webhook} did not become as wanted: {found}")


def ask(server: str, key: str, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
    """A request to the API of webhooks."""
    headers = {"authorization": f"Bearer {key}"}
    url = f"{server}/outrider/v1/webhooks{path}"
    answer = httpx2.request(method, url, headers=headers, json=body, timeout=SECONDS)
    assert answer.status_code == status, answer.text
    return answer.json()
