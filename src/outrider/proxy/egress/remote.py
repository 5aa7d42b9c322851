"""Ways out of sandboxes on other hosts: each host passes on what comes by its sandboxes' listeners, over mutual TLS.

A host speaks for the sessions that are placed on it, by the word of their owners, and for no others: one that was taken
over reaches what its own sessions may reach, under their names, and nothing of anybody else's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from outrider.errors import PeerRefused
from outrider.links.peers import check_role
from outrider.links.ways import ASK_SECONDS, CHUNK, Forwarded, joined
from outrider.proxy.egress.connection import Connection, Terms
from outrider.proxy.egress.policy import Policy

log = logging.getLogger("outrider.egress")


@dataclass(eq=False, slots=True)
class FarWay:
    """One sandbox on the host of this name, which is told over `writer`."""

    session: str
    host: str
    writer: asyncio.StreamWriter
    said: bytes = b""


class Remote:
    """`policies` gives what a session may reach now, `tell` what its sandbox must be told."""

    def __init__(
        self,
        policies: Callable[[str], Policy | None],
        terms: Terms,
        most: int,
        tell: Callable[[Policy | None], Mapping[str, Any]],
    ) -> None:
        self._policies = policies
        self._terms = terms
        self._most = most
        self._tell = tell
        self._ways: dict[str, set[FarWay]] = {}
        self._open: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def settled(self, session: str) -> None:
        """Tell the session's sandboxes what has changed for them."""
        for way in self._ways.get(session, ()):
            self._say(way)

    @asynccontextmanager
    async def open(self, listener: socket.socket, context: ssl.SSLContext) -> AsyncGenerator[None]:
        server = await asyncio.start_server(self._begin, sock=listener, ssl=context, limit=CHUNK)
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            peer = check_role(writer.get_extra_info("ssl_object"), ("sandbox",), "a sandbox host")
            async with asyncio.timeout(ASK_SECONDS):
                asked = msgspec.json.decode(await reader.readline(), type=Forwarded)
            serve = self._way if asked.way else self._connection
            await serve(peer.name, asked.session, reader, writer)
        except PeerRefused as refused:
            log.warning("refused: %s", refused.message)
        except (OSError, TimeoutError, ValueError, msgspec.DecodeError) as error:
            log.warning("a sandbox host's connection broke off: %s", error)
        finally:
            writer.close()

    def _policy(self, host: str, session: str) -> Policy | None:
        """What the session may reach, if this host has it."""
        found = self._policies(session)
        if found is not None and found.build:
            return found  # builds are on every host
        return found if found is not None and host in found.places else None

    async def _way(self, host: str, session: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = FarWay(session, host, writer)
        self._ways.setdefault(session, set()).add(way)
        try:
            self._say(way)
            while await reader.read(CHUNK):
                pass
        finally:
            self._ways[session].discard(way)
            if not self._ways[session]:
                del self._ways[session]

    def _say(self, way: FarWay) -> None:
        line = json.dumps(self._tell(self._policy(way.host, way.session))).encode() + b"\n"
        if line != way.said:
            way.said = line
            way.writer.write(line)

    async def _connection(
        self, host: str, session: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        inside, outside = socket.socketpair()
        with inside, outside:
            inside.setblocking(False)
            outside.setblocking(False)
            connection = Connection(inside, lambda: self._policy(host, session), self._terms)
            full = self._open.get(session, 0) >= self._most
            work = (
                connection.refuse(503, f"this session has {self._most} connections open") if full else connection.run()
            )
            self._open[session] = self._open.get(session, 0) + 1
            serving = asyncio.create_task(work)
            try:
                await joined(outside, reader, writer)
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
                self._open[session] -= 1
                if not self._open[session]:
                    del self._open[session]
