"""From the death of whoever drives a session to the session's next event: on the same host, and at another one."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from bench.database import database
from bench.deployment import Deployment, deployed
from bench.figures import summary

ROUNDS = 12
ROUNDS_ELSEWHERE = 6
APART_SECONDS = 1.5  # the supervisor takes quicker deaths for a process that can't start
DEADLINE_SECONDS = 60.0


async def measure(d: Deployment) -> dict[str, Any]:
    agent, environment = await d.agent(), await d.environment()
    here = [await _once(d, agent, environment, n) for n in range(ROUNDS)]
    with database() as url:
        elsewhere = await _elsewhere(url)
    return {
        "killed harness to next event, same host": summary(here),
        "killed host to next event, other host": summary(elsewhere),
    }


async def _once(d: Deployment, agent: str, environment: str, number: int) -> float:
    """Kill the process while the model hangs; the next owner first closes the request that is left open."""
    session, before = await _hanging(d, agent, environment, f"hang-{number}")
    await asyncio.sleep(APART_SECONDS)
    start = time.perf_counter()
    os.kill(d.pids()["server"], signal.SIGKILL)
    return await _until_next(d, session, before, start)


async def _elsewhere(url: str) -> list[float]:
    """Two servers share a database; all processes of the one that drives the session die at once."""
    taken: list[float] = []
    async with deployed(database_url=url) as survivor:
        agent, environment = await survivor.agent(), await survivor.environment()
        for number in range(ROUNDS_ELSEWHERE):
            async with deployed(database_url=url, model=survivor.model) as dying:
                session, before = await _hanging(dying, agent, environment, f"hang-elsewhere-{number}")
                start = time.perf_counter()
                dying.kill_all()
                taken.append(await _until_next(survivor, session, before, start))
    return taken


async def _hanging(d: Deployment, agent: str, environment: str, name: str) -> tuple[str, int]:
    """A session whose model request hangs, and how many events it has."""
    session = await d.session(agent, environment)
    await d.say(session, name)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await d.model.arrived[name].wait()
    return session, await _count(d, session)


async def _until_next(d: Deployment, session: str, before: int, start: float) -> float:
    d.client.forget()
    async with asyncio.timeout(DEADLINE_SECONDS):
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
