"""A PostgreSQL database that begins empty for each test, without making a new one each time."""

from __future__ import annotations

from outrider.store.postgres import PostgresStore, connections
from outrider.store.shapes import OnCommit, OnDelete
from outrider.testing.postgres_server import PostgresServer

_EMPTY = """
DO $$
DECLARE
    found text;
BEGIN
    FOR found IN
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
          AND relname <> 'schema_version'
    LOOP
        EXECUTE format('DELETE FROM %I', found);
    END LOOP;
END
$$
"""
_shared: dict[int, str] = {}


async def empty_database(server: PostgresServer) -> str:
    """The URL of the database that tests take turns with."""
    if server.port not in _shared:
        _shared[server.port] = server.database()
        async with await PostgresStore.open(server.url(_shared[server.port])):
            pass
    url = server.url(_shared[server.port])
    link = await connections.to_read(url)
    try:
        await link.execute(_EMPTY)
    finally:
        await link.close()
    return url


async def fresh_store(
    server: PostgresServer, *, on_commit: OnCommit | None = None, on_delete: OnDelete | None = None
) -> PostgresStore:
    return await PostgresStore.open(await empty_database(server), on_commit=on_commit, on_delete=on_delete)
