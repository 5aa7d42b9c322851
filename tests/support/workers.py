"""Workers of self-hosted environments as the SDK has them, unmodified, and what they need."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import worker_process
from anthropic import Anthropic, AsyncAnthropic
from anthropic.lib.environments import EnvironmentWorker

from outrider.sandbox import launcher

SECONDS = 55.0
MAX_IDLE = 0.2


def environment_of(client: Anthropic, name: str = "elsewhere") -> str:
    return client.beta.environments.create(name=name, config={"type": "self_hosted"}).id


def key_of(client: Anthropic, environment: str) -> str:
    """An environment's key, as an admin makes one."""
    body = {"name": "worker", "scope": "environment", "environment_id": environment}
    headers = {"authorization": f"Bearer {client.api_key}"}
    answer = httpx2.post(f"{str(client.base_url).rstrip('/')}/outrider/v1/keys", json=body, headers=headers, timeout=20)
    return answer.json()["key"]


@asynccontextmanager
async def working(
    url: str, environment: str, key: str, workdir: Path, **more: Any
) -> AsyncGenerator[EnvironmentWorker]:
    """One worker that polls while the block runs."""
    os.makedirs(workdir, exist_ok=True)
    options: dict[str, Any] = {"max_idle": MAX_IDLE} | more
    http, retries = options.pop("http_client", None), options.pop("max_retries", 2)
    async with AsyncAnthropic(base_url=url, api_key="not-a-key", http_client=http, max_retries=retries) as client:
        worker = EnvironmentWorker(client, environment_id=environment, environment_key=key, workdir=workdir, **options)
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            yield worker
            group.cancel_scope.cancel()


@contextmanager
def worker_apart(
    url: str, environment: str, key: str, workdir: Path, *, before: tuple[str, ...] = ()
) -> Generator[subprocess.Popen[bytes]]:
    """One in a process of its own while the block runs, started by way of the program `before`."""
    workdir.mkdir(exist_ok=True)
    process = subprocess.Popen([*before, sys.executable, worker_process.__file__, url, environment, key, str(workdir)])
    try:
        yield process
    finally:
        process.kill()
        process.wait(SECONDS)


def own_mnt() -> tuple[str, ...]:
    """Runs a program where it may make `/mnt/memory`, the place of memory stores, and leaves none behind."""
    bwrap, problem = launcher.find()
    assert bwrap is not None, problem
    return (bwrap, "--dev-bind", "/", "/", "--tmpfs", "/mnt", "--die-with-parent")


def token_of(item: Any) -> str:
    """The session token in what a poll answered."""
    padded = item.secret + "=" * (-len(item.secret) % 4)
    return json.loads(base64.urlsafe_b64decode(padded))["sessions_token"]


def live_work(client: Anthropic, environment: str) -> list[Any]:
    """Items that aren't stopped."""
    return [item for item in client.beta.environments.work.list(environment) if item.state != "stopped"]


async def until(true: Callable[[], bool]) -> None:
    """Look again and again, in a thread, until it is true."""
    await asyncio.to_thread(until_now, true)


def until_now(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        threading.Event().wait(0.05)


async def until_no_work(client: Anthropic, environment: str) -> None:
    await asyncio.to_thread(without_work, client, environment)


def without_work(client: Anthropic, environment: str) -> None:
    until_now(lambda: not live_work(client, environment))
