"""The egress proxy put together from the server's settings."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from outrider.clock import Clock, SystemClock
from outrider.config import Settings
from outrider.ports.egress import EgressClaim
from outrider.ports.telemetry import Meter
from outrider.proxy.credentials import Credentials
from outrider.proxy.egress.claims import Claims
from outrider.proxy.egress.connection import Terms
from outrider.proxy.egress.door import Door
from outrider.proxy.egress.injector import Injector, upstream_context
from outrider.proxy.egress.placeholders import Placeholders
from outrider.proxy.egress.policy import policy
from outrider.proxy.egress.record import Record
from outrider.proxy.egress.remote import Remote
from outrider.vault.authority import Authority

Settle = Callable[[EgressClaim], None]


Far = tuple[socket.socket, ssl.SSLContext]
"""Where sandbox hosts elsewhere come in, and the TLS by which they are known."""


@dataclass(frozen=True, slots=True)
class Room:
    """`settle` takes the owners' claims; `answer` shows what was asked."""

    settle: Settle
    answer: Callable[[str, bytes], Awaitable[bytes]]


@asynccontextmanager
async def serving(
    settings: Settings, listener: socket.socket | None, far: Far | None, meter: Meter, clock: Clock,
    credentials: Credentials,
) -> AsyncGenerator[Room]:  # fmt: skip
    """Serve the sandboxes that come in at `listener`, and those of sandbox hosts elsewhere at `far`."""
    egress = settings.egress
    record = Record(settings.vault_data, clock)
    place = settings.vault_data
    injector = Injector(Authority(place), Placeholders(place), credentials, upstream_context())
    terms = Terms(egress.allow_private, egress.idle_timeout, record, meter, injector=injector)
    door = Door(settings.sandboxes, terms, egress.connections, injector.tell, egress.package_hosts)
    remote = Remote(door.policy, terms, egress.connections, door.told)
    claims = Claims(settings.vault_data)
    for known in claims.all():
        door.settle(policy(known, egress.package_hosts, settings.git_hosts))

    def settle(claim: EgressClaim) -> None:
        claims.note(claim)
        door.settle(policy(claim, egress.package_hosts, settings.git_hosts))
        remote.settled(claim.session)

    try:
        async with AsyncExitStack() as stack:
            if listener is not None:
                await stack.enter_async_context(door.open(listener))
            if far is not None:
                await stack.enter_async_context(remote.open(*far))
            yield Room(settle, record.answer)
    finally:
        claims.close()
        record.close()


@asynccontextmanager
async def watching(
    settings: Settings, listener: socket.socket, sandboxes: Path, place: Path, sessions: Sequence[str]
) -> AsyncGenerator[None]:
    """As `serving`, for a few sessions without credentials that may reach every host; what they asked goes to
    `place`."""
    record = Record(place, SystemClock())
    terms = Terms(settings.egress.allow_private, settings.egress.idle_timeout, record)
    door = Door(sandboxes, terms, settings.egress.connections)
    for session in sessions:
        door.settle(policy(EgressClaim(session, 1, "", {"type": "unrestricted"}), {}))
    try:
        async with door.open(listener):
            yield
    finally:
        record.close()
