"""Sandboxes' ways out to the egress proxy: how a shim hands one over, and how a sandbox host whose vault is elsewhere
passes on what comes by it, over mutual TLS.

Promised: whose way it is follows from the user that hands it over. The far vault believes the host's certificate, and
its own record of which host has which session: see `proxy.egress.remote`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import ssl
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from outrider.errors import PeerRefused
from outrider.links.peers import dial

SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
ASK_SECONDS = 5.0
PAUSE_SECONDS = 0.5
CHUNK = 64 * 1024
LONGEST_LINE = 4 * 1024**2
_PEER = struct.Struct("iII")

log = logging.getLogger("outrider.egress")


class Forwarded(msgspec.Struct, forbid_unknown_fields=True):
    """The first line of a connection from a sandbox host: `way` asks what the sandbox must be told, line by line;
    without it what follows are the bytes of one of the session's connections."""

    session: str
    way: bool


async def readable(connection: socket.socket) -> None:
    """Until there is something to read, or a connection to accept."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection.fileno())


async def accepted(listener: socket.socket) -> socket.socket:
    """The next connection, non-blocking; none is lost when the waiting is cancelled. Raises OSError."""
    while True:
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            await readable(listener)
        else:
            client.setblocking(False)
            return client


async def handed_over(link: socket.socket, sessions: Path) -> tuple[str, socket.socket] | None:
    """The session and its listener, if the process at the other end is the user whose session that is."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            await readable(link)
            asked, fds, _, _ = socket.recv_fds(link, 4096, 4, socket.MSG_CMSG_CLOEXEC)
    except (OSError, TimeoutError):
        return None
    kept = [socket.socket(fileno=fd) for fd in fds]
    session = _session(asked)
    if len(kept) == 1 and session is not None and _may(link, sessions / session) and _listens(kept[0]):
        kept[0].setblocking(False)
        return session, kept[0]
    log.warning("refused a listener that was offered for session %s", session)
    for one in kept:
        one.close()
    return None


def _may(link: socket.socket, place: Path) -> bool:
    """Whether the process at the other end is the user whose sandbox this is."""
    peer = _PEER.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1]
    try:
        return os.lstat(place / "own").st_uid == peer
    except OSError:
        return False


def _session(asked: bytes) -> str | None:
    try:
        found: Any = json.loads(asked)
        session = found["session"]
    except (ValueError, TypeError, KeyError):
        return None
    return session if isinstance(session, str) and SESSION.fullmatch(session) else None


def _listens(found: socket.socket) -> bool:
    return (
        found.family == socket.AF_INET
        and found.type == socket.SOCK_STREAM
        and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    )


async def hung_up(link: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while await asyncio.get_running_loop().sock_recv(link, 4096):
            pass


async def joined(near: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes both ways until the far end is gone, or the near one has been answered to its end."""
    loop = asyncio.get_running_loop()

    async def outward() -> None:
        while data := await loop.sock_recv(near, CHUNK):
            writer.write(data)
            await writer.drain()

    async def inward() -> None:
        while data := await reader.read(CHUNK):
            await loop.sock_sendall(near, data)
        near.shutdown(socket.SHUT_WR)

    ways = {asyncio.ensure_future(outward()), asyncio.ensure_future(inward())}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


class Forwarder:
    """On a sandbox host: takes the ways out of its sandboxes to the vault at `address`. `sessions` holds a directory a
    session, owned by its user; one session has `most` connections at once."""

    def __init__(self, sessions: Path, address: tuple[str, int], context: ssl.SSLContext, most: int) -> None:
        self._sessions = sessions
        self._address = address
        self._context = context
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self, listener: socket.socket) -> AsyncGenerator[None]:
        listener.setblocking(False)
        self._start(self._greet(listener))
        try:
            yield
        finally:
            while self._tasks:
                held = list(self._tasks)
                for task in held:
                    task.cancel()
                await asyncio.gather(*held, return_exceptions=True)

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _greet(self, listener: socket.socket) -> None:
        while True:
            try:
                link = await accepted(listener)
            except OSError as error:
                log.warning("a sandbox's listener can't be taken in: %s", error)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self._start(self._host(link)).add_done_callback(lambda _, link=link: link.close())

    async def _host(self, link: socket.socket) -> None:
        """One sandbox, until its shim hangs up."""
        found = await handed_over(link, self._sessions)
        if found is None:
            return
        session, listener = found
        tasks = [self._start(self._hear(link, session)), self._start(self._accept(listener, session))]
        try:
            await hung_up(link)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            listener.close()

    async def _hear(self, link: socket.socket, session: str) -> None:
        """Pass on what the sandbox must be told, whenever the vault says it."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with self._dialled(session, way=True) as (reader, _):
                    while line := await reader.readline():
                        await loop.sock_sendall(link, line)
            except (OSError, TimeoutError, ValueError, PeerRefused) as error:
                log.warning("no way out for session %s: %s", session, error)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _accept(self, listener: socket.socket, session: str) -> None:
        open_now = set[asyncio.Task[None]]()
        while True:
            try:
                client = await accepted(listener)
            except OSError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if len(open_now) >= self._most:
                client.close()
                continue
            task = self._start(self._carry(client, session))
            open_now.add(task)
            task.add_done_callback(open_now.discard)
            task.add_done_callback(lambda _, client=client: client.close())

    async def _carry(self, client: socket.socket, session: str) -> None:
        try:
            async with self._dialled(session, way=False) as (reader, writer):
                await joined(client, reader, writer)
        except (OSError, TimeoutError, PeerRefused) as error:
            log.warning("a connection of session %s is not passed on: %s", session, error)

    @asynccontextmanager
    async def _dialled(
        self, session: str, *, way: bool
    ) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        _, reader, writer = await dial(*self._address, self._context, "vault", limit=LONGEST_LINE)
        try:
            writer.write(msgspec.json.encode(Forwarded(session, way)) + b"\n")
            yield reader, writer
        finally:
            writer.close()
