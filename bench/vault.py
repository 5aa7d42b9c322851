"""What the vault adds to a model's first token: the same streamed request straight to the model and through the vault.

One plain client for both, which keeps its connections, and takes them in turn, so that both see the same noise. Through
the vault each request is a new session's first one: its capability is minted on the way.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bench.deployment import Deployment
from bench.figures import quantile, summary
from outrider.endpoints import CAPABILITY_HEADER
from outrider.links.vault import claim_text

ROUNDS = 400
WARM = 40
PROMPT_BYTES = 20_000
FIRST_TOKEN, END = b"content_block_delta", b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Way:
    """A kept connection and the path of the model on it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    path: str

    async def ask(self, number: int, body: bytes) -> float:
        """Seconds from sending the request to its first token; the answer is read to its end."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            f"{CAPABILITY_HEADER}: {claim_text(f'sesn_bench{number}', 1)}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        start = time.perf_counter()
        self.writer.write(head.encode() + body)
        await self.reader.readuntil(FIRST_TOKEN)
        taken = time.perf_counter() - start
        await self.reader.readuntil(END)
        return taken

    def close(self) -> None:
        self.writer.close()


async def measure(d: Deployment) -> dict[str, Any]:
    parts = urlsplit(d.model.url)
    direct = Way(*await asyncio.open_connection(parts.hostname, parts.port), "/v1/messages")
    sock = str(d.data / "run" / "vault.sock")
    through = Way(*await asyncio.open_unix_connection(sock), "/model/default/v1/messages")
    content = f"bench-vault {'x' * PROMPT_BYTES}"
    body = json.dumps({"model": "fast", "stream": True, "messages": [{"role": "user", "content": content}]}).encode()
    times: dict[Way, list[float]] = {direct: [], through: []}
    for number in range(WARM + ROUNDS):
        for way, taken in times.items():
            seconds = await way.ask(number, body)
            if number >= WARM:
                taken.append(seconds)
    for way in times:
        way.close()
    added = {
        f"p{q:.0f}_ms": round((quantile(times[through], q / 100) - quantile(times[direct], q / 100)) * 1000, 3)
        for q in (50, 95)
    }
    return {"direct": summary(times[direct]), "through": summary(times[through]), "added": added}
