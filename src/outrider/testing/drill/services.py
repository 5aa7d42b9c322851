"""The services that a drill's servers use: PostgreSQL and NATS, its own or the operator's; and certificates."""

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
from outrider.testing import nats_server as nats
from outrider.testing import postgres_server as postgres
from outrider.testing.drill import hosts
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

    def at(self, host: str, port: int) -> str:
        """The same service behind a relay."""
        known, own = self.address
        return self.url.replace(f"{known}:{own}", f"{host}:{port}", 1)


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
            await asyncio.to_thread(_issue, certificates, shape)
        yield Services(database, nats, certificates)


def _postgres(stack: AsyncExitStack) -> str:
    """Started from this thread, on purpose: the server ends with the thread that started it."""
    try:
        server = stack.enter_context(postgres_server())
    except postgres.NoServer as missing:
        raise InvalidRequest(f"{missing}; or name a scratch one with --database-url") from missing
    server.stop()
    server.start(max_connections=CONNECTIONS)
    return server.url(server.database(), tcp=True)


def _nats(stack: AsyncExitStack) -> str:
    try:
        return stack.enter_context(nats_server()).url
    except nats.NoServer as missing:
        raise InvalidRequest(f"{missing}; or name a scratch one with --nats-url") from missing


def _issue(place: Path, shape: Shape) -> None:
    addresses = ["127.0.0.1", *(hosts.near(number) for number in range(1, shape.links() + 1))]
    _tls("init", str(place))
    for one in shape.plan():
        if one.roles != ("api",):
            wanted = [word for role in one.roles for word in ("--role", role)]
            reached = [word for address in addresses for word in ("--address", address)]
            _tls("issue", str(place), "--name", one.name, *wanted, *reached)


def _tls(*words: str) -> None:
    command = [sys.executable, "-m", "outrider", "tls", *words]
    subprocess.run(command, check=True, capture_output=True, timeout=ISSUE_SECONDS)
