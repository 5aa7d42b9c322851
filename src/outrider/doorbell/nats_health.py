"""Looks at NATS as a server would, and says what it lacks. Leaves nothing there."""

# pyright: reportUnknownMemberType=false
# The library leaves some of its parameters without types.
from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client

from outrider.errors import Overloaded

SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class NatsHealth:
    """`without_jetstream` says why wakes are left to sweeps, None when they are not."""

    release: str
    round_trip: float
    without_jetstream: str | None


async def look(url: str) -> NatsHealth:
    """Raises Overloaded, which says nothing of the URL's credentials, when it can't be used."""
    client = Client()
    try:
        async with asyncio.timeout(2 * SECONDS):
            await _connect(client, url)
        begun = time.perf_counter()
        await client.flush(timeout=int(SECONDS))
        taken = time.perf_counter() - begun
        return NatsHealth(str(client.connected_server_version), taken, await _jetstream(client))
    except (OSError, TimeoutError, nats.errors.Error) as error:
        raise Overloaded(f"NATS can't be used: {type(error).__name__}.") from None
    finally:
        if client.is_connected:
            await client.close()


async def _connect(client: Client, url: str) -> None:
    async def quiet(_: Exception) -> None:
        """What matters is raised."""

    options: dict[str, Any] = {"tls": ssl.create_default_context()} if "tls://" in url else {}
    await client.connect(
        url.split(","),
        name="outrider-doctor",
        allow_reconnect=False,
        max_reconnect_attempts=1,
        reconnect_time_wait=0,
        connect_timeout=int(SECONDS),
        error_cb=quiet,
        **options,
    )


async def _jetstream(client: Client) -> str | None:
    try:
        await client.jetstream(timeout=SECONDS).account_info()
    except (nats.errors.Error, TimeoutError) as error:
        return type(error).__name__
    return None
