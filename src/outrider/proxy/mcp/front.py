"""The connector's answers on the vault's socket. An ask ends with the connection that it came by."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.types import Receive

from outrider.errors import CallLost, ConnectorFailed, KeyUnavailable, NotFound
from outrider.links.mcp import CALL, TOOLS, CallAsk, Failed, Named, ToolsAsk
from outrider.ports.log import SessionKey
from outrider.ports.mcp import CONNECTION_FAILED, Server
from outrider.proxy.desk import read
from outrider.proxy.mcp.connector import Connector
from outrider.vault.capabilities import Capabilities
from outrider.vault.declarations import Declarations


class Front:
    """`declared`: what sessions may use; a server's address is the declared one, whatever a harness says."""

    def __init__(self, connector: Connector, capabilities: Capabilities, declared: Declarations) -> None:
        self._connector = connector
        self._capabilities = capabilities
        self._declared = declared

    async def answer(self, path: str, body: bytes, receive: Receive) -> bytes:
        """Raises Conflict for an epoch that is over, NotDeclared, InvalidRequest, NotFound."""
        asking = asyncio.create_task(self._asked(path, body))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait([asking, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                return b"{}"  # nobody reads it
            return msgspec.json.encode(asking.result())
        finally:
            for task in (asking, leaving):
                task.cancel()
            await asyncio.gather(asking, leaving, return_exceptions=True)

    async def _asked(self, path: str, body: bytes) -> dict[str, Any]:
        try:
            if path == TOOLS:
                listing = read(body, ToolsAsk)
                return {"tools": await self._connector.tools(await self._server(listing.server))}
            if path == CALL:
                call = read(body, CallAsk)
                return await self._connector.call(await self._server(call.server), call.tool, call.arguments)
        except ConnectorFailed as failure:
            return {"failed": Failed(failure.kind, failure.message)}
        except KeyUnavailable as problem:
            return {"failed": Failed(CONNECTION_FAILED, problem.message)}
        except CallLost as lost:
            return {"lost": lost.message}
        raise NotFound(f"The vault has no {path}.")

    async def _server(self, asked: Named) -> Server:
        self._capabilities.see(asked.session, asked.epoch)
        said = await self._declared.of(SessionKey(asked.workspace, asked.session))
        url, credential = said.server(asked.name).url, asked.credential
        if credential is not None:
            said.check_vault(credential.workspace, credential.vault)
        return Server(asked.workspace, asked.session, asked.epoch, asked.name, url, credential)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
