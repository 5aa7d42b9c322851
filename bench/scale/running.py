"""Many sessions at once, on one server or on several that share a database: turns a second, and how long each takes.

Closed loop: each session sends its next message when its last turn is over. The model answers at once, so the figures
are the platform's own work, and the client's, which shares the cores.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bench.client import Stream
from bench.deployment import Deployment, deployed
from bench.fast_model import FastModel
from bench.figures import cpu_seconds, summary

TURNS = {1: 100, 10: 300, 100: 600, 1000: 1000}
ROLES = ("server", "vault")


async def measure(
    place: Path, processes: int, sessions: list[int], database_url: str | None = None
) -> dict[str, dict[str, Any]]:
    """`place` is a directory for the servers' data; several `processes` need a `database_url`."""
    model = FastModel()
    async with AsyncExitStack() as stack:
        servers: list[Deployment] = []
        for number in range(processes):
            own = place / str(number)
            own.mkdir()
            opening = deployed(place=own, model=model, database_url=database_url, running_sessions=1000)
            servers.append(await stack.enter_async_context(opening))
            model = servers[0].model
        agent, environment = await servers[0].agent(), await servers[0].environment()
        await _at_once(servers, agent, environment, 10, 50)  # warm
        return {str(count): await _at_once(servers, agent, environment, count, TURNS[count]) for count in sessions}


async def _at_once(servers: list[Deployment], agent: str, environment: str, count: int, turns: int) -> dict[str, Any]:
    talks = await asyncio.gather(
        *(_Talk.begin(servers[n % len(servers)], agent, environment) for n in range(count)),
    )
    before, start = _cpu(servers), time.perf_counter()
    taken = await asyncio.gather(*(talk.turns(-(-turns // count)) for talk in talks))
    elapsed = time.perf_counter() - start
    spent = {role: seconds - before[role] for role, seconds in _cpu(servers).items()}
    for talk in talks:
        talk.stream.close()
    each = [seconds for some in taken for seconds in some]
    return {
        "turns per second": round(len(each) / elapsed, 1),
        "send to idle": summary(each),
        "cpu ms a turn": {role: round(seconds * 1000 / len(each), 2) for role, seconds in spent.items()},
    }


class _Talk:
    """One session and its open stream."""

    def __init__(self, server: Deployment, session: str, stream: Stream) -> None:
        self._server = server
        self._session = session
        self.stream = stream

    @classmethod
    async def begin(cls, server: Deployment, agent: str, environment: str) -> _Talk:
        session = await server.session(agent, environment)
        return cls(server, session, await server.client.stream(f"/v1/sessions/{session}/events/stream"))

    async def turns(self, count: int) -> list[float]:
        taken: list[float] = []
        for _ in range(count):
            start = time.perf_counter()
            async with asyncio.TaskGroup() as group:  # a message that was not taken ends the wait for its answer
                group.create_task(self._server.say(self._session, "Go on."))
                await self.stream.until("session.status_idle")
            taken.append(time.perf_counter() - start)
        return taken


def _cpu(servers: list[Deployment]) -> dict[str, float]:
    """Seconds of processor time that all servers have taken, by role."""
    return {role: sum(cpu_seconds(server.pids()[role]) for server in servers) for role in ROLES}
