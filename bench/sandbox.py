"""Measures the sandbox: first command cold, next command, a file tool, and the memory of a live idle sandbox.

`python bench/sandbox.py [--rounds N]` prints one JSON object; `measure(rounds)` gives the same as a dict. Times are
milliseconds; memory is the proportional set size in MB of a session's shim, its sandbox and its shell.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

from outrider.ports.sandbox import Sandboxes, ToolCall
from outrider.testing.sandbox_host import SandboxHost

LIVE = 16


def _summary(samples: list[float]) -> dict[str, Any]:
    ordered = sorted(samples)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {
        "n": len(ordered),
        "p50": round(statistics.median(ordered), 2),
        "p95": round(p95, 2),
        "min": round(ordered[0], 2),
        "raw": [round(sample, 3) for sample in samples],
    }


class Timer:
    """Times calls of one driver."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes
        self._calls = 0
        self.samples: dict[str, list[float]] = {}

    async def call(self, label: str, session: str, tool: str, given: dict[str, Any]) -> None:
        self._calls += 1
        call = ToolCall(f"sevt_{self._calls}", "thread_1", tool, given)
        began = time.perf_counter()
        outcome = await self._sandboxes.execute(session, call, epoch=1)
        self.samples.setdefault(label, []).append((time.perf_counter() - began) * 1000)
        assert not outcome.is_error, outcome


async def _times(host: SandboxHost, rounds: int) -> dict[str, Any]:
    sandboxes = host.driver()
    timer = Timer(sandboxes)
    for number in range(rounds):
        session = f"sesn_{number}"
        await timer.call("first command, cold, new session", session, "bash", {"command": "echo"})
        await timer.call("next command", session, "bash", {"command": "/bin/true"})
        await timer.call("write", session, "write", {"file_path": "f", "content": "x"})
        await timer.call("read", session, "read", {"file_path": "f"})
        await sandboxes.stop(session)
        await timer.call("first command, cold, known session", session, "bash", {"command": "echo"})
        await sandboxes.delete(session)
    return {label: _summary(samples) for label, samples in timer.samples.items()}


async def _memory(host: SandboxHost) -> dict[str, Any]:
    sandboxes = host.driver()
    timer = Timer(sandboxes)
    for number in range(LIVE):
        await timer.call("", f"sesn_{number}", "bash", {"command": "echo"})
    totals: dict[str, float] = {}
    for number in range(LIVE):
        for name, kilobytes in _parts(host.shim_pid(f"sesn_{number}")):
            totals[name] = totals.get(name, 0) + kilobytes / 1024
    for number in range(LIVE):
        await sandboxes.delete(f"sesn_{number}")
    means = {name: round(total / LIVE, 2) for name, total in totals.items()}
    return {"live": LIVE, "total": round(sum(means.values()), 2), **means}


def _parts(shim: int) -> list[tuple[str, int]]:
    """Each process of a sandbox with its proportional set size in KB."""
    found = [("shim", _pss(shim))]
    below = [int(pid) for pid in Path(f"/proc/{shim}/task/{shim}/children").read_text().split()]
    while below:
        pid = below.pop()
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        found.append((name, _pss(pid)))
        below += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


async def _run(rounds: int) -> dict[str, Any]:
    host = SandboxHost()
    host.start()
    try:
        able = await host.driver().probe()
        return {
            "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "root": os.geteuid() == 0},
            "limits": able.limits,
            "times_ms": await _times(host, rounds),
            "memory_mb": await _memory(host),
        }
    finally:
        await host.close()


def measure(rounds: int = 30) -> dict[str, Any]:
    return asyncio.run(_run(rounds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    print(json.dumps(measure(parser.parse_args().rounds), indent=1))
