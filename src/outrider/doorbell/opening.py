"""Chooses how processes speak to each other: NATS where it is named, else the notifications of a shared database, else
not at all."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from outrider.config import DATABASE_URL, NATS_URL, Settings
from outrider.errors import InvalidRequest
from outrider.ports.doorbell import Exchange


def check(settings: Settings) -> None:
    """Raises InvalidRequest when the settings name NATS and its client is not installed."""
    if settings.nats_url is not None and find_spec("nats") is None:
        raise InvalidRequest(f"server.nats_url ({NATS_URL}) needs the extra `nats`: pip install 'outrider[nats]'.")


def make_exchange(settings: Settings, credentials: Mapping[str, str], writer: str) -> Exchange | None:
    """None where one process has the store to itself. `writer` is the name under which the store notifies;
    `credentials` may hold the whole URLs, which the settings hold without what is secret in them."""
    check(settings)
    if settings.nats_url is not None:
        from outrider.doorbell.nats import NatsExchange

        return NatsExchange(credentials.get(NATS_URL) or settings.nats_url, prefix=settings.nats_prefix)
    if settings.database_url is not None:
        from outrider.doorbell.postgres import PostgresExchange

        return PostgresExchange(credentials.get(DATABASE_URL) or settings.database_url, writer)
    return None
