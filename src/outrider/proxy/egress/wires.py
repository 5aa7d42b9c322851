"""Byte streams that the proxy speaks over: bare sockets, and TLS on top of them. Both have deadlines."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

CHUNK = 64 * 1024


class Gone(Exception):
    """The other end went away, or was silent for too long."""


class Wire(Protocol):
    async def read(self, seconds: float) -> bytes:
        """What comes next, b"" at the end. Raises Gone."""
        ...

    async def write(self, data: bytes, seconds: float) -> None: ...
    def close(self) -> None: ...


class SocketWire:
    """A bare non-blocking socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._loop = asyncio.get_running_loop()

    async def read(self, seconds: float) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                return await self._loop.sock_recv(self.socket, CHUNK)
        except (OSError, TimeoutError) as error:
            raise Gone(str(error) or "silent for too long") from error

    async def write(self, data: bytes, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._loop.sock_sendall(self.socket, data)
        except (OSError, TimeoutError) as error:
            raise Gone(str(error) or "takes nothing for too long") from error

    def close(self) -> None:
        self.socket.close()


class StreamWire:
    """An asyncio stream, which may be TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, seconds: float) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                return await self._reader.read(CHUNK)
        except (OSError, TimeoutError) as error:
            raise Gone(str(error) or "silent for too long") from error

    async def write(self, data: bytes, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                self._writer.write(data)
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise Gone(str(error) or "takes nothing for too long") from error

    def close(self) -> None:
        self._writer.close()
