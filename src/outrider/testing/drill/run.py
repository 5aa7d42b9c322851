"""One drill from start to report: deploy, play and strike, let everything finish, judge."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from outrider.testing.drill import hosts
from outrider.testing.drill.chaos import Chaos, Target
from outrider.testing.drill.client import Clients, Followed, Seen, follow, play
from outrider.testing.drill.deployment import Deployment, deployed
from outrider.testing.drill.job import MODEL
from outrider.testing.drill.report import Report
from outrider.testing.drill.shape import Load, Shape
from outrider.testing.drill.verdict import judge

TOOLSET: Any = [{"type": "agent_toolset_20260401"}]
FOLLOW_SECONDS = 60.0


async def drill(shape: Shape, load: Load, folder: Path, say: Callable[[str], None]) -> Report:
    """`folder` as in `deployed`; `say` gets a line about each step."""
    if shape.hosts:
        hosts.prepare()
    key = f"outr_{secrets.token_urlsafe(24)}"
    say(f"starting {len(shape.plan())} servers")
    async with deployed(shape, folder, key) as deployment:
        clients = Clients(deployment.urls, key)
        try:
            return await _drill(deployment, clients, shape, load, say)
        finally:
            await clients.close()


async def _drill(
    deployment: Deployment, clients: Clients, shape: Shape, load: Load, say: Callable[[str], None]
) -> Report:
    agent, environment = await _prepare(clients)
    until = time.monotonic() + load.seconds
    chaos = Chaos(lambda: _targets(deployment), load)
    idle = asyncio.Event()
    followed: list[Followed] = []
    say(f"{load.sessions} sessions for {load.seconds:.0f} s, a fault every {load.every} s")
    async with asyncio.TaskGroup() as readers:

        async def one(reader: bool) -> Seen:
            def begun(session: str) -> None:
                if reader:
                    followed.append(Followed(session))
                    readers.create_task(follow(clients, session, followed[-1], idle=idle))

            return await play(clients, agent, environment, until, begun)

        async with asyncio.TaskGroup() as group:
            group.create_task(chaos.run(until))
            played = [group.create_task(one(number < load.readers)) for number in range(load.sessions)]
        say("all sessions have ended; reading their logs")
        idle.set()
    seen = [task.result() for task in played]
    verdict = await judge(deployment.log, deployment.workspace, seen, followed, chaos.done)
    rounds, connections = sum(one.rounds for one in seen), sum(one.connections for one in followed)
    return Report(shape, load, verdict, chaos.done, rounds, clients.retries, connections)


async def _prepare(clients: Clients) -> tuple[str, str]:
    agent = await clients.surely(
        lambda one, headers: one.beta.agents.create(name="drill", model=MODEL, tools=TOOLSET, extra_headers=headers),
        "agent create",
    )
    environment = await clients.surely(
        lambda one, headers: one.beta.environments.create(name="drill", extra_headers=headers), "environment create"
    )
    return agent.id, environment.id


def _targets(deployment: Deployment) -> list[Target]:
    return list(itertools.chain.from_iterable(node.targets() for node in deployment.nodes))
