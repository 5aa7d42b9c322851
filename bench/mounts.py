"""A memory store of 2,000 memories: what it adds to a session's first command, which mounts it, and to the next."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bench.figures import summary
from outrider.clock import SystemClock
from outrider.harness.memory import SessionMemory
from outrider.ids import MonotonicIds
from outrider.ports.log import Lease, SessionKey
from outrider.ports.memory import MOST_MEMORIES, MemoryStoreRecord, Write
from outrider.ports.sandbox import Sandboxes, ToolCall
from outrider.store.sqlite import SqliteStore
from outrider.testing.sandbox_host import SandboxHost

STORE = "memstore_bench"
NOW = "2026-01-01T00:00:00.000000Z"
RESOURCE = {"memory_store_id": STORE, "access": "read_write", "mount_path": "/mnt/memory/bench"}
TEXT = b"What is known of it, in a sentence. " * 28
"""About a kilobyte."""


def measure(rounds: int = 12) -> dict[str, Any]:
    return asyncio.run(_run(rounds))


async def _run(rounds: int) -> dict[str, Any]:
    host = SandboxHost()
    host.start()
    try:
        with tempfile.TemporaryDirectory(prefix="outrider-bench-") as name:
            async with await SqliteStore.open(Path(name) / "outrider.db") as store:
                await _fill(store)
                return await _measured(store, host.driver(), rounds)
    finally:
        await host.close()


async def _fill(store: SqliteStore) -> None:
    workspace = store.default_workspace
    await store.create_memory_store(MemoryStoreRecord(workspace, STORE, NOW, NOW, None, b'{"name":"bench"}'))
    for number in range(MOST_MEMORIES):
        write = Write(workspace, STORE, f"memver_{number}", NOW, "api_actor", "apikey_bench")
        await store.create_memory(write, f"mem_{number}", f"/{number % 40}/{number}.md", TEXT)


async def _measured(store: SqliteStore, sandboxes: Sandboxes, rounds: int) -> dict[str, Any]:
    samples: dict[str, list[float]] = {"mount": [], "first command": [], "next command": [], "next without": []}
    for number in range(rounds):
        plain = _drive(store, sandboxes, f"sesn_plain_{number}", [])
        first = await _timed(plain, "echo")
        samples["next without"].append(await _timed(plain, "echo"))
        held = _drive(store, sandboxes, f"sesn_held_{number}", [RESOURCE])
        mounted = await _timed(held, "ls /mnt/memory/bench/7 | wc -l")
        samples["first command"].append(mounted)
        samples["mount"].append(mounted - first)
        samples["next command"].append(await _timed(held, "echo"))
    for session in (f"sesn_{kind}_{number}" for kind in ("plain", "held") for number in range(rounds)):
        await sandboxes.delete(session)  # not in between: ext4 makes files slowly where many were deleted just now
    return {f"{MOST_MEMORIES:,} memories": {what: summary(found) for what, found in samples.items()}}


def _drive(store: SqliteStore, sandboxes: Sandboxes, session: str, resources: list[Any]) -> SessionMemory:
    """A drive of this session that nobody else is in."""
    hands = SimpleNamespace(sandboxes=sandboxes, memories=store, ids=MonotonicIds(), clock=SystemClock())
    lease = Lease(SessionKey(store.default_workspace, session), "bench", 1, 0, 0)
    journal = SimpleNamespace(lease=lease, context=SimpleNamespace(memory=resources))
    return SessionMemory(cast(Any, hands), cast(Any, journal))


async def _timed(drive: SessionMemory, command: str) -> float:
    """Seconds."""
    call = ToolCall(f"sevt_{time.monotonic_ns()}", "thread_1", "bash", {"command": command})
    began = time.perf_counter()
    outcome = await drive.execute(call, resume=False)
    assert not outcome.is_error, outcome
    return time.perf_counter() - began
