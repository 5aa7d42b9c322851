"""Real MCP servers for tests, made with the official package, in a thread of the test's process.

`Scene` counts and remembers what its tools were asked. `Grants` is an authorization server in the same process, whose
access tokens live for `lifetime` seconds and whose refresh token is spent by its use.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from mcp.server.auth.provider import AccessToken, RefreshToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Image, MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl, AnyUrl

START_SECONDS = 20.0
CLIENT, CLIENT_SECRET = "client", "client-secret-0001"
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fccf50cf000005010201"
    "f3cb2d5c0000000049454e44ae426082"
)


@dataclass
class Scene:
    """`calls` counts by tool; `said` are the arguments of `note`. `hold` lets `wait` end; `begun` and `stopped` say
    what became of it."""

    url: str = ""
    calls: Counter[str] = field(default_factory=Counter[str])
    said: list[str] = field(default_factory=list[str])
    hold: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    answer: Callable[[dict[str, Any]], int | None] | None = None
    """Given a request's scope, a status to answer at once instead of the server."""


class Grants:
    """Implements the package's authorization server as far as a refresh needs it."""

    def __init__(self, lifetime: int) -> None:
        self.lifetime = lifetime
        self.refresh = "refresh-canary-0"
        self.access: dict[str, float] = {"access-canary-0": time.time() + lifetime}
        self.refreshes = 0
        self.refused = 0
        self._client = OAuthClientInformationFull(
            client_id=CLIENT,
            client_secret=CLIENT_SECRET,
            redirect_uris=[AnyUrl("http://127.0.0.1/back")],
            token_endpoint_auth_method="client_secret_post",
        )

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self._client if client_id == CLIENT else None

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        if refresh_token != self.refresh:
            self.refused += 1
            return None
        return RefreshToken(token=refresh_token, client_id=CLIENT, scopes=[])

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        self.refreshes += 1
        self.refresh, access = f"refresh-canary-{self.refreshes}", f"access-canary-{self.refreshes}"
        self.access[access] = time.time() + self.lifetime
        return OAuthToken(access_token=access, refresh_token=self.refresh, expires_in=self.lifetime, scope=None)

    async def load_access_token(self, token: str) -> AccessToken | None:
        if self.access.get(token, 0.0) <= time.time():
            return None
        return AccessToken(token=token, client_id=CLIENT, scopes=[])


def tools_on(server: MCPServer[Any], scene: Scene) -> None:
    @server.tool(description="Add two numbers.", structured_output=False)
    async def add(a: int, b: int) -> str:
        scene.calls["add"] += 1
        return str(a + b)

    @server.tool(structured_output=False)
    async def note(text: str) -> str:
        """Write a note down."""
        scene.calls["note"] += 1
        scene.said.append(text)
        return f"noted {text}"

    @server.tool(structured_output=False)
    async def fail() -> str:
        """Fails."""
        scene.calls["fail"] += 1
        raise ValueError("it went wrong")

    @server.tool(structured_output=False)
    async def picture() -> Image:
        """A picture."""
        return Image(data=PIXEL, format="png")

    @server.tool(structured_output=False)
    async def much(count: int) -> str:
        """A long text."""
        return "begins " + "x" * count + " ends"

    @server.tool(structured_output=False)
    async def wait() -> str:
        """Takes as long as the test wants."""
        scene.calls["wait"] += 1
        scene.begun.set()
        try:
            while not scene.hold.is_set():  # noqa: ASYNC110 (the test is in another thread)
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            scene.stopped.set()
            raise
        return "waited"


@contextmanager
def mcp_server(
    *, token: str | None = None, grants: Grants | None = None, older: bool = False, tools: bool = True
) -> Generator[Scene]:
    """One with its tools at `scene.url`: open, behind a bearer `token`, or behind OAuth. `older`: it speaks the event
    stream only."""
    scene = Scene()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = _made(base, grants)
        if tools:
            tools_on(server, scene)
        app: Any = server.sse_app() if older else server.streamable_http_app()
        scene.url = f"{base}/sse" if older else f"{base}/mcp"
        with warnings.catch_warnings():
            if older:  # the package leaves streams of this kind unclosed
                warnings.simplefilter("ignore", ResourceWarning)
            with serving(_guarded(app, scene, token), listener):
                yield scene
            gc.collect()


def _made(base: str, grants: Grants | None) -> MCPServer[Any]:
    if grants is None:
        return MCPServer("scene", log_level="CRITICAL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        auth = AuthSettings(
            issuer_url=AnyHttpUrl(base), resource_server_url=AnyHttpUrl(f"{base}/mcp"), validate_token_resource=False
        )
    provider: Any = grants
    return MCPServer("scene", log_level="CRITICAL", auth=auth, auth_server_provider=provider)


def _guarded(app: Any, scene: Scene, token: str | None) -> Any:
    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        scene.headers.append({**headers, "method": scope["method"], "path": scope["path"]})
        status = scene.answer(scope) if scene.answer is not None else None
        if token is not None and headers.get("authorization") != f"Bearer {token}":
            status = 401
        if status is None:
            return await app(scope, receive, send)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        return None

    return guarded


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@contextmanager
def serving(app: Any, listener: socket.socket) -> Generator[None]:
    """An ASGI application on this socket, in a thread."""
    server = _Server(uvicorn.Config(app, log_level="critical", lifespan="auto", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        threading.Event().wait(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
