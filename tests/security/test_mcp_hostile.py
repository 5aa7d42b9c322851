"""MCP servers that mean harm, against the vault's connector with a real store of secrets."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import msgspec
import pytest
from mcp_server import CLIENT, CLIENT_SECRET, Grants, mcp_server

from outrider.clock import SystemClock, rfc3339
from outrider.config import McpSettings
from outrider.errors import CallLost, Conflict, ConnectorFailed, NotDeclared
from outrider.links.mcp import TOOLS, Named, ToolsAsk
from outrider.networks import allowance
from outrider.ports.declarations import Declaration, DeclaredServer
from outrider.ports.mcp import Server
from outrider.ports.vaults import SecretRef
from outrider.proxy.credentials import Credentials, Who
from outrider.proxy.mcp.access import Access
from outrider.proxy.mcp.connector import Connector
from outrider.proxy.mcp.front import Front
from outrider.proxy.outside import Outside
from outrider.vault import material
from outrider.vault.audit import Audit
from outrider.vault.capabilities import Capabilities
from outrider.vault.declarations import Declarations
from outrider.vault.envelope import Owner
from outrider.vault.keys import KeySources
from outrider.vault.secrets import SecretStore

pytestmark = pytest.mark.anyio
LIVES = 4  # of tokens
SECONDS = 30.0  # that a server has to answer
TOKEN = "canary-9c41d2ab-token"
REF = SecretRef("wrkspc_a", "vlt_1", "vcrd_1", 1)
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Room:
    """A connector that may reach loopback; `names` are what names resolve to, `asked` which were."""

    def __init__(self, store: SecretStore, audit: Audit, seconds: float) -> None:
        self.names: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.store = store
        self.outside = Outside(ssl.create_default_context(), [allowance("127.0.0.1")], self.resolve)
        self.credentials = Credentials(store, audit, self.outside, SystemClock())
        settings = McpSettings(connect_timeout=seconds, call_timeout=seconds)
        self.connector = Connector(self.credentials, self.outside, settings, time.monotonic)

    async def resolve(self, name: str, port: int) -> list[str]:
        self.asked.append(name)
        return self.names.get(name, [])

    async def hold(self, url: str) -> SecretRef:
        """A credential for this address."""
        secret = material.pack({"type": "static_bearer", "mcp_server_url": url, "token": TOKEN})
        await self.store.put(Owner(REF.workspace, REF.vault, REF.credential, REF.version), secret)
        return REF


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def room(anyio_backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Room]:
    store = SecretStore.open(tmp_path, KeySources(tmp_path / "key"))
    audit = Audit(tmp_path, SystemClock())
    found = Room(store, audit, getattr(request, "param", SECONDS))
    async with found.connector.running():
        yield found
    audit.close()
    store.close()


def server(url: str, credential: SecretRef | None = None) -> Server:
    return Server("wrkspc_a", "sesn_1", 1, "bad", url, credential)


@asynccontextmanager
async def raw(answer: Answer) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """A server of raw bytes: its address, and the heads of the requests that came."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            await answer(heads[-1], writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/mcp", heads
    finally:
        listening.close()


async def test_a_token_that_a_server_says_back_is_masked_plain_and_as_base64(room: Room) -> None:
    with mcp_server(token=TOKEN) as scene:
        there = server(scene.url, await room.hold(scene.url))
        encoded = base64.b64encode(TOKEN.encode()).decode()
        found = await room.connector.call(there, "note", {"text": f"{TOKEN} {encoded}"})
    assert TOKEN not in str(found)
    assert encoded[:20] not in str(found)
    assert found["content"][0]["text"].startswith("noted ***")


async def test_a_credential_is_not_presented_to_a_server_that_it_was_not_made_for(room: Room) -> None:
    with mcp_server() as scene:
        there = server(scene.url, await room.hold("https://elsewhere.example/mcp"))
        with pytest.raises(ConnectorFailed, match="its credential was made for another server"):
            await room.connector.tools(there)
        assert not any("authorization" in headers for headers in scene.headers)


