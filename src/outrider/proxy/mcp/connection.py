"""One connection to one MCP server, with the official client: streamable HTTP, else the older event stream.

It lives in a task of its own, so that whoever asks may come and go. The client's validation of results against schemas
of the server's is not used: a pattern in one could keep this process busy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import httpx2
import mcp_types as types
import msgspec
from anyio import BrokenResourceError, ClosedResourceError
from mcp import Client, MCPError
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import Implementation
from pydantic import TypeAdapter, ValidationError

from outrider.errors import CallLost, ConnectorFailed
from outrider.ports.mcp import AUTHENTICATION_FAILED, CONNECTION_FAILED
from outrider.proxy.mcp.access import Access
from outrider.proxy.mcp.content import blocks, masked, tool
from outrider.proxy.outside import EXCHANGE, LONGEST_ANSWER, Exchange, Outside

logging.getLogger("mcp").setLevel(logging.CRITICAL + 1)  # it writes down what servers answer

OLDER_TRANSPORT = frozenset({400, 404, 405, 406, 415})  # a POST that is refused so may be one to an event stream
REFUSED = frozenset({401, 403})
SESSION_OVER = 404
MOST_PAGES = 50
MOST_TOOLS = 1000
LONGEST_LISTING = 1024 * 1024
CLOSE_SECONDS = 5.0
GRACE_SECONDS = 0.5  # for an error's body, once its status is known
CLIENT = Implementation(name="outrider", version="0.1.0")
RESULT: TypeAdapter[types.CallToolResult | types.InputRequiredResult] = TypeAdapter(
    types.CallToolResult | types.InputRequiredResult
)
INPUT_REQUIRED = "The server asks the user for input in the middle of the call, which can't be given here."
FAILURES = (
    MCPError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ValidationError, ValueError, RuntimeError,
    OSError, BrokenResourceError, ClosedResourceError, ExceptionGroup,
)  # fmt: skip
"""What the client raises when a server does not do as it should."""


class SessionOver(Exception):
    """The server does not know its MCP session any more, and did nothing: a new connection can ask again."""


class Connection:
    """Made by `open`. `stale`: the server says that it offers other tools now."""

    def __init__(self, name: str, url: str, access: Access, outside: Outside, call_seconds: float) -> None:
        self.access = access
        self.url = url
        self.stale = False
        self.tools: list[dict[str, Any]] = []
        self._name = name
        self._outside = outside
        self._call_seconds = call_seconds
        self._session: ClientSession | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        return self._task is not None and not self._task.done() and not self._ending.is_set()

    async def open(self, within: float) -> None:
        """Connect, and learn the tools. Raises ConnectorFailed."""
        exchange = Exchange()
        EXCHANGE.set(exchange)
        self._task = asyncio.create_task(self._live(exchange))
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(self._ready)
        except TimeoutError:
            await self.close()
            raise self._failure(exchange, f"it did not answer within {within:g} seconds") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._ending.set()
        task = self._task
        if task is None or task.done():
            return
        done, _ = await asyncio.wait([task], timeout=CLOSE_SECONDS if self._ready.done() else 0)
        if not done:
            task.cancel()
            await asyncio.wait([task], timeout=CLOSE_SECONDS)

    async def _live(self, exchange: Exchange) -> None:
        problem = await self._attempt(self._streamable, exchange)
        if not self._ready.done() and exchange.status in OLDER_TRANSPORT:
            status = exchange.status
            problem = await self._attempt(self._event_stream, exchange) or problem
            exchange.status = status if exchange.status in OLDER_TRANSPORT else exchange.status
        if not self._ready.done():
            self._ready.set_exception(self._failure(exchange, _reason(problem)))
            self._ready.exception()  # whoever waited may have gone

    async def _attempt(
        self, transport: Callable[[httpx2.AsyncClient], AbstractAsyncContextManager[Any]], exchange: Exchange
    ) -> Exception | None:
        """Stay connected until told to end; else what went wrong."""
        try:
            async with self._outside.client(self._call_seconds + CLOSE_SECONDS, auth=self.access) as http:
                client = Client(transport(http), client_info=CLIENT, cache=None, message_handler=self._heard)
                async with client:
                    self._session = client.session
                    await self.list()
                    self._ready.set_result(None)
                    await self._ending.wait()
        except FAILURES as problem:
            return problem
        except ConnectorFailed as problem:
            exchange.problem = problem.message
            return problem
        return None

    def _streamable(self, http: httpx2.AsyncClient) -> AbstractAsyncContextManager[Any]:
        return streamable_http_client(self.url, http_client=http, max_sse_event_size=LONGEST_ANSWER)

    def _event_stream(self, http: httpx2.AsyncClient) -> AbstractAsyncContextManager[Any]:
        """This transport closes its client itself, so it gets one of its own."""

        def own(
            headers: dict[str, str] | None = None,
            timeout: httpx2.Timeout | None = None,
            auth: httpx2.Auth | None = None,
        ) -> httpx2.AsyncClient:
            del headers, timeout, auth
            return self._outside.client(self._call_seconds + CLOSE_SECONDS, auth=self.access)

        return sse_client(self.url, httpx_client_factory=own)

    async def _heard(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.stale = True

    # -- asks

    async def list(self) -> None:
        """Raises ConnectorFailed, and what the client raises."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        self.stale = False
        for _ in range(MOST_PAGES):
            params = None if cursor is None else types.PaginatedRequestParams(cursor=cursor)
            assert self._session is not None
            page = await self._session.list_tools(params=params)
            found += [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in page.tools]
            cursor = page.next_cursor
            if len(found) > MOST_TOOLS or len(msgspec.json.encode(found)) > LONGEST_LISTING:
                raise ConnectorFailed(f"it lists more than {MOST_TOOLS:,} tools, or too long ones", CONNECTION_FAILED)
            if cursor is None:
                break
        self.tools = [one for one in map(tool, masked(found, self.access.seen)) if one is not None]

    async def relist(self, within: float) -> None:
        """Ask for the tools again. Raises ConnectorFailed, SessionOver."""
        exchange = Exchange()
        try:
            async with asyncio.timeout(within):
                await self._asked(exchange, self.list)
        except TimeoutError:
            raise self._failure(exchange, f"it did not answer within {within:g} seconds") from None
        except FAILURES as problem:
            self._check_session(exchange)
            raise self._failure(exchange, _reason(problem)) from None

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Content blocks and the error flag. Raises ConnectorFailed, CallLost, SessionOver."""
        exchange, session = Exchange(), self._session
        assert session is not None
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=arguments))

        async def asked() -> types.CallToolResult | types.InputRequiredResult:
            return await session.send_request(request, RESULT, self._call_seconds)

        try:
            result = await self._asked(exchange, asked)
        except MCPError as error:
            return self._refusal(exchange, error)
        except FAILURES as problem:
            raise self._lost(exchange, _reason(problem)) from None
        finally:
            self.access.note(exchange, "mcp.call")
        if isinstance(result, types.InputRequiredResult):
            return {"content": [{"type": "text", "text": INPUT_REQUIRED}], "is_error": True}
        plain = masked(result.model_dump(mode="json", by_alias=True, exclude_none=True), self.access.seen)
        return {"content": blocks(plain), "is_error": result.is_error}

    async def _asked(self, exchange: Exchange, ask: Callable[[], Any]) -> Any:
        """Ask in a task that knows the exchange, and hear of a refusal that never becomes an answer."""
        EXCHANGE.set(exchange)
        asking = asyncio.create_task(ask())
        refused = asyncio.create_task(exchange.failed.wait())
        try:
            await asyncio.wait([asking, refused], return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                await asyncio.wait([asking], timeout=GRACE_SECONDS)
            if not asking.done() and exchange.status is not None and exchange.status < 400:
                await asyncio.wait([asking])  # another try went through
            if not asking.done():
                raise RuntimeError("refused")
            return asking.result()
        finally:
            refused.cancel()
            if not asking.done():
                asking.cancel()
                await asyncio.wait([asking], timeout=CLOSE_SECONDS)

    def _refusal(self, exchange: Exchange, error: MCPError) -> dict[str, Any]:
        """An error in place of a result: of the tool, as far as it is an answer of the server's own."""
        status = exchange.status or 0
        answered = 0 < status < 400 or (status == 400 and error.code != types.INTERNAL_ERROR)
        if error.code in (types.CONNECTION_CLOSED, types.REQUEST_TIMEOUT, types.PARSE_ERROR) or not answered:
            late = f"it did not answer within {self._call_seconds:g} seconds"
            raise self._lost(exchange, late if error.code == types.REQUEST_TIMEOUT else _reason(error)) from None
        text = masked(f"The server refused the call: {error.message}", self.access.seen)
        return {"content": [{"type": "text", "text": text}], "is_error": True}

    def _lost(self, exchange: Exchange, reason: str) -> Exception:
        """What it means that a call has no outcome: a refusal comes before it was begun with, silence after."""
        self._check_session(exchange)
        refused = exchange.status is not None and 400 <= exchange.status < 500
        if refused or not exchange.sent:
            return self._failure(exchange, reason)
        why = masked(exchange.problem or _status(exchange) or reason, self.access.seen)
        return CallLost(f"The call was lost: {why}. It may have partly run.")

    def _check_session(self, exchange: Exchange) -> None:
        if exchange.status == SESSION_OVER:
            raise SessionOver

    def _failure(self, exchange: Exchange, reason: str) -> ConnectorFailed:
        if exchange.status in REFUSED:
            had = "what the vault presented" if self.access.seen else "a request without credentials"
            text = f"MCP server {self._name} refused {had} ({exchange.status})."
            return ConnectorFailed(text, AUTHENTICATION_FAILED)
        why = masked(exchange.problem or _status(exchange) or reason, self.access.seen)
        return ConnectorFailed(f"MCP server {self._name} can't be used: {why}.", CONNECTION_FAILED)


def _status(exchange: Exchange) -> str:
    return f"it answered with status {exchange.status}" if (exchange.status or 0) >= 400 else ""


def _reason(problem: Exception | None) -> str:
    """In words of our own, so that no text of a server's gets into a message."""
    while isinstance(problem, ExceptionGroup):
        problem = cast("ExceptionGroup[Exception]", problem).exceptions[0]
    if isinstance(problem, MCPError):
        ended = problem.code == types.CONNECTION_CLOSED
        return "the connection ended" if ended else f"it answered with error {problem.code} of the protocol"
    if isinstance(problem, httpx2.ConnectError):
        return str(problem)
    return "it does not speak the protocol" if problem is not None else "the connection ended"
