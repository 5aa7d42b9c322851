"""Real sandboxes with a real egress proxy in this process, and web servers on loopback for it to reach."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from outrider.clock import SystemClock
from outrider.networks import allowance
from outrider.ports.egress import EgressClaim, EgressCredential
from outrider.ports.sandbox import ToolCall
from outrider.proxy.egress.connection import Terms
from outrider.proxy.egress.door import Door, nothing_to_tell
from outrider.proxy.egress.injector import Injector
from outrider.proxy.egress.policy import policy
from outrider.proxy.egress.record import FILE, Record
from outrider.sandbox.driver import BubblewrapSandboxes
from outrider.testing.sandbox_host import SandboxHost

DEADLINE = 20.0

UNRESTRICTED: Mapping[str, Any] = {"type": "unrestricted"}


class Web:
    """A web server that says what it was asked. Keeps every request as it came."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self.answers: dict[bytes, bytes] = {}

    @asynccontextmanager
    async def serving(self, context: ssl.SSLContext | None = None) -> AsyncGenerator[Web]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.seen.append(head)
                path = head.split(b" ")[1]
                sent = await body_of(head, reader)
                self.bodies.append(sent)
                body = head + sent if path == b"/echo" else self.answers.get(path)
                if body is None:
                    body = b"hello from " + path + b"\n"
                if body.startswith(b"HTTP/1.1"):
                    writer.write(body)
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


async def body_of(head: bytes, reader: asyncio.StreamReader) -> bytes:
    """A request's body."""
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        found = b""
        while size := int((await reader.readline()).strip(), 16):
            found += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return found
    _, named, rest = lower.partition(b"content-length: ")
    return await reader.readexactly(int(rest.split(b"\r\n")[0])) if named else b""


class Trial:
    """`run` gives a command's output in a session's sandbox. `names` maps host names to addresses."""

    def __init__(self, host: SandboxHost) -> None:
        self.host = host
        self.names: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.door: Door | None = None
        self._sandboxes: BubblewrapSandboxes = host.driver()
        self._calls = 0
        self._epoch = 1

    async def resolve(self, name: str, port: int) -> list[str]:
        self.asked.append(name)
        return self.names.get(name, [])

    @asynccontextmanager
    async def proxy(
        self,
        *allow: str,
        connections: int = 32,
        idle: float = 60.0,
        resolve: Callable[[str, int], Awaitable[list[str]]] | None = None,
        injector: Injector | None = None,
        packages: Mapping[str, tuple[str, ...]] | None = None,
    ) -> AsyncGenerator[Door]:
        """A new proxy at the sandboxes' socket, which lets the private addresses `allow` in, and the hosts `packages`
        for builds."""
        record = Record(self.host.place, SystemClock())
        terms = Terms(
            [allowance(text) for text in allow], idle, record, resolve=resolve or self.resolve, injector=injector
        )
        tell = nothing_to_tell if injector is None else injector.tell
        self.door = Door(self.host.root, terms, connections, tell, packages)
        self.host.egress.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.host.egress))
        self.host.egress.chmod(0o666)
        listener.listen(16)
        with listener:
            async with self.door.open(listener):
                try:
                    yield self.door
                finally:
                    record.close()

    def claim(
        self,
        session: str,
        networking: Mapping[str, Any] = UNRESTRICTED,
        *,
        packages: Mapping[str, tuple[str, ...]] | None = None,
        mcp: Sequence[str] = (),
        credentials: Sequence[EgressCredential] = (),
    ) -> None:
        assert self.door is not None
        claim = EgressClaim(session, self._epoch, "wrkspc_a", dict(networking), tuple(mcp), tuple(credentials))
        self.door.settle(policy(claim, packages or {}))

    async def run(self, session: str, command: str) -> str:
        self._calls += 1
        call = ToolCall(f"call_{self._calls}", "thr_1", "bash", {"command": command})
        outcome = await self._sandboxes.execute(session, call, epoch=self._epoch)
        return str(outcome.content[0]["text"])

    async def lines(self, session: str, count: int) -> list[dict[str, Any]]:
        """The request log of a session once it has `count` lines: one is written when its connection has ended."""
        async with asyncio.timeout(DEADLINE):
            while len(found := self._lines(session)) < count:  # noqa: ASYNC110 (the file tells nobody)
                await asyncio.sleep(0.01)
        return found

    def _lines(self, session: str) -> list[dict[str, Any]]:
        file = Path(self.host.place, FILE)
        found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [line for line in found if line["session"] == session]


@asynccontextmanager
async def trial(*, fork: bool = False) -> AsyncGenerator[Trial]:
    async with AsyncExitStack() as stack:
        host = SandboxHost(egress=True, fork=fork)
        host.start()
        stack.push_async_callback(host.close)
        yield Trial(host)
