"""A PostgreSQL server of its own for measurements, whose writes are durable."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from outrider.testing.postgres_server import postgres_server

SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "max_connections": "100"}


@contextmanager
def database() -> Generator[str]:
    """Its URL; the server and its data are gone at the end."""
    with postgres_server() as server:
        server.stop()
        server.start(**SETTINGS)
        yield server.url(server.database(), tcp=True)
