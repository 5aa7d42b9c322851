"""A session's MCP servers at work: asked for their tools when a turn begins, called, and their long results kept.

A server that can't be reached costs its session an error event and the server's tools, until the session rests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, TypeVar

from outrider import faults
from outrider.errors import CallLost, Conflict, ConnectorFailed, NotDeclared, Overloaded, SandboxUnavailable
from outrider.harness.network import Redeclare, SessionVaults
from outrider.harness.telling import Telling
from outrider.harness.tools import enabled, left_out
from outrider.ports.log import NewEvent, SessionKey
from outrider.ports.mcp import CONNECTION_FAILED as FAILED
from outrider.ports.mcp import Connectors, Server, ServerTool
from outrider.ports.placements import Whereabouts
from outrider.ports.sandbox import KEEP, RESULT_CHARACTERS, Sandboxes, ToolCall, ToolOutcome, text_outcome
from outrider.ports.vaults import SecretRef, VaultRecords
from outrider.resources.vaults import mcp_place
from outrider.session import events
from outrider.session.events import EventFactory
from outrider.session.state import Call, Context
from outrider.wire.limits import MAX_TOOLS

READERS = ("bash", "grep", "read")
PREVIEW_CHARACTERS = 4_000
MOST_NAMED = 10
CUT = "\n\n[... {:,} characters in all; the rest could not be kept ...]\n\n"
T = TypeVar("T")
Found = dict[str, list[ServerTool] | ConnectorFailed]


def _unoffered(context: Context, listed: Mapping[str, list[dict[str, Any]] | None]) -> list[str]:
    """The tools for which a request has no room, as the agent is now."""
    listings = {name: context.mcp[name] if tools is None else tools for name, tools in listed.items()}
    return left_out(context.agent, listings)


def _crowded(names: list[str], factory: EventFactory) -> list[NewEvent]:
    """An error that tells of them, if there are any. It is written together with the note that it was."""
    if not names:
        return []
    more = ", ..." if len(names) > MOST_NAMED else ""
    text = (
        f"{len(names)} tools of MCP servers are not offered to the model, because a request has room for {MAX_TOOLS}"
        f" in all: {', '.join(names[:MOST_NAMED])}{more}. Switch off in the toolset what the agent does not need."
    )
    return [factory.error("unknown_error", text, "retrying")]


class WithVaults:
    """Implements `Connectors`: adds what the session's vaults hold for the server, as it is now."""

    def __init__(
        self, inner: Connectors, vaults_of: SessionVaults, vaults: VaultRecords, redeclare: Redeclare | None = None
    ) -> None:
        self._inner = inner
        self._vaults_of = vaults_of
        self._vaults = vaults
        self._redeclare = redeclare

    async def tools(self, server: Server) -> list[ServerTool]:
        found = await self._with_credential(server)
        return await self._declared(server, lambda: self._inner.tools(found))

    async def call(self, server: Server, tool: str, arguments: dict[str, Any]) -> ToolOutcome:
        found = await self._with_credential(server)
        return await self._declared(server, lambda: self._inner.call(found, tool, arguments))

    async def close(self) -> None:
        await self._inner.close()

    async def _declared(self, server: Server, ask: Callable[[], Awaitable[T]]) -> T:
        """A vault that refuses because it knows nothing of the server has done nothing."""
        try:
            try:
                return await ask()
            except NotDeclared:
                if self._redeclare is None:
                    raise
                await self._redeclare(SessionKey(server.workspace, server.session), server.networking)
                return await ask()
        except (NotDeclared, Conflict, Overloaded) as problem:
            raise ConnectorFailed(f"MCP server {server.name} can't be used: {problem.message}", FAILED) from None

    async def _with_credential(self, server: Server) -> Server:
        vault_ids = await self._vaults_of(SessionKey(server.workspace, server.session))
        if not vault_ids:
            return server
        found = await self._vaults.resolve(server.workspace, vault_ids, mcp_place(server.url))
        if found is None:
            return server
        return replace(server, credential=SecretRef(found.workspace, found.vault, found.id, found.secret))


