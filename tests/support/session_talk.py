"""A client's side of one session, for tests: the unmodified SDK, a reader of the stream in a thread, bounded waits."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import httpx2
from anthropic import Anthropic

DEADLINE = 40.0

Event = Any


def message(text: str) -> dict[str, Any]:
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def result(use_id: str, text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    return {"type": "user.custom_tool_result", "custom_tool_use_id": use_id, "content": content, **more}


def confirm(use_id: str, verdict: str, **more: Any) -> dict[str, Any]:
    return {"type": "user.tool_confirmation", "tool_use_id": use_id, "result": verdict, **more}


class Reader:
    """Reads one stream in a thread; `until` and `collect` wait for what should come."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._queue: queue.Queue[Event] = queue.Queue()
        self.ended = threading.Event()

    def run(self, stream: Any) -> None:
        try:
            for event in stream:
                self._queue.put(event)
        except (httpx2.HTTPError, RuntimeError):
            pass  # the test closed it, or the server went away
        finally:
            self.ended.set()

    def until(self, wanted: str | Callable[[Event], bool], seconds: float = DEADLINE) -> Event:
        """The next event that is wanted; all that came before it is in `events` too."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                event = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{wanted} did not come; came: {self.types()}") from None
            self.events.append(event)
            if event.type == wanted if isinstance(wanted, str) else wanted(event):
                return event

    def idle(self, reason: str | None = None) -> Event:
        event = self.until("session.status_idle")
        assert reason is None or event.stop_reason.type == reason, event.stop_reason
        return event

    def nothing_yet(self) -> bool:
        return self._queue.empty()

    def types(self) -> list[str]:
        return [event.type for event in self.events]


class Talk:
    """One session and its client."""

    def __init__(self, client: Anthropic, session_id: str) -> None:
        self.client = client
        self.id = session_id

    def send(self, *events: Any) -> list[Any]:
        answer = self.client.beta.sessions.events.send(self.id, events=list(events))
        return list(answer.data or [])

    def say(self, text: str) -> list[Any]:
        return self.send(message(text))

    @contextmanager
    def stream(self, *previews: str) -> Generator[Reader]:
        """The session's stream, open before the block begins."""
        reader = Reader()
        more: dict[str, Any] = {"event_deltas": list(previews)} if previews else {}
        stream = self.client.beta.sessions.events.stream(self.id, **more)
        thread = threading.Thread(target=reader.run, args=(stream,), daemon=True)
        thread.start()
        try:
            yield reader
        finally:
            stream.close()
            thread.join(DEADLINE)

    def history(self, **more: Any) -> list[Event]:
        return list(self.client.beta.sessions.events.list(self.id, **more))

    def status(self) -> str:
        return self.client.beta.sessions.retrieve(self.id).status

    def wait(self, status: str = "idle", seconds: float = DEADLINE) -> None:
        """Poll until the session has this status."""
        deadline = time.monotonic() + seconds
        while self.status() != status:
            assert time.monotonic() < deadline, f"still {self.status()}: {[e.type for e in self.history()]}"
            threading.Event().wait(0.02)
