"""Where webhooks are delivered from: each process with the API that has a way to the vault; one at a time does it.

Part of the server's composition root.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from outrider.api.courier import Deliveries
from outrider.clock import Clock
from outrider.config import Settings
from outrider.ids import IdSource
from outrider.links.peers import Identity
from outrider.links.secrets import SecretsLink
from outrider.ports.log import Row, SessionKey
from outrider.ports.telemetry import Meter
from outrider.server import hands
from outrider.server.housekeeping import going_on
from outrider.store.opening import Store


@asynccontextmanager
async def delivering(
    settings: Settings, identity: Identity | None, store: Store, about: tuple[IdSource, Clock, Meter]
) -> AsyncGenerator[Callable[[SessionKey, list[Row]], None]]:
    """While the block runs. What it gives is to be told of rows that were committed."""
    if "api" not in settings.roles or ("harness" not in settings.roles and not settings.vault_url):
        yield _tell_nobody
        return
    name = f"{hands.node(settings.node_file)}-{os.getpid()}-{os.urandom(4).hex()}"
    async with hands.vault(settings, identity) as vault, vault.client() as client:
        work = Deliveries(store, SecretsLink(client), settings.webhooks, about, name, shared=store.shared)
        async with going_on(work.run()):
            yield work.ring


def _tell_nobody(_key: SessionKey, _rows: list[Row]) -> None:
    """Others deliver."""
