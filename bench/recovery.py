"""From the death of the api+harness process to the next event of its session."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from bench.deployment import Deployment
from bench.figures import summary

ROUNDS = 12
APART_SECONDS = 1.5  # the supervisor takes quicker deaths for a process that can't start


async def measure(d: Deployment) -> dict[str, Any]:
    agent, environment = await d.agent(), await d.environment()
    return {
        "killed harness to next event, same host": summary(
            [await _once(d, agent, environment, n) for n in range(ROUNDS)]
        )
    }


async def _once(d: Deployment, agent: str, environment: str, number: int) -> float:
    """Kill the process while the model hangs; the next owner first closes the request that is left open."""
    session = await d.session(agent, environment)
    name = f"hang-{number}"
    await d.say(session, name)
    await d.model.arrived[name].wait()
    before = len((await d.client.get(f"/v1/sessions/{session}/events"))["data"])
    await asyncio.sleep(APART_SECONDS)
    start = time.perf_counter()
    os.kill(d.pids()["server"], signal.SIGKILL)
    d.client.forget()
    while await _count(d, session) <= before:
        await asyncio.sleep(0.005)
    took = time.perf_counter() - start
    await d.client.post(f"/v1/sessions/{session}/events", {"events": [{"type": "user.interrupt"}]})
    return took


async def _count(d: Deployment, session: str) -> int:
    try:
        return len((await d.client.get(f"/v1/sessions/{session}/events"))["data"])
    except (ConnectionError, asyncio.IncompleteReadError, RuntimeError):
        d.client.forget()
        return 0
