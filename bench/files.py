"""A file of 500 MB up and down: how fast, and how much the server's process grows at its highest."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from bench.deployment import KEY, Deployment, deployed

MEGABYTE = 1024 * 1024
SIZE = 500 * MEGABYTE
BOUNDARY = "bench"
BEGIN = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n\r\n'.encode()
END = f"\r\n--{BOUNDARY}--\r\n".encode()
PIECE = bytes(range(256)) * 1024  # a quarter of a megabyte


async def measure() -> dict[str, Any]:
    async with deployed(server="downloadable_uploads = true") as d:
        pid = d.pids()["server"]
        await _up(d, MEGABYTE)  # what is loaded once does not count
        before = _begin(pid)
        started = time.perf_counter()
        name = await _up(d, SIZE)
        up, highest_up = time.perf_counter() - started, _highest(pid)
        started = time.perf_counter()
        await _down(d, name)
        down, highest_down = time.perf_counter() - started, _highest(pid)
    return {
        "500 MB up": {"mb_s": round(500 / up), "growth_mb": round(highest_up - before, 1)},
        "500 MB down": {"mb_s": round(500 / down), "growth_mb": round(highest_down - before, 1)},
    }


def _begin(pid: int) -> float:
    """Forget the highest so far; MB now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _highest(pid)


def _highest(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


async def _up(d: Deployment, size: int) -> str:
    reader, writer = await d.client.connect()
    length = len(BEGIN) + size + len(END)
    head = f"POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\ncontent-length: {length}\r\n"
    writer.write(f"{head}content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode() + BEGIN)
    for _ in range(size // len(PIECE)):
        writer.write(PIECE)
        await writer.drain()
    writer.write(END)
    body = await _body(reader)
    writer.close()
    return json.loads(body)["id"]


async def _down(d: Deployment, name: str) -> None:
    reader, writer = await d.client.connect()
    writer.write(
        f"GET /v1/files/{name}/content HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\n\r\n".encode()
    )
    left = await _length(reader)
    assert left == SIZE, left
    while left:
        left -= len(await reader.read(min(left, MEGABYTE)))
    writer.close()


async def _body(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(await _length(reader))


async def _length(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
