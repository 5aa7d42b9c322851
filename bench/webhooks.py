"""Ten thousand webhooks that wait when the whole server is killed: what comes of them after the restart, how fast."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.deployment import Deployment, deployed

COUNT = 10_000
CLIENTS = 16
PATIENCE_SECONDS = 900
TABLES = '[webhooks]\nallow_private = ["127.0.0.1"]\ntimeout = 500\n'
ANSWER = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"


class Receiver:
    """Answers nobody until `gate` is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.came: Counter[bytes] = Counter()
        self.enough = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(_header(head, b"content-length")))
            await self.gate.wait()
            writer.write(ANSWER)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
        self.came[_header(head, b"webhook-id")] += 1
        if len(self.came) >= COUNT:
            self.enough.set()


def _header(head: bytes, name: bytes) -> bytes:
    found = re.search(b"\r\n" + name + b": *([^\r]+)", head)
    assert found is not None, head
    return found[1]


async def measure() -> dict[str, Any]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with tempfile.TemporaryDirectory(prefix="outrider-bench-") as name:
        async with deployed(place=Path(name), tables=TABLES) as d:
            await d.client.post("/outrider/v1/webhooks", {"url": url, "enabled_events": ["vault.created"]})
            await _happen(d)
            d.kill_all()
        receiver.gate.set()
        began = time.perf_counter()
        async with deployed(place=Path(name), tables=TABLES):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await receiver.enough.wait()
            seconds = time.perf_counter() - began
    server.close()
    twice = sum(times - 1 for times in receiver.came.values())
    lost = COUNT - len(receiver.came)
    return {"10,000 deliveries after a kill": {"lost": lost, "sent again": twice, "per_s": round(COUNT / seconds)}}


async def _happen(d: Deployment) -> None:
    left = iter(range(COUNT))

    async def make() -> None:
        for number in left:
            await d.client.post("/v1/vaults", {"display_name": f"v{number}"})

    await asyncio.gather(*(make() for _ in range(CLIENTS)))
