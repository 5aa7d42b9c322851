"""Memory of the server's processes with idle and with running sessions (PSS, so that shared pages count once)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from bench.deployment import Deployment

IDLE = 1000
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
    for number in range(IDLE):
        session = await d.session(agent, environment)
        if number % 10 == 0:
            await d.say(session, f"bench-idle-{number}")
    await asyncio.sleep(2)
    idle = tree(d)
    for number in range(RUNNING):
        await d.say(await d.session(agent, environment), f"hang-running-{number}")
    await asyncio.gather(*(d.model.arrived[f"hang-running-{n}"].wait() for n in range(RUNNING)))
    running = tree(d)
    return {
        "memory, MB": {
            "at start": start,
            f"{IDLE} idle sessions": idle,
            f"and {RUNNING} running": running,
            "server's growth for one idle session, kB": round((idle["server"] - start["server"]) * 1024 / IDLE, 1),
            "server's growth for one running session, kB": round(
                (running["server"] - idle["server"]) * 1024 / RUNNING, 1
            ),
        }
    }
