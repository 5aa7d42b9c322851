"""The egress proxy put together from the server's settings."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from outrider.clock import Clock
from outrider.config import Settings
from outrider.ports.egress import EgressClaim
from outrider.ports.telemetry import Meter
from outrider.proxy.egress.claims import Claims
from outrider.proxy.egress.connection import Terms
from outrider.proxy.egress.door import Door
from outrider.proxy.egress.policy import policy
from outrider.proxy.egress.record import Record


@asynccontextmanager
async def serving(
    settings: Settings, listener: socket.socket, meter: Meter, clock: Clock
) -> AsyncGenerator[Callable[[EgressClaim], None]]:
    """Serve the sandboxes that come in at `listener`; gives what takes their owners' claims."""
    egress = settings.egress
    record = Record(settings.vault_data, clock)
    terms = Terms(egress.allow_private, egress.idle_timeout, record, meter)
    door = Door(settings.sandboxes, terms, egress.connections)
    claims = Claims(settings.vault_data)
    for known in claims.all():
        door.settle(policy(known, egress.package_hosts))

    def settle(claim: EgressClaim) -> None:
        claims.note(claim)
        door.settle(policy(claim, egress.package_hosts))

    try:
        async with door.open(listener):
            yield settle
    finally:
        claims.close()
        record.close()
