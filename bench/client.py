"""A thin HTTP client on asyncio streams, so that the client's own time hardly counts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

IDLE_SECONDS = 3.0


class Client:
    """Keep-alive connections to one server; `post` and `get` give parsed JSON, `stream` server-sent events."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._headers = (
            f"host: {parts.netloc}\r\nauthorization: Bearer {key}\r\n"
            "anthropic-beta: managed-agents-2026-04-01\r\ncontent-type: application/json\r\n"
        )
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = []

    def forget(self) -> None:
        """Drop the kept connections: the server they lead to is gone."""
        for _, writer, _ in self._idle:
            writer.close()
        self._idle.clear()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port, limit=64 * 1024 * 1024)

    async def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return await self._call("POST", path, json.dumps(body or {}).encode())

    async def get(self, path: str) -> Any:
        return await self._call("GET", path, b"")

    async def _call(self, method: str, path: str, body: bytes) -> Any:
        reader, writer = self._kept() or await self.connect()
        writer.write(f"{method} {path} HTTP/1.1\r\n{self._headers}content-length: {len(body)}\r\n\r\n".encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        answer = await reader.readexactly(length)
        self._idle.append((reader, writer, time.monotonic()))
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{method} {path}: {head.splitlines()[0]!r} {answer[:300]!r}")
        return json.loads(answer)

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection that the server will not hang up on while we write: it does so after 5 idle seconds."""
        while self._idle:
            reader, writer, since = self._idle.pop()
            if not reader.at_eof() and time.monotonic() - since < IDLE_SECONDS:
                return reader, writer
            writer.close()
        return None

    async def stream(self, path: str) -> Stream:
        reader, writer = await self.connect()
        writer.write(f"GET {path} HTTP/1.1\r\n{self._headers}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"GET {path}: {head.splitlines()[0]!r}")
        return Stream(reader, writer)


class Stream:
    """Server-sent events of one connection, as (type, data) with the data still as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""

    def close(self) -> None:
        self._writer.close()

    async def events(self) -> AsyncIterator[tuple[str, bytes]]:
        while True:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            if size == 0:
                return
            self._buffer += (await self._reader.readexactly(size + 2))[:-2]
            while b"\n\n" in self._buffer:
                event, _, self._buffer = self._buffer.partition(b"\n\n")
                kind, _, data = event.partition(b"\ndata: ")
                yield kind[7:].decode(), data

    async def until(self, wanted: str) -> bytes:
        async for kind, data in self.events():
            if kind == wanted:
                return data
        raise RuntimeError(f"the stream ended before {wanted}")
