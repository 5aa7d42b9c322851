"""The embedded store: one SQLite file, one writer thread with group commit, readers beside it."""

from outrider.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
