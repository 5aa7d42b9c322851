"""A real server process tree on a data directory of its own, for measurements."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.client import Client
from bench.fast_model import FastModel

START_SECONDS = 60
KEY = "outr_bench_0123456789"


@dataclass(frozen=True, slots=True)
class Deployment:
    client: Client
    model: FastModel
    data: Path

    def pids(self) -> dict[str, int]:
        return self._facts()["children"]

    def kill_all(self) -> None:
        """As if its host had died."""
        facts = self._facts()
        for pid in (facts["supervisor"], *facts["children"].values()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _facts(self) -> dict[str, Any]:
        return json.loads((self.data / "server.json").read_text())

    async def agent(self, **more: Any) -> str:
        return (await self.client.post("/v1/agents", {"name": "bench", "model": "fast", **more}))["id"]

    async def environment(self) -> str:
        return (await self.client.post("/v1/environments", {"name": "bench"}))["id"]

    async def session(self, agent: str, environment: str) -> str:
        return (await self.client.post("/v1/sessions", {"agent": agent, "environment_id": environment}))["id"]

    async def say(self, session: str, text: str) -> Any:
        event = {"type": "user.message", "content": [{"type": "text", "text": text}]}
        return await self.client.post(f"/v1/sessions/{session}/events", {"events": [event]})


@asynccontextmanager
async def deployed(
    *,
    place: Path | None = None,
    model: FastModel | None = None,
    database_url: str | None = None,
    server: str = "",
    tables: str = "",
    **limits: float,
) -> AsyncGenerator[Deployment]:
    """Start, yield, stop. The model is a `FastModel` in this process. `place` is kept; without one all data goes."""
    with tempfile.TemporaryDirectory(prefix="outrider-bench-") as name:
        place = place or Path(name)
        data = place / "data"
        data.mkdir(exist_ok=True)
        for directory in (place, data):
            directory.chmod(0o711)
        lines = ["[server]", server, "[limits]", *(f"{key} = {value}" for key, value in limits.items())]
        lines += ["[mcp]", 'allow_private = ["127.0.0.1"]', tables]
        (data / "config.toml").write_text("\n".join(lines) + "\n")
        async with _listening(model or FastModel()) as model:
            environment = os.environ | {"OUTRIDER_MODEL_URL": model.url, "OUTRIDER_API_KEY": KEY}
            if database_url is not None:
                environment["OUTRIDER_DATABASE_URL"] = database_url
            async with _served(data, environment) as url:
                yield Deployment(Client(url, KEY), model, data)


@asynccontextmanager
async def _listening(model: FastModel) -> AsyncGenerator[FastModel]:
    if model.url:  # shared with another deployment
        yield model
        return
    listening = await model.start()
    try:
        yield model
    finally:
        listening.close()


@asynccontextmanager
async def _served(data: Path, environment: dict[str, str]) -> AsyncGenerator[str]:
    (data / "server.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "outrider", "serve", "--port", "0", "--data", str(data)]
    with data.with_name("serve.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield await _address(process, data)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


async def _address(process: subprocess.Popen[bytes], data: Path) -> str:
    async with asyncio.timeout(START_SECONDS):
        while not (data / "server.json").exists():
            if process.poll() is not None:
                raise RuntimeError(data.with_name("serve.log").read_text()[-2000:])
            await asyncio.sleep(0.05)
    url = json.loads((data / "server.json").read_text())["url"]
    client = Client(url, KEY)
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                await client.get("/v1/models")
                return url
            except (ConnectionError, RuntimeError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.05)