async def test_a_token_stays_with_its_origin(room: Room) -> None:
    async def fine(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()

    async with raw(fine) as (own, own_heads), raw(fine) as (other, other_heads):
        access = Access(own, room.credentials, Who("sesn_1", 1), await room.hold(own))
        for url in (own, other):
            async with room.outside.client(5.0, auth=access) as client:
                await client.get(url)
    assert f"Bearer {TOKEN}".encode() in own_heads[0]
    assert TOKEN.encode() not in other_heads[0]


async def test_a_redirect_to_another_host_is_not_followed(room: Room) -> None:
    async def elsewhere(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with raw(elsewhere) as (target, heads):
        place = target.encode()

        async def redirect(_head: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 307 Go\r\nlocation: %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % place)
            await writer.drain()

        async with raw(redirect) as (url, _):
            with pytest.raises(ConnectorFailed):
                await room.connector.tools(server(url, await room.hold(url)))
    assert heads == []


async def test_an_endless_answer_is_cut_off(room: Room) -> None:
    async def endless(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n")
        for _ in range(64):
            writer.write(b" " * 1024 * 1024)
            await writer.drain()

    async with raw(endless) as (url, _):
        with pytest.raises(ConnectorFailed, match=r"more than 16,777,216 bytes"):
            await room.connector.tools(server(url))


@pytest.mark.parametrize("room", [2.0], indirect=True)
async def test_a_server_that_never_answers_is_given_up(room: Room) -> None:
    async def silent(_head: bytes, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with raw(silent) as (url, _):
        with pytest.raises(ConnectorFailed, match="did not answer within 2 seconds"):
            await room.connector.tools(server(url))
    with mcp_server() as scene:
        with pytest.raises(CallLost, match="may have partly run"):
            await room.connector.call(server(scene.url), "wait", {})
        assert scene.calls["wait"] == 1


async def test_answers_that_are_not_the_protocol_are_failures_without_their_text(room: Room) -> None:
    async def nonsense(_head: bytes, writer: asyncio.StreamWriter) -> None:
        body = f'{{"jsonrpc": "1", "result": "{TOKEN}"}}'.encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async with raw(nonsense) as (url, _):
        with pytest.raises(ConnectorFailed) as caught:
            await room.connector.tools(server(url))
    assert TOKEN not in caught.value.message


async def test_a_name_is_resolved_once_and_private_addresses_are_refused(room: Room) -> None:
    room.names = {"inner.example": ["10.0.0.1"], "mcp.example": ["127.0.0.1"]}
    with pytest.raises(ConnectorFailed, match=r"at a private address, which \[mcp\] allow_private must allow"):
        await room.connector.tools(server("http://inner.example/mcp"))

    async def fine(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()

    async with raw(fine) as (url, heads), room.outside.client(5.0) as client:
        for _ in range(3):
            await client.get(url.replace("127.0.0.1", "mcp.example"))
            room.names["mcp.example"] = ["169.254.169.254"]
    assert room.asked.count("mcp.example") == 1
    assert len(heads) == 3


async def test_a_name_with_line_breaks_never_becomes_a_header(room: Room) -> None:
    with mcp_server() as scene:
        found = await room.connector.call(server(scene.url), "note\r\nx-evil: 1", {})
        assert found["is_error"] is True
        assert not any("x-evil" in headers for headers in scene.headers)


async def test_an_encoding_that_could_unfold_without_end_is_refused(room: Room) -> None:
    async def packed(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()

    async with raw(packed) as (url, _), room.outside.client(5.0) as client:
        with pytest.raises(httpx2.ReadError, match="encoding that was not asked for"):
            await client.get(url)


async def test_a_harness_can_not_use_a_vault_that_its_session_has_not_declared(room: Room) -> None:
    declared = Declarations(room.store)
    with mcp_server(token=TOKEN) as scene:
        ref = await room.hold(scene.url)
        servers = (DeclaredServer("bad", scene.url),)
        for session, vaults in (("sesn_1", ("vlt_1",)), ("sesn_2", ())):
            await declared.declare(Declaration("wrkspc_a", session, vaults, servers))
        front = Front(room.connector, Capabilities(b"k" * 32, time.monotonic, frozenset()), declared)

        async def ask(session: str, epoch: int, name: str = "bad") -> bytes:
            named = Named("wrkspc_a", session, epoch, name, ref)
            return await front.answer(TOOLS, msgspec.json.encode(ToolsAsk(named)), asyncio.Event().wait)  # type: ignore[arg-type]

        assert b'"tools":[' in await ask("sesn_1", 2)
        with pytest.raises(NotDeclared):
            await ask("sesn_2", 1)
        with pytest.raises(NotDeclared):
            await ask("sesn_1", 2, "another")
        with pytest.raises(Conflict):
            await ask("sesn_1", 1)


async def test_twenty_sessions_outlive_many_tokens_and_spend_one_rotating_refresh_token_once_each_time(
    room: Room,
) -> None:
    grants = Grants(lifetime=1)
    with mcp_server(grants=grants) as scene:
        secret = {
            "type": "mcp_oauth",
            "mcp_server_url": scene.url,
            "access_token": "access-canary-0",
            "expires_at": rfc3339(datetime.now(UTC) + timedelta(seconds=1)),
            "refresh": {
                "refresh_token": "refresh-canary-0",
                "client_id": CLIENT,
                "token_endpoint": scene.url.replace("/mcp", "/token"),
                "token_endpoint_auth": {"type": "client_secret_post", "client_secret": CLIENT_SECRET},
                "scope": None,
                "resource": None,
            },
        }
        await room.store.put(Owner(REF.workspace, REF.vault, REF.credential, REF.version), material.pack(secret))

        async def session(number: int) -> None:
            there = Server("wrkspc_a", f"sesn_{number}", 1, "good", scene.url, REF)
            while grants.refreshes < LIVES:
                found = await room.connector.call(there, "add", {"a": number, "b": 1})
                assert found == {"content": [{"type": "text", "text": str(number + 1)}], "is_error": False}

        async with asyncio.timeout(50):
            await asyncio.gather(*(session(number) for number in range(20)))
        assert grants.refused == 0
        assert grants.refreshes >= LIVES
