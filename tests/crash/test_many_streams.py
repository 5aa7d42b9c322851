"""A thousand readers with the unmodified SDK, while each process of the server is killed: all come back, and by the
SDK's own recipe each is told of every event, once."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from live_server import KEY

from outrider.testing.drill.client import Clients, Followed, follow
from outrider.testing.drill.fleet import Node, send
from outrider.testing.drill.shape import ROLES, NodeShape
from outrider.testing.ports import free_port
from outrider.testing.server_process import data_directory

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(300),
    # Seen once: sockets left open in the SDK's HTTP library, presumably of connections given up while they were made.
    pytest.mark.filterwarnings(r"ignore:Exception ignored in. <socket\.socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings(
        r"ignore:Exception ignored in. <function _SelectorTransport:pytest.PytestUnraisableExceptionWarning"
    ),
]

READERS = 1000
CLIENTS = 20  # one of them holds at most 1,000 connections, and is slow with many
SESSIONS = 10
BACK_SECONDS = 120.0
REQUEST_SECONDS = 60.0  # a thousand connect at once, in one process


@contextmanager
def many_files() -> Generator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_thousand_readers_come_back_from_every_restart_with_nothing_lost_or_repeated() -> None:
    with many_files(), data_directory() as data:
        data.mkdir(mode=0o711)
        node = _node(data)
        await node.start()
        try:
            await _play(node)
        finally:
            await node.stop()


def _node(data: Path) -> Node:
    environment = {"OUTRIDER_API_KEY": KEY}
    return Node(NodeShape("server", ROLES), data, environment, ("--port", str(free_port())))


async def _play(node: Node) -> None:
    clients = [Clients([node.url], KEY, seconds=REQUEST_SECONDS) for _ in range(CLIENTS)]
    sessions = await _sessions(clients[0])
    readers = [Followed(sessions[number % SESSIONS]) for number in range(READERS)]
    idle = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number, reader in enumerate(readers):
            group.create_task(follow(clients[number % CLIENTS], reader.session, reader, idle=idle))
        await _all_connected(readers, 1)
        for number, name in enumerate(("server", "vault", "zygote", "tree")):
            await _tell(clients[0], sessions, f"before {name} is killed")
            await _kill(node, name)
            await _tell(clients[0], sessions, f"after {name} was killed")
            if name in ("server", "tree"):
                await _all_connected(readers, 2 if number == 0 else 3)
        history = {session: await _history(clients[0], session) for session in sessions}
        idle.set()
    for reader in readers:
        assert sorted(reader.ids) == sorted(history[reader.session])
    for one in clients:
        await one.close()


async def _sessions(clients: Clients) -> list[str]:
    one = clients.next()
    agent = await one.beta.agents.create(name="many", model="scripted/echo")
    environment = await one.beta.environments.create(name="many")
    made = [await one.beta.sessions.create(agent=agent.id, environment_id=environment.id) for _ in range(SESSIONS)]
    return [session.id for session in made]


async def _tell(clients: Clients, sessions: list[str], text: str) -> None:
    """Something happens in every session: a whole turn in each."""
    message: Any = {"type": "user.message", "content": [{"type": "text", "text": text}]}
    for session in sessions:
        await clients.surely(
            lambda one, headers, session=session: one.beta.sessions.events.send(
                session, events=[message], extra_headers=headers
            ),
            f"message to {session}",
        )


async def _kill(node: Node, name: str) -> None:
    if name == "tree":
        await next(one for one in node.targets() if one.name.endswith(".tree")).strike()
    else:
        assert node.server is not None
        pid = node.pids()[name]
        send(pid, signal.SIGKILL)
        await asyncio.to_thread(node.server.until_replaced, name, pid)


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(BACK_SECONDS):
        while not await true():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.1)


async def _all_connected(readers: list[Followed], times: int) -> None:
    async def all_are() -> bool:
        return all(reader.connections >= times for reader in readers)

    await _until(all_are)


async def _history(clients: Clients, session: str) -> list[str]:
    async def idle() -> bool:
        return (await clients.next().beta.sessions.retrieve(session)).status == "idle"

    await _until(idle)
    return [event.id async for event in clients.next().beta.sessions.events.list(session, limit=1000)]