class Servers:
    """Of one drive. `told` is called when there is something to take."""

    def __init__(
        self,
        connectors: Connectors,
        sandboxes: Sandboxes,
        whereabouts: Callable[[str], Awaitable[Whereabouts]],
        key: SessionKey,
        telling: Telling,
        told: Callable[[], None],
    ) -> None:
        self._connectors = connectors
        self._sandboxes = sandboxes
        self._whereabouts = whereabouts
        self._key = key
        self._telling = telling
        self._told = told
        self._asking: asyncio.Task[None] | None = None
        self._found: Found | None = None
        self._failures: list[tuple[ConnectorFailed, str]] = []

    # -- what they offer

    def ask(self, context: Context, epoch: int, group: asyncio.TaskGroup) -> None:
        """Ask all of them at once, unless they are being asked."""
        if self._asking is None:
            servers = [self._server(one, context, epoch) for one in context.agent["mcp_servers"]]
            self._asking = group.create_task(self._ask(servers))

    def take(self, context: Context, factory: EventFactory) -> list[NewEvent]:
        """What their answers add to the log, once all have answered: failures as errors, and the listings, null for
        those that are known already."""
        found, self._found = self._found, None
        if found is None:
            return []
        self._asking = None
        listed: dict[str, list[dict[str, Any]] | None] = {}
        for name, answer in found.items():
            if isinstance(answer, ConnectorFailed):
                self._failures.append((answer, name))
                continue
            tools = [asdict(tool) for tool in answer]
            listed[name] = None if context.mcp.get(name) == tools else tools
        rows, body = self.failure_rows(factory), dict[str, Any](servers=listed)
        if (names := _unoffered(context, listed)) != context.unoffered:
            rows += _crowded(names, factory)
            body["unoffered"] = names
        return [*rows, factory.internal(events.CONNECTED, body)]

    def stop(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        self._asking = self._found = None

    def failure_rows(self, factory: EventFactory) -> list[NewEvent]:
        """Errors for what failed since this was last asked."""
        failures, self._failures = self._failures, []
        return [
            factory.error(failure.kind, failure.message, "retrying", mcp_server_name=name) for failure, name in failures
        ]

    def _server(self, declared: Mapping[str, str], context: Context, epoch: int) -> Server:
        networking: dict[str, Any] = context.environment.get("config", {}).get("networking") or {}
        where = (self._key.workspace, self._key.session, epoch)
        return Server(*where, declared["name"], declared["url"], networking=networking)

    async def _ask(self, servers: list[Server]) -> None:
        answers = await asyncio.gather(*(self._listed(server) for server in servers))
        self._found = {server.name: answer for server, answer in zip(servers, answers, strict=True)}
        self._told()

    async def _listed(self, server: Server) -> list[ServerTool] | ConnectorFailed:
        try:
            return await self._connectors.tools(server)
        except ConnectorFailed as failure:
            return failure

    # -- calls

    async def call(self, call: Call, context: Context, thread: str, epoch: int, *, resume: bool) -> ToolOutcome:
        """Run it. `resume`: an earlier owner may have begun, so nobody knows its outcome."""
        named = ToolCall(call.id, thread, call.name, call.input)
        with self._telling.tool_call(named) as ended:
            if resume:
                return ended(text_outcome(events.MCP_LOST_TEXT, is_error=True), "lost")
            faults.point("harness.mcp.before")
            try:
                outcome = await self._called(call, context, epoch)
            except CallLost as lost:
                return ended(text_outcome(lost.message, is_error=True), "lost")
            except ConnectorFailed as failure:
                self._failures.append((failure, call.server))
                return ended(text_outcome(failure.message, is_error=True), "unavailable")
            faults.point("harness.mcp.after")
            return ended(await self._kept(outcome, named, context, epoch), "ok")

    async def _called(self, call: Call, context: Context, epoch: int) -> ToolOutcome:
        declared = next((one for one in context.agent.get("mcp_servers", []) if one["name"] == call.server), None)
        if declared is None:
            return text_outcome(f"The session has no MCP server {call.server} any more.", is_error=True)
        return await self._connectors.call(self._server(declared, context, epoch), call.name, call.input)

    async def _kept(self, outcome: ToolOutcome, call: ToolCall, context: Context, epoch: int) -> ToolOutcome:
        """The outcome as the model is shown it. A text that is too long goes into a file of the session's sandbox, and
        one is started for that alone if it must be; where no tool could read it, or there is none, it is cut."""
        text = "\n".join(block["text"] for block in outcome.content if block["type"] == "text")
        if len(text) <= RESULT_CHARACTERS:
            return outcome
        others = [block for block in outcome.content if block["type"] != "text"]
        keeping = ToolCall(call.id, call.thread, KEEP, {"text": text}, folders=context.shared)
        session = self._key.session
        try:
            if enabled(context.agent, READERS) and await self._whereabouts(session) == "here":
                kept = await self._sandboxes.execute(session, keeping, epoch=epoch)
                return ToolOutcome([*kept.content, *others], outcome.is_error)
        except (CallLost, SandboxUnavailable):
            pass
        shown = text[:PREVIEW_CHARACTERS] + CUT.format(len(text)) + text[-PREVIEW_CHARACTERS:]
        return ToolOutcome([{"type": "text", "text": shown}, *others], outcome.is_error)
