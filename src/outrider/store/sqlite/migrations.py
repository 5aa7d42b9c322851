"""Brings a database file to the newest schema: numbered scripts, forward only, each in a transaction of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from outrider.store.scripts import Script, refuse_newer, shipped

PACKAGE = __package__ or __name__


def migrate(db: sqlite3.Connection, scripts: list[Script] | None = None) -> int:
    """Apply what is missing and return the version. Raises Internal, with nothing changed, on a newer file's schema."""
    wanted = shipped(PACKAGE) if scripts is None else scripts
    newest = wanted[-1][0]
    if _version(db) != newest:
        for script in wanted:
            _apply(db, script, newest)
    return newest


def _apply(db: sqlite3.Connection, script: Script, newest: int) -> None:
    number, name, text = script
    db.execute("BEGIN EXCLUSIVE")  # two servers that start together do it once: the second sees the first's version
    try:
        found = _version(db)
        refuse_newer(found, newest)
        if found < number:
            _run(db, number, name, text)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _run(db: sqlite3.Connection, number: int, name: str, text: str) -> None:
    db.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    for statement in statements(text):
        db.execute(statement)
    db.execute("INSERT INTO schema_version (version, name) VALUES (?, ?)", (number, name))


def _version(db: sqlite3.Connection) -> int:
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchall():
        return 0
    return db.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchall()[0][0]


def statements(text: str) -> Iterator[str]:
    """Split a script after each whole statement; a trigger's inner semicolons do not end it."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
