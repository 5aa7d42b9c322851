"""The services that a drill's servers use: PostgreSQL and NATS, of the drill's own or the operator's, and certificates."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from outrider.errors import InvalidRequest
from outrider.testing.drill.shape import Shape
from outrider.testing.nats_server import nats_server
from outrider.testing.postgres_server import postgres_server

ISSUE_SECONDS = 60.0
CONNECTIONS = "300"


@dataclass(frozen=True, slots=True)
class Service:
    """Where a service is, by a URL that may hold a password."""

    url: str

    @property
    def address(self) -> tuple[str, int]:
        found = urlsplit(self.url)
        if not found.hostname or not found.port:
            raise InvalidRequest("a service of a drill is named by a URL with host and port")
        return found.hostname, found.port

    def at(self, port: int) -> str:
        """The same service behind a relay on loopback."""
        host, own = self.address
        return self.url.replace(f"{host}:{own}", f"127.0.0.1:{port}", 1)


@dataclass(frozen=True, slots=True)
class Services:
    """None: the shape needs none. `certificates` is the directory of `outrider tls`."""

    database: Service | None
    nats: Service | None
    certificates: Path | None


@asynccontextmanager
async def serving(shape: Shape, folder: Path) -> AsyncGenerator[Services]:
    async with AsyncExitStack() as stack:
        database = nats = None
        if shape.store == "postgres":
            database = Service(shape.database or _postgres(stack))
        if shape.with_nats:
            nats = Service(shape.nats or _nats(stack))
        certificates = folder / "tls" if shape.apart else None
        if certificates is not None:
            await asyncio.to_thread(_issue, certificates, [(one.name, one.roles) for one in shape.plan()])
        yield Services(database, nats, certificates)


def _postgres(stack: AsyncExitStack) -> str:
    """Started from this thread, on purpose: the server ends with the thread that started it."""
    server = stack.enter_context(postgres_server(max_connections=CONNECTIONS))
    return server.url(server.database(), tcp=True)


def _issue(place: Path, servers: list[tuple[str, tuple[str, ...]]]) -> None:
    _tls("init", str(place))
    for name, roles in servers:
        wanted = [word for role in roles if role != "api" for word in ("--role", role)]
        if wanted:
            _tls("issue", str(place), "--name", name, *wanted, "--address", "127.0.0.1")


def _tls(*words: str) -> None:
    command = [sys.executable, "-m", "outrider", "tls", *words]
    subprocess.run(command, check=True, capture_output=True, timeout=ISSUE_SECONDS)
