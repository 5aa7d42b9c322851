"""Many live readers of one session on one server process: lost events, and how late each one is told."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from bench.client import Stream
from bench.deployment import Deployment
from bench.figures import summary

READERS = 1000
EVENTS = 20
WARM_UP = 2  # events before these, which count for nothing: statements are prepared, and all streams are open


async def measure(d: Deployment) -> dict[str, Any]:
    agent, environment = await d.agent(), await d.environment()
    session = await d.session(agent, environment)
    streams = [await d.client.stream(f"/v1/sessions/{session}/events/stream") for _ in range(READERS)]
    lags: list[float] = []
    sent: dict[str, float] = {}
    readers = [asyncio.create_task(_read(stream, sent, lags)) for stream in streams]
    for number in range(-WARM_UP, EVENTS):
        title = f"title {number}"
        if number >= 0:
            sent[title] = time.perf_counter()
        await d.client.post(f"/v1/sessions/{session}", {"title": title})
        await asyncio.sleep(0.2)
    async with asyncio.timeout(60):
        counts = await asyncio.gather(*readers)
    for stream in streams:
        stream.close()
    lost = sum(EVENTS - count for count in counts)
    return {
        "1,000 live readers": {
            **summary(lags),
            "readers": READERS,
            "events": EVENTS,
            "lost": lost,
            "deliveries": len(lags),
        }
    }


async def _read(stream: Stream, sent: dict[str, float], lags: list[float]) -> int:
    count = 0
    async for kind, data in stream.events():
        if kind == "session.updated":
            at = time.perf_counter()
            title = msgspec.json.decode(data)["title"]
            if title not in sent:
                continue
            count += 1
            lags.append(at - sent[title])
            if count == EVENTS:
                break
    return count
