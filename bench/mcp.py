"""What the vault adds to an MCP call: the same call of the same server with the same client, straight and as the
harness makes it. They take turns, so that both see the same noise.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from bench.deployment import Deployment
from bench.figures import quantile, summary
from outrider.links.mcp import ConnectorsLink
from outrider.links.vault import VaultLink
from outrider.ports.mcp import Server

ROUNDS, WARM = 300, 30
EPOCH = 1_000_000  # above any that an owner of the session has
TARGET = """
import socket, uvicorn
from mcp.server.mcpserver import MCPServer
server = MCPServer("bench", log_level="CRITICAL")
@server.tool(structured_output=False)
async def add(a: int, b: int) -> str:
    return str(a + b)
with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="critical")).run(sockets=[listener])
"""


@asynccontextmanager
async def target() -> AsyncGenerator[str]:
    """The address of an MCP server in a process of its own."""
    with subprocess.Popen([sys.executable, "-c", TARGET], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/mcp"
        finally:
            process.terminate()


async def measure(d: Deployment) -> dict[str, Any]:
    async with target() as url:
        toolset = {"type": "mcp_toolset", "mcp_server_name": "bench"}
        agent = await d.agent(mcp_servers=[{"type": "url", "name": "bench", "url": url}], tools=[toolset])
        session = await d.session(agent, await d.environment())
        there = Server(_workspace(d, session), session, EPOCH, "bench", url)
        async with VaultLink(d.data / "run" / "vault.sock") as vault, Client(streamable_http_client(url)) as client:
            link = ConnectorsLink(vault.client(), (60.0, 15.0))

            async def through() -> None:
                assert not (await link.call(there, "add", {"a": 1, "b": 2})).is_error

            async def direct() -> None:
                assert not (await client.call_tool("add", {"a": 1, "b": 2})).is_error

            times = await _taken({"direct": direct, "through": through})
            await link.close()
    added = {f"p{q}_ms": _ms(times["through"], q) - _ms(times["direct"], q) for q in (50, 95)}
    return {name: summary(taken) for name, taken in times.items()} | {
        "added": {name: round(value, 3) for name, value in added.items()}
    }


async def _taken(ways: dict[str, Callable[[], Awaitable[None]]]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(WARM + ROUNDS):
        for name, ask in ways.items():
            start = time.perf_counter()
            await ask()
            if number >= WARM:
                times[name].append(time.perf_counter() - start)
    return times


def _workspace(d: Deployment, session: str) -> str:
    with closing(sqlite3.connect(d.data / "outrider.db")) as db:
        return str(db.execute("SELECT workspace FROM sessions WHERE id = ?", (session,)).fetchone()[0])


def _ms(taken: list[float], q: int) -> float:
    return quantile(taken, q / 100) * 1000
