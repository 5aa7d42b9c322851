"""Memory of the server's processes with idle and with running sessions (PSS, so that shared pages count once)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from bench.deployment import Deployment

FIRST = 6000  # fill what is bounded: the store's page caches, some 16 MB a connection
IDLE = 4000
CLIENTS = 4
RUNNING = 100


def pss(pid: int) -> float:
    """MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def tree(d: Deployment) -> dict[str, float]:
    return {role: round(pss(pid), 1) for role, pid in d.pids().items()}


async def measure(d: Deployment) -> dict[str, Any]:
    agent, environment = await d.agent(), await d.environment()
    start = tree(d)
    await _idle(d, agent, environment, FIRST)
    first = tree(d)
    await _idle(d, agent, environment, IDLE)
    idle = tree(d)
    for number in range(RUNNING):
        await d.say(await d.session(agent, environment), f"hang-running-{number}")
    await asyncio.gather(*(d.model.arrived[f"hang-running-{n}"].wait() for n in range(RUNNING)))
    running = tree(d)
    return {
        "memory, MB": {
            "at start": start,
            f"{FIRST} idle sessions": first,
            f"{FIRST + IDLE} idle sessions": idle,
            f"and {RUNNING} running": running,
            "server's growth for one idle session, kB": round((idle["server"] - first["server"]) * 1024 / IDLE, 1),
            "server's growth for one running session, kB": round(
                (running["server"] - idle["server"]) * 1024 / RUNNING, 1
            ),
        }
    }


async def _idle(d: Deployment, agent: str, environment: str, count: int) -> None:
    """Sessions that nobody looks at; one in ten has had a turn."""

    async def some(own: range) -> None:
        for number in own:
            session = await d.session(agent, environment)
            if number % 10 == 0:
                await d.say(session, f"bench-idle-{number}")

    await asyncio.gather(*(some(range(first, count, CLIENTS)) for first in range(CLIENTS)))
    await asyncio.sleep(3)
