"""A real server process tree for tests, with a scripted model whose scripts the tests write."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from anthropic import Anthropic
from sdk_clients import sdk_client

from outrider.models.scripted import running
from outrider.models.scripted.script import Answer, Request, Script, Unexpected, by_turn
from outrider.testing.server_process import end_sandboxes

START_SECONDS = 40.0
HEARTBEAT = "[limits]\nheartbeat = 0.5\n"  # a reader in a thread learns at the next one that its stream was closed
KEY = "outr_test_0123456789abcdef"


class Stage:
    """A scripted model server in a thread of this process. Each script goes by a model name of its own."""

    def __init__(self) -> None:
        self.url = ""
        self._scripts: dict[str, Script] = {}
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def put(self, name: str, *answers: Answer, decide: Callable[[Request], Answer] | None = None) -> str:
        """Give the model `name` its answers, by turn, or a function of the request."""
        self._scripts[name] = Script(decide) if decide is not None else by_turn(*answers)
        return name

    def arrived(self, barrier: str, count: int = 1) -> None:
        """Wait until a stream stands at this barrier."""
        asked = {"count": count, "timeout": START_SECONDS}
        place = f"{self.url}/control/barriers/{barrier}/arrived"
        httpx2.get(place, params=asked, timeout=START_SECONDS + 5).raise_for_status()

    def release(self, barrier: str) -> None:
        httpx2.post(f"{self.url}/control/barriers/{barrier}/release?all=1", timeout=30).raise_for_status()

    def requests(self, model: str) -> list[dict[str, Any]]:
        """Bodies of the requests for this model so far."""
        kept = httpx2.get(f"{self.url}/control/requests", timeout=30).json()
        return [one["body"] for one in kept if one["body"]["model"] == model]

    def unexpected(self) -> list[str]:
        return httpx2.get(f"{self.url}/control/unexpected", timeout=30).json()

    @contextmanager
    def open(self) -> Generator[Stage]:
        self._thread.start()
        assert self._ready.wait(START_SECONDS)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(START_SECONDS)

    def _decide(self, request: Request) -> Answer:
        script = self._scripts.get(request.model)
        if script is None:
            raise Unexpected(f"no script for model {request.model}")
        return script.decide(request)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with running(Script(self._decide), control_routes=True) as server:
            self.url = server.url
            self._ready.set()
            await self._stop.wait()


class Server:
    """One `outrider serve`. `pids` are its children by role."""

    def __init__(self, data: Path, process: subprocess.Popen[bytes], url: str, key: str) -> None:
        self.data = data
        self.process = process
        self.url = url
        self.key = key

    def client(self, **more: Any) -> Anthropic:
        return sdk_client(self.url, self.key, **more)

    def pids(self) -> dict[str, int]:
        return json.loads((self.data / "server.json").read_text())["children"]

    def log(self) -> str:
        return _log_file(self.data).read_text()


@contextmanager
def data_directory() -> Generator[Path]:
    """A short path (sockets lie below it) that the roles' users may pass through."""
    place = Path(tempfile.mkdtemp(prefix="outr-", dir="/tmp"))
    data = place / "d"
    data.mkdir()
    for directory in (place, data):
        directory.chmod(0o711)
    try:
        yield data
    finally:
        end_sandboxes(data)
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def serving(
    data: Path,
    environment: Mapping[str, str],
    *options: str,
    config: str = HEARTBEAT,
    key: str = KEY,
    up: str = "/readyz",
) -> Generator[Server]:
    """Start a server on this data, wait until it says at `up` that it is, stop it at the end."""
    if config:
        (data / "config.toml").write_text(config)
    (data / "server.json").unlink(missing_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
    command = [sys.executable, "-m", "outrider", "serve", "--port", "0", "--data", str(data), *options]
    with _log_file(data).open("ab") as log:
        process = subprocess.Popen(
            command, env=clean | {"OUTRIDER_API_KEY": key} | dict(environment), stdout=log, stderr=log
        )
    try:
        yield Server(data, process, _url(process, data, up), key)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _log_file(data: Path) -> Path:
    return data.with_name("serve.log")


def _url(process: subprocess.Popen[bytes], data: Path, up: str) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, _log_file(data).read_text()[-3000:]
        try:
            url = json.loads((data / "server.json").read_text())["url"]
            httpx2.get(f"{url}{up}", timeout=10).raise_for_status()
            return url
        except (OSError, ValueError, httpx2.HTTPError):
            threading.Event().wait(0.05)
    raise AssertionError("the server did not answer: " + _log_file(data).read_text()[-3000:])
