"""Opens the stores that the settings name: with `server.database_url` PostgreSQL, else a file in the data directory;
beside it a bucket with `blobs.url`, else another directory there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from outrider.config import DATABASE_URL, Settings
from outrider.errors import InvalidRequest, Overloaded
from outrider.ports.blobs import Blobs
from outrider.ports.store import StorePorts
from outrider.store.blobs.opening import open_blobs
from outrider.store.bodies import Bodies
from outrider.store.cold import Freezer
from outrider.store.deep import deepen
from outrider.store.shapes import OnBatch, OnCommit, OnDelete

PATIENCE_SECONDS = 60.0  # at the start: the database may come up beside us
PAUSE_SECONDS = 1.0

log = logging.getLogger("outrider.store")


class Store(StorePorts, Protocol):
    """All ports on one set of data. `writer` is the name under which it notifies other processes, if it does."""

    writer: str

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Stores:
    """The store as its callers see it, `whole`; `rows` is what lies under it, with `blobs` beside."""

    whole: Store
    rows: Store
    blobs: Blobs
    freezer: Freezer


def check(settings: Settings) -> None:
    """Raises InvalidRequest when the settings name a store whose driver is not installed."""
    if settings.database_url is not None and find_spec("asyncpg") is None:
        raise InvalidRequest(
            f"server.database_url ({DATABASE_URL}) needs the extra `postgres`: pip install 'outrider[postgres]'."
        )


async def open_store(
    settings: Settings,
    credentials: Mapping[str, str],
    *,
    on_commit: OnCommit | None = None,
    on_delete: OnDelete | None = None,
    on_batch: OnBatch | None = None,
) -> Store:
    """`credentials` may hold the database's whole URL; the settings hold it without a password."""
    if settings.database_url is None:
        from outrider.store.sqlite import SqliteStore

        return await SqliteStore.open(settings.database, on_commit=on_commit, on_delete=on_delete, on_batch=on_batch)
    check(settings)
    return await _open_postgres(credentials.get(DATABASE_URL) or settings.database_url, on_commit, on_delete, on_batch)


async def open_stores(
    settings: Settings, credentials: Mapping[str, str], *, on_commit: OnCommit, on_batch: OnBatch | None = None
) -> Stores:
    """The store with the blob store beside it: large bodies and cold logs are there as if they were rows."""
    blobs = open_blobs(settings, credentials)
    bodies = Bodies(blobs, on_commit)
    rows = await open_store(settings, credentials, on_commit=bodies.committed, on_batch=on_batch)
    freezer = Freezer(rows, blobs)
    return Stores(deepen(rows, bodies, freezer, blobs), rows, blobs, freezer)


async def _open_postgres(
    url: str, on_commit: OnCommit | None, on_delete: OnDelete | None, on_batch: OnBatch | None
) -> Store:
    from outrider.store.postgres import PostgresStore

    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while True:
        try:
            return await PostgresStore.open(url, on_commit=on_commit, on_delete=on_delete, on_batch=on_batch)
        except Overloaded as error:
            if loop.time() > deadline:
                raise
            log.warning("waiting for the database: %s", error.message)
        await asyncio.sleep(PAUSE_SECONDS)
