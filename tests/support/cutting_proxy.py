"""A TCP proxy that breaks connections at a chosen moment: before a request arrives, or after it was carried out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

Moment = Literal["request", "answer"]


class CuttingProxy:
    """`cut` arms it: the next request is lost on its way, or the next answer is."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._armed: Moment | None = None
        self._word: bytes | None = None
        self._refuses = False
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self.cuts = 0
        self.port = 0

    def cut(self, moment: Moment) -> None:
        self._armed = moment

    def cut_after(self, word: bytes) -> None:
        """The answer to the next request that holds this word is lost."""
        self._word = word

    def towards(self, port: int) -> None:
        """New connections lead to another server."""
        self._target = port

    def refuse(self, refuses: bool) -> None:
        """As if the server were gone: all connections break, and new ones do at once."""
        self._refuses = refuses
        if refuses:
            for pair in list(self._pairs):
                self._break(pair)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[CuttingProxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.refuse(True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        pair = (writer, far_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._carry(reader, far_writer, "request", pair), self._carry(far_reader, writer, "answer", pair)
            )
        finally:
            self._break(pair)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        moment: Moment,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self._armed == moment:
                    self._armed = None
                    self.cuts += 1
                    break
                if moment == "request" and self._word is not None and self._word in data:
                    self._word, self._armed = None, "answer"
                writer.write(data)
                await writer.drain()
        self._break(pair)

    def _break(self, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self._pairs.discard(pair)
        for writer in pair:
            writer.transport.abort()
