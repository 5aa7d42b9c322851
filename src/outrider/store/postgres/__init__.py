"""The shared store: PostgreSQL, one writing task a process with group commit, readers beside it."""

from outrider.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
