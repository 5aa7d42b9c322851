"""Ten thousand webhooks, and the whole server killed while it sends them: what comes of them after the restart, how
fast. Each is of a vault of its own: it must come, and whenever it comes, under the same id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.deployment import Deployment, deployed

COUNT = 10_000
BEFORE = 1_000  # have come when the server is killed
CLIENTS = 16
PATIENCE_SECONDS = 300  # after which what has not come is lost
TABLES = '[webhooks]\nallow_private = ["127.0.0.1"]\ntimeout = 500\n'
ANSWER = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"


class Receiver:
    """Answers nobody until `gate` is open. `ids` are those under which each vault came, as often as it did."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.ids: dict[str, list[str]] = defaultdict(list)
        self._changed = asyncio.Condition()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = json.loads(await reader.readexactly(int(_header(head, b"content-length"))))
            await self.gate.wait()
            writer.write(ANSWER)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
        self.ids[body["data"]["id"]].append(_header(head, b"webhook-id").decode())
        async with self._changed:
            self._changed.notify_all()

    async def until(self, count: int) -> None:
        """So many vaults were told of, or it has taken too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
                await self._changed.wait_for(lambda: len(self.ids) >= count)

    def counts(self) -> dict[str, int]:
        again = sum(len(ids) - 1 for ids in self.ids.values())
        other = sum(len(set(ids)) - 1 for ids in self.ids.values())
        return {"lost": COUNT - len(self.ids), "sent again": again, "under another id": other}


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
            receiver.gate.set()
            await receiver.until(BEFORE)
            d.kill_all()
        left, began = COUNT - len(receiver.ids), time.perf_counter()
        async with deployed(place=Path(name), tables=TABLES):
            await receiver.until(COUNT)
            seconds = time.perf_counter() - began
    server.close()
    return {"10,000 deliveries after a kill": {**receiver.counts(), "per_s": round(left / seconds)}}


async def _happen(d: Deployment) -> None:
    left = iter(range(COUNT))

    async def make() -> None:
        for number in left:
            await d.client.post("/v1/vaults", {"display_name": f"v{number}"})

    await asyncio.gather(*(make() for _ in range(CLIENTS)))
