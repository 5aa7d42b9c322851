"""Opens connections to the server named by a URL. The URL may hold a password: it is never shown or logged."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import urlsplit

import asyncpg

from outrider.store.postgres import problems
from outrider.store.postgres.transaction import Link

OLDEST = 140_000
CONNECT_SECONDS = 5.0
# Statements look rows up by their keys, in tables that may be empty when a plan is made and kept, and huge later.
_TO_READ = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
IDLE_SECONDS = 3.0
LOCK_SECONDS = 5.0
_TO_WRITE = _TO_READ | {
    # A process that stands still in the middle of a transaction gives up what it has locked; it finds out when it goes
    # on, and sends the same job again under the same number.
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS:.0f}s",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "synchronous_commit": "on",
    "client_min_messages": "error",
}
_open = cast("Callable[..., Awaitable[Link]]", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]
_SETTINGS = "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS s (name, value)"


def shown(url: str) -> str:
    """Where the database is, without user and password."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname or 'local socket'}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "the database server"


async def to_read(url: str) -> Link:
    return await _connect(url, _TO_READ)


async def to_write(url: str) -> Link:
    """A commit is on the server's disk when it returns, whatever the role's own setting is."""
    return await _connect(url, _TO_WRITE)


async def bound_locks(link: Link) -> None:
    """From now on a statement that waits for others' locks ends after `LOCK_SECONDS` with nothing done. Not while the
    schema is brought up to date: there, processes wait for one another."""
    await link.execute(_SETTINGS, ["lock_timeout"], [f"{LOCK_SECONDS:.0f}s"], timeout=CONNECT_SECONDS)


async def _connect(url: str, settings: dict[str, str]) -> Link:
    """Raises what `problems.LOST` and `problems.REFUSED` list."""
    try:
        link = await _open(url, timeout=CONNECT_SECONDS, statement_cache_size=256, max_cached_statement_lifetime=0)
    except (ValueError, asyncpg.ClientConfigurationError, ssl.SSLError) as error:
        raise problems.unusable(error, shown(url)) from None
    try:
        await link.execute(_SETTINGS, list(settings), list(settings.values()), timeout=CONNECT_SECONDS)
    except BaseException:
        link.terminate()
        raise
    return link
