"""Finds out whether a pooler gives this connection another session of the server for each transaction.

Prepared statements, settings and notifications belong to a session: such a pooler can't be used. One that keeps a
client to its session (PgBouncer's `pool_mode = session`) can.
"""

from __future__ import annotations

from typing import Protocol, cast

import asyncpg

from outrider.errors import UnfitDatabase
from outrider.store.postgres import connections
from outrider.store.postgres.transaction import Link

SIGNS = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)
"""Another client's prepared statement is there, or ours isn't any more."""
SECONDS = 5.0
_PID = "SELECT pg_backend_pid()"


class _Told(Protocol):
    def get_server_pid(self) -> int: ...


def refusal(place: str) -> UnfitDatabase:
    return UnfitDatabase(
        f"The database at {place} is behind a pooler that changes the session between transactions: prepared statements"
        " and notifications are lost there. Let it pool by session (PgBouncer: pool_mode = session), or name the"
        " database itself."
    )


async def between(link: Link) -> bool:
    """Whether some pooler is there: then the server's process is not the one that was named when we connected."""
    return cast(_Told, link).get_server_pid() != await link.fetchval(_PID, timeout=SECONDS)


async def refuse_unfit(link: Link, url: str) -> None:
    """Raises UnfitDatabase where the pooler is of the wrong kind. `link` must be in no transaction.

    While a second connection is in a transaction, the session that served the first one last is either still kept for
    it, or has been given to the second, or is free and may be.
    """
    try:
        if not await between(link):
            return
        first = await link.fetchval(_PID, timeout=SECONDS)
        other = await connections.to_read(url)
        try:
            async with other.transaction():
                second = await other.fetchval(_PID, timeout=SECONDS)
                again = await link.fetchval(_PID, timeout=SECONDS)
        finally:
            other.terminate()
    except SIGNS:
        raise refusal(connections.shown(url)) from None
    if first == second or first != again:
        raise refusal(connections.shown(url))
