"""Looks at a database as a server would before it starts on it, and says what would stop it. Changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from outrider.store import queries
from outrider.store.postgres import connections, poolers, problems
from outrider.store.postgres.connections import OLDEST
from outrider.store.postgres.migrations import PACKAGE
from outrider.store.postgres.transaction import Link
from outrider.store.scripts import shipped

SECONDS = 5.0
_QUERIES = queries.load(PACKAGE, "sql/health.sql")


@dataclass(slots=True)
class Health:
    """`schema` is None where no server has started yet. Each problem comes with what mends it."""

    place: str
    release: str = ""
    schema: int | None = None
    newest: int = 0
    pooled: bool = False
    round_trip: float = 0.0
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


async def look(url: str) -> Health:
    """Raises Overloaded when the server can't be reached, Internal when it refuses us or its pooler is unfit."""
    health = Health(connections.shown(url), newest=shipped(PACKAGE)[-1][0])
    try:
        link = await connections.to_read(url)
        try:
            await poolers.refuse_unfit(link, url)
            health.pooled = await poolers.between(link)
            await _look(link, health)
        finally:
            link.terminate()
    except poolers.SIGNS:
        raise poolers.refusal(health.place) from None
    except problems.FAILURES as error:
        raise problems.translate(error, health.place) from None
    return health


async def _look(link: Link, health: Health) -> None:
    begun = time.perf_counter()
    await link.fetchval("SELECT 1", timeout=SECONDS)
    health.round_trip = time.perf_counter() - begun
    (server,) = await link.fetch(_QUERIES["server"], timeout=SECONDS)
    health.release = server["release"]
    _judge(server, health)
    if server["schema"] is None:
        return
    if foreign := await link.fetch(_QUERIES["foreign_tables"], timeout=SECONDS):
        health.problems.append(
            (f"the table {foreign[0]['name']} belongs to another role", "let this role own its tables")
        )
    elif server["begun"]:
        health.schema = (await link.fetch(_QUERIES["schema"], timeout=SECONDS))[0]["version"]
        if (health.schema or 0) > health.newest:
            found = f"schema version {health.schema} is newer than {health.newest}, which this release knows"
            health.problems.append((found, "start the newer release"))


def _judge(server: Any, health: Health) -> None:
    say = health.problems.append
    if server["number"] < OLDEST:
        say((f"PostgreSQL {server['release']} is too old", f"run {OLDEST // 10_000} or newer"))
    if server["encoding"] != "UTF8":
        say((f"its encoding is {server['encoding']}", "make the database with ENCODING 'UTF8'"))
    if server["read_only"]:
        say(("it takes no writes: it is read-only", "name the primary server"))
    if server["schema"] is None:
        say(("no schema of the search_path exists", "make one, or set the role's search_path"))
    elif not server["may_create"]:
        say((f"this role may make no tables in schema {server['schema']}", "let the role own the database"))
