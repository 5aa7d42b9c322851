"""The MCP connections of this process: one for each server of a session, opened when asked for, closed when idle.

Promised: a call reaches its server once; every wait has an end. The client's library is loaded with the first use, in a
thread, so that a vault whose sessions use no MCP servers does without it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from outrider import faults
from outrider.config import McpSettings
from outrider.errors import ConnectorFailed
from outrider.ports.mcp import CONNECTION_FAILED, Server
from outrider.ports.vaults import SecretRef
from outrider.proxy.credentials import Credentials, Who
from outrider.proxy.mcp.access import Access
from outrider.proxy.outside import Outside

if TYPE_CHECKING:
    from outrider.proxy.mcp.connection import Connection

LISTED_SECONDS = 300.0
IDLE_SECONDS = 300.0
SWEEP_SECONDS = 15.0
LIBRARY = "outrider.proxy.mcp.connection"


@dataclass(slots=True)
class _Line:
    """The way to one server of one session. `lock` is held while the connection is made or listed."""

    connection: Connection | None = None
    whose: tuple[str, ...] = ()
    listed: float = 0.0
    used: float = 0.0
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Connector:
    """One for the process, while `running`."""

    def __init__(
        self, credentials: Credentials, outside: Outside, settings: McpSettings, monotonic: Callable[[], float]
    ) -> None:
        self._credentials = credentials
        self._outside = outside
        self._settings = settings
        self._monotonic = monotonic
        self._lines: dict[tuple[str, str], _Line] = {}

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Connector]:
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield self
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
            await asyncio.gather(*(self._hang_up(line) for line in self._lines.values()))

    async def tools(self, server: Server) -> list[dict[str, Any]]:
        """Raises ConnectorFailed."""
        async with self._line(server) as line:
            connection = await self._connected(server, line)
            if connection.stale or self._monotonic() - line.listed > LISTED_SECONDS:
                connection = await self._relisted(server, line, connection)
            return connection.tools

    async def call(self, server: Server, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Raises ConnectorFailed, CallLost."""
        async with self._line(server) as line:
            over = (await self._library()).SessionOver
            connection = await self._connected(server, line)
            try:
                return await self._called(connection, tool, arguments)
            except over:  # the server forgot us, and did nothing
                await self._drop(line, connection)
            connection = await self._connected(server, line)
            try:
                return await self._called(connection, tool, arguments)
            except over:
                raise ConnectorFailed(
                    f"MCP server {server.name} forgets its sessions at once.", CONNECTION_FAILED
                ) from None

    async def _called(self, connection: Connection, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        faults.point("vault.mcp.before")
        result = await connection.call(tool, arguments)
        faults.point("vault.mcp.after")
        return result

    async def _relisted(self, server: Server, line: _Line, connection: Connection) -> Connection:
        over = (await self._library()).SessionOver
        async with line.lock:
            try:
                await connection.relist(self._settings.connect_timeout)
            except (over, ConnectorFailed):  # it may have been away: once more from the beginning
                await self._close(line)
            else:
                line.listed = self._monotonic()
                return connection
        return await self._connected(server, line)

    @asynccontextmanager
    async def _line(self, server: Server) -> AsyncGenerator[_Line]:
        """The line to a server, which is not idle meanwhile. Raises ConnectorFailed when there are too many."""
        key = (server.session, server.name)
        line = self._lines.get(key)
        if line is None:
            await self._make_room()
            line = self._lines.setdefault(key, _Line())
        line.users += 1
        try:
            yield line
        finally:
            line.users -= 1
            line.used = self._monotonic()

    async def _make_room(self) -> None:
        if len(self._lines) < self._settings.connections:
            return
        idle = [(line.used, key) for key, line in self._lines.items() if not line.users]
        if not idle:
            raise ConnectorFailed("This server has too many MCP connections at work.", CONNECTION_FAILED)
        await self._hang_up(self._lines.pop(min(idle)[1]))

    async def _connected(self, server: Server, line: _Line) -> Connection:
        async with line.lock:
            whose = (server.url, *_credential(server.credential))
            if line.connection is not None and (not line.connection.alive or line.whose != whose):
                await self._close(line)
            if line.connection is None:
                line.connection = await self._opened(server)
                line.whose, line.listed = whose, self._monotonic()
            line.connection.access.ref = server.credential  # a newer version, it may be
            line.connection.access.who = Who(server.session, server.epoch)
            return line.connection

    async def _opened(self, server: Server) -> Connection:
        library = await self._library()
        access = Access(server.url, self._credentials, Who(server.session, server.epoch), server.credential)
        connection: Connection = library.Connection(
            server.name, server.url, access, self._outside, self._settings.call_timeout
        )
        await connection.open(self._settings.connect_timeout)
        return connection

    async def _library(self) -> Any:
        loaded = sys.modules.get(LIBRARY)
        return loaded if hasattr(loaded, "Connection") else await asyncio.to_thread(import_module, LIBRARY)

    async def _drop(self, line: _Line, connection: Connection) -> None:
        async with line.lock:
            if line.connection is connection:
                await self._close(line)

    async def _close(self, line: _Line) -> None:
        connection, line.connection = line.connection, None
        if connection is not None:
            await connection.close()

    async def _hang_up(self, line: _Line) -> None:
        async with line.lock:
            await self._close(line)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._monotonic()
            for key, line in list(self._lines.items()):
                if not line.users and now - line.used > IDLE_SECONDS:
                    del self._lines[key]
                    await self._hang_up(line)


def _credential(ref: SecretRef | None) -> tuple[str, ...]:
    """Another version of the same credential is not another user."""
    return () if ref is None else (ref.workspace, ref.vault, ref.credential)
