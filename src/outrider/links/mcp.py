"""The MCP connector's messages on the vault's socket, and the harness's client of it.

A call leaves once, on a connection of its own: what was sent and not answered is lost, never sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec

from outrider.errors import CallLost, ConnectorFailed, Fenced, NotDeclared
from outrider.links.refusals import REFUSAL_HEADER, REFUSED_DECLARATION
from outrider.links.unix_http import ONCE
from outrider.ports.mcp import CONNECTION_FAILED, Server, ServerTool
from outrider.ports.sandbox import ToolOutcome
from outrider.ports.vaults import SecretRef

TOOLS, CALL = "/mcp/tools", "/mcp/call"
LISTING_TRIES = 3
MARGIN_SECONDS = 60.0  # beyond the vault's own limits, for a silent vault


class Named(msgspec.Struct, forbid_unknown_fields=True):
    """A server of a session by its name; the vault knows its address."""

    workspace: str
    session: str
    epoch: int
    name: str
    credential: SecretRef | None


class ToolsAsk(msgspec.Struct, forbid_unknown_fields=True):
    """POST /mcp/tools"""

    server: Named


class CallAsk(msgspec.Struct, forbid_unknown_fields=True):
    """POST /mcp/call"""

    server: Named
    tool: str
    arguments: dict[str, Any]


class Failed(msgspec.Struct):
    """As `ConnectorFailed`."""

    kind: str
    message: str


class Answer(msgspec.Struct, omit_defaults=True):
    """One of: the tools, a result, why the server was not asked, why nobody knows the outcome."""

    tools: list[ServerTool] | None = None
    content: list[dict[str, Any]] | None = None
    is_error: bool = False
    failed: Failed | None = None
    lost: str | None = None


class ConnectorsLink:
    """Implements `Connectors` over a client of the vault's socket, which it closes. `seconds`: the vault's longest
    wait for a call, and for a connection."""

    def __init__(self, client: httpx2.AsyncClient, seconds: tuple[float, float]) -> None:
        self._client = client
        self._call_seconds = seconds[0] + 2 * seconds[1] + MARGIN_SECONDS
        self._list_seconds = 2 * seconds[1] + MARGIN_SECONDS

    async def close(self) -> None:
        await self._client.aclose()

    async def tools(self, server: Server) -> list[ServerTool]:
        for tries_left in reversed(range(LISTING_TRIES)):
            try:
                return (await self._post(TOOLS, ToolsAsk(_named(server)), server, self._list_seconds)).tools or []
            except CallLost as lost:  # a vault that was started again lists anew
                if not tries_left:
                    raise ConnectorFailed(lost.message, CONNECTION_FAILED) from None
        raise AssertionError("unreachable")

    async def call(self, server: Server, tool: str, arguments: dict[str, Any]) -> ToolOutcome:
        answer = await self._post(CALL, CallAsk(_named(server), tool, arguments), server, self._call_seconds)
        return ToolOutcome(answer.content or [], answer.is_error)

    async def _post(self, path: str, ask: msgspec.Struct, server: Server, seconds: float) -> Answer:
        more: Mapping[str, Any] = {"timeout": seconds, "extensions": {ONCE: True}}
        try:
            response = await self._client.post(path, content=msgspec.json.encode(ask), **more)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise ConnectorFailed(f"The vault does not answer ({type(error).__name__}).", CONNECTION_FAILED) from None
        except httpx2.RequestError as error:
            reason = type(error).__name__
            raise CallLost(f"The call was lost on its way ({reason}). It may have partly run.") from None
        if response.status_code == 409:
            raise Fenced(f"Session {server.session} has a newer owner than epoch {server.epoch}.")
        if response.headers.get(REFUSAL_HEADER) == REFUSED_DECLARATION:
            raise NotDeclared(response.json()["error"]["message"])
        if response.status_code != 200:
            text = f"The vault refused to ask MCP server {server.name} ({response.status_code})."
            raise ConnectorFailed(text, CONNECTION_FAILED)
        return _read(response.content)


def _named(server: Server) -> Named:
    return Named(server.workspace, server.session, server.epoch, server.name, server.credential)


def _read(body: bytes) -> Answer:
    answer = msgspec.json.decode(body, type=Answer)
    if answer.failed is not None:
        raise ConnectorFailed(answer.failed.message, answer.failed.kind)
    if answer.lost is not None:
        raise CallLost(answer.lost)
    return answer
