"""The platform's own time: from a client's send to the model, to the first token, to the finished message."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from bench.client import Client
from bench.deployment import Deployment
from bench.figures import quantile, summary

ROUNDS = 150
TOOLSET = [{"type": "agent_toolset_20260401"}]


async def measure(d: Deployment) -> dict[str, Any]:
    environment = await d.environment()
    plain = await d.agent()
    tooled = await d.agent(tools=TOOLSET)
    await _turns(d, plain, environment, 20, "warm")
    first, token, message = await _turns(d, plain, environment, ROUNDS, "plain")
    tool_first, tool_token, _ = await _turns(d, tooled, environment, ROUNDS, "tooled")
    _, without, _ = await _without_sandboxes(d, tooled, environment)
    direct = await _direct(d, ROUNDS)
    return {
        "send to model request": summary(first),
        "first token, direct": summary(direct),
        "first token, through Outrider": summary(token),
        "first token, added": {
            "p50_ms": round((quantile(token, 0.5) - quantile(direct, 0.5)) * 1000, 3),
            "p95_ms": round((quantile(token, 0.95) - quantile(direct, 0.95)) * 1000, 3),
        },
        "first token, with tools less without": {
            "p50_ms": round((quantile(tool_token, 0.5) - quantile(token, 0.5)) * 1000, 3)
        },
        "first token while no sandbox can be made, less with": {
            "p50_ms": round((quantile(without, 0.5) - quantile(tool_token, 0.5)) * 1000, 3)
        },
        "send to model request, with tools": summary(tool_first),
        "send to agent.message": summary(message),
        "session create": summary(await _creates(d, plain, environment)),
        "session create, 16 clients": {"per_second": round(await _create_rate(d, plain, environment))},
    }


async def _turns(
    d: Deployment, agent: str, environment: str, rounds: int, label: str, until: str = "session.status_idle"
) -> tuple[list[float], list[float], list[float]]:
    """Each turn in a session of its own: to the model's first byte, to the first delta, to the message (seconds). It is
    watched until an event of the type `until`."""
    first: list[float] = []
    token: list[float] = []
    message: list[float] = []
    for number in range(rounds):
        session = await d.session(agent, environment)
        stream = await d.client.stream(f"/v1/sessions/{session}/events/stream?event_deltas[]=agent.message")
        name = f"bench-{label}-{number}"
        start = time.perf_counter()
        sending = asyncio.create_task(d.say(session, name))
        async for kind, _ in stream.events():
            if kind == "event_delta" and len(token) == number:
                token.append(time.perf_counter() - start)
            elif kind == "agent.message":
                message.append(time.perf_counter() - start)
            if kind == until:
                break
        await sending
        first.append(d.model.first_byte[name] - start)
        stream.close()
    return first, token, message


async def _without_sandboxes(
    d: Deployment, agent: str, environment: str
) -> tuple[list[float], list[float], list[float]]:
    """Turns while the process that makes sandboxes stands still: provisioning that takes for ever. Their ends wait for
    it, to ask for the session's outputs, so they are not watched to their ends."""
    zygote = d.pids()["zygote"]
    os.kill(zygote, signal.SIGSTOP)
    try:
        return await _turns(d, agent, environment, ROUNDS, "stopped", until="agent.message")
    finally:
        os.kill(zygote, signal.SIGCONT)


async def _direct(d: Deployment, rounds: int) -> list[float]:
    client = Client(d.model.url, "none")
    reader, writer = await client.connect()
    taken: list[float] = []
    body = b'{"messages":[{"role":"user","content":"direct"}]}'
    for _ in range(rounds):
        start = time.perf_counter()
        writer.write(b"POST /v1/messages HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await reader.readuntil(b"text_delta")
        taken.append(time.perf_counter() - start)
        await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    return taken


async def _creates(d: Deployment, agent: str, environment: str) -> list[float]:
    taken: list[float] = []
    for _ in range(300):
        start = time.perf_counter()
        await d.session(agent, environment)
        taken.append(time.perf_counter() - start)
    return taken


async def _create_rate(d: Deployment, agent: str, environment: str) -> float:
    total, clients = 2000, 16

    async def one() -> None:
        for _ in range(total // clients):
            await d.session(agent, environment)

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(clients)))
    return total / (time.perf_counter() - start)
