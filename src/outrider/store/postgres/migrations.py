"""Brings a database to the newest schema: numbered scripts, forward only, each in a transaction of its own.

Processes that start together take turns by an advisory lock. Each script must leave the release before it working, so
that old and new processes can run side by side while servers are replaced.
"""

from __future__ import annotations

from outrider.errors import UnfitDatabase
from outrider.store.postgres.connections import OLDEST
from outrider.store.postgres.transaction import Link
from outrider.store.scripts import Script, refuse_newer, shipped

PACKAGE = __package__ or __name__
LOCK_SECONDS = 60.0
_LOCK = 0x6F757472  # "outr"


async def migrate(link: Link, scripts: list[Script] | None = None) -> int:
    """Apply what is missing and return the version. Raises UnfitDatabase, with nothing changed, on a schema too new."""
    wanted = shipped(PACKAGE) if scripts is None else scripts
    await _suits(link)
    newest = wanted[-1][0]
    if await _version(link) != newest:
        for script in wanted:
            await _apply(link, script, newest)
    return newest


async def _suits(link: Link) -> None:
    version = int(await link.fetchval("SHOW server_version_num"))
    encoding: str = await link.fetchval("SHOW server_encoding")
    if version < OLDEST:
        raise UnfitDatabase(
            f"The database server is PostgreSQL {version // 10_000}: {OLDEST // 10_000} or newer is needed."
        )
    if encoding != "UTF8":
        raise UnfitDatabase(f"The database's encoding is {encoding}; UTF8 is needed: create it with ENCODING 'UTF8'.")


async def _apply(link: Link, script: Script, newest: int) -> None:
    number, name, text = script
    async with link.transaction():
        await link.execute(f"SELECT pg_advisory_xact_lock({_LOCK})", timeout=LOCK_SECONDS)
        found = await _version(link)
        refuse_newer(found, newest)
        if found < number:
            await link.execute(
                "CREATE TABLE IF NOT EXISTS schema_version (version bigint PRIMARY KEY, name text NOT NULL)"
            )
            await link.execute(text, timeout=LOCK_SECONDS)
            await link.execute("INSERT INTO schema_version (version, name) VALUES ($1, $2)", number, name)


async def _version(link: Link) -> int:
    if await link.fetchval("SELECT to_regclass('schema_version')") is None:
        return 0
    return await link.fetchval("SELECT coalesce(max(version), 0) FROM schema_version")
