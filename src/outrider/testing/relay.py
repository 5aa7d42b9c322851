"""A TCP relay in front of a service, so that one process can be cut off from it and joined to it again.

While it is cut, nothing passes and nothing is closed: what was under way arrives after the cut has healed, as on a
network that loses packets. It knows nothing of what it carries.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

CHUNK = 64 * 1024
CONNECT_SECONDS = 5.0


class Relay:
    """Listens on a free `port` of `address` (loopback unless given) and passes on to `host`:`target`."""

    def __init__(self, host: str, target: int, *, address: str = "127.0.0.1") -> None:
        self._host = host
        self._target = target
        self.address = address
        self._whole = asyncio.Event()
        self._whole.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    def cut(self) -> None:
        self._whole.clear()

    def heal(self) -> None:
        self._whole.set()

    def reset(self) -> None:
        """Break all connections that pass now; new ones are let through."""
        for writer in list(self._writers):
            writer.transport.abort()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Relay]:
        server = await asyncio.start_server(self._pass, self.address, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.heal()
            self.reset()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._whole.wait()
            async with asyncio.timeout(CONNECT_SECONDS):
                beyond, out = await asyncio.open_connection(self._host, self._target)
            self._writers.add(out)
            try:
                await asyncio.gather(self._pump(reader, out), self._pump(beyond, writer))
            finally:
                self._writers.discard(out)
                out.transport.abort()
        except (OSError, TimeoutError):
            pass  # the service is away: its client sees a closed connection
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            await self._whole.wait()
            writer.write(chunk)
            await writer.drain()
        await self._whole.wait()
        with contextlib.suppress(OSError):
            writer.write_eof()
