"""The reading of repositories put together from the server's settings."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from outrider.clock import Clock
from outrider.config import Settings
from outrider.ports.telemetry import Meter
from outrider.proxy.credentials import Credentials
from outrider.proxy.egress.connection import Terms
from outrider.proxy.egress.injector import Injector, upstream_context
from outrider.proxy.egress.placeholders import Placeholders
from outrider.proxy.egress.record import Record
from outrider.proxy.git.mirror import Mirrors
from outrider.vault.authority import Authority


@asynccontextmanager
async def looking(settings: Settings, meter: Meter, clock: Clock, credentials: Credentials) -> AsyncGenerator[Mirrors]:
    place, egress = settings.vault_data, settings.egress
    record = Record(None, clock)  # each use of a token is in the vault's own record
    authority = Authority(place)
    injector = Injector(authority, Placeholders(place), credentials, upstream_context())
    terms = Terms(egress.allow_private, egress.idle_timeout, record, meter, injector=injector)
    try:
        yield Mirrors(terms, authority.certificate, settings.git_hosts, place)
    finally:
        record.close()
