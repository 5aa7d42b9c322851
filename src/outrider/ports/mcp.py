"""The seam to the MCP servers that agents declare: the harness names a session's server, the vault process talks to it.

No token crosses it, in either direction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from outrider.errors import ConnectorFailed
from outrider.ports.sandbox import ToolOutcome
from outrider.ports.vaults import SecretRef

CONNECTION_FAILED = "mcp_connection_failed_error"
AUTHENTICATION_FAILED = "mcp_authentication_failed_error"


@dataclass(frozen=True, slots=True)
class Server:
    """An MCP server as the session's agent declares it. `credential` is where the vault holds what is presented there,
    resolved anew for each ask; None: the server is asked without authentication. `networking` is the environment's own
    object as the session began with it, for declaring once more."""

    workspace: str
    session: str
    epoch: int
    name: str
    url: str
    credential: SecretRef | None = None
    networking: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class ServerTool:
    """A tool as its server describes it. `input_schema` is a JSON Schema of an object."""

    name: str
    description: str
    input_schema: dict[str, Any]


class Connectors(Protocol):
    async def tools(self, server: Server) -> list[ServerTool]:
        """What the server offers now or offered a short while ago, in its own order. Connects if there is no
        connection. Raises ConnectorFailed, Fenced."""
        ...

    async def call(self, server: Server, tool: str, arguments: dict[str, Any]) -> ToolOutcome:
        """Call a tool once; never again by itself when the server may have begun with it.

        Content is in wire form, and may be long. Raises ConnectorFailed (the server did not get the call), CallLost
        (it may have run, and nobody will learn its outcome), Fenced. Cancelling tells the server to stop.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class NoConnectors:
    """Where there is no way to a server: none can be reached."""

    async def tools(self, server: Server) -> list[ServerTool]:
        raise ConnectorFailed("This server has no way to MCP servers.", CONNECTION_FAILED)

    async def call(self, server: Server, tool: str, arguments: dict[str, Any]) -> ToolOutcome:
        del tool, arguments
        raise ConnectorFailed("This server has no way to MCP servers.", CONNECTION_FAILED)

    async def close(self) -> None:
        """There are none."""
