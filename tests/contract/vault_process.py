"""A real vault process on a socket that outlives it, and a Messages server of raw bytes to put behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from outrider.config import ROLES
from outrider.links.vault import BASE_URL, VaultLink
from outrider.supervisor.places import listen_unix
from outrider.supervisor.plan import memory_file

KEY = "sk-canary-5f0c9a77e1d24c6b"

PROGRAM = """
import json, socket, sys
from pathlib import Path
from outrider import vaultd
from outrider.config import Settings
from outrider.endpoints import Endpoint, Endpoints
told = json.loads(sys.argv[1])
endpoints = Endpoints(tuple(Endpoint(profile="messages", **one) for one in told["endpoints"]), None)
listener = socket.socket(fileno=told["listener"])
settings = Settings(data=Path(told["data"]), roles=tuple(told["roles"]))
settings.vault_data.mkdir(mode=0o700, exist_ok=True)
vaultd.main(settings, told["secrets"], listener, endpoints=endpoints, peer=told["peer"])
"""


@dataclass
class Vault:
    """`kill` and `start` it at will; its socket stays, as the supervisor keeps it."""

    path: Path
    listener: socket.socket
    endpoints: list[dict[str, object]]
    peer: int
    roles: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        secrets = memory_file("secrets", json.dumps({"env:KEY": KEY}).encode())
        fds = {"listener": self.listener.fileno(), "secrets": secrets}
        told = {
            "endpoints": self.endpoints,
            "peer": self.peer,
            "roles": self.roles,
            "data": str(self.path.parent),
            **fds,
        }
        command = [sys.executable, "-c", PROGRAM, json.dumps(told)]
        self.process = subprocess.Popen(command, pass_fds=list(fds.values()))
        os.close(secrets)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)

    def link(self) -> VaultLink:
        return VaultLink(self.path)

    def client(self) -> httpx2.AsyncClient:
        """Straight to the socket, without the link's help."""
        return httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(self.path)), base_url=BASE_URL, timeout=20.0
        )


@contextmanager
def running_vault(
    *endpoints: dict[str, object], peer: int | None = None, roles: tuple[str, ...] = ROLES
) -> Generator[Vault]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "vault.sock")
        with listen_unix(path, os.geteuid()) as listener:
            vault = Vault(path, listener, list(endpoints), os.geteuid() if peer is None else peer, roles)
            vault.start()
            try:
                yield vault
            finally:
                vault.kill()


def endpoint(name: str, base_url: str, auth: str = "x-api-key") -> dict[str, object]:
    return {"name": name, "base_url": base_url, "auth": auth, "secret": None if auth == "none" else "env:KEY"}


@dataclass
class Seen:
    """A request as it arrived at the upstream."""

    line: str
    headers: dict[str, str]
    body: bytes
    left: asyncio.Event = field(default_factory=asyncio.Event)


Answer = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Upstream:
    url: str = ""
    seen: list[Seen] = field(default_factory=list[Seen])


@asynccontextmanager
async def running_upstream(answer: Answer) -> AsyncGenerator[Upstream]:
    """A server that reads one request a connection and lets `await answer(seen, writer)` write raw bytes."""
    upstream = Upstream()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = await _read(reader)
        upstream.seen.append(seen)
        watcher = asyncio.create_task(_watch(reader, seen))
        with contextlib.suppress(ConnectionError):
            await answer(seen, writer)
            writer.close()
            await writer.wait_closed()
        watcher.cancel()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()


async def _read(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in fields)}
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        body = await reader.readuntil(b"0\r\n\r\n")
    else:
        body = b""
    return Seen(line, headers, body)


async def _watch(reader: asyncio.StreamReader, seen: Seen) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read()
    seen.left.set()


def response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
