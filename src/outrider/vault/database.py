"""The vault's own SQLite file: its mode, its durability, its statements. Knows nothing of what the bytes mean.

Several processes may have it open (a rekey beside the vault); each change is one transaction that takes the write lock
first. Erased rows are overwritten, and leave the log of changes too.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from outrider.errors import Internal

BUSY_MILLISECONDS = 10_000
_HEADING = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def _statements() -> dict[str, str]:
    pieces = _HEADING.split(_text("secrets.sql"))[1:]
    return {name: text.strip() for name, text in zip(pieces[::2], pieces[1::2], strict=True)}


def _text(name: str) -> str:
    return files(__package__ or __name__).joinpath("sql", name).read_text("utf-8")


class Database:
    """One connection, for one thread at a time."""

    def __init__(self, path: Path, step: Callable[[], None] = lambda: None) -> None:
        """Make or open the file, readable by its owner alone. `step` is called around commits. Raises Internal."""
        self._step = step
        self._statements = _statements()
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            raise Internal(f"The vault's file {path} can't be used: {error}") from error

    def _prepare(self) -> None:
        for pragma in (f"busy_timeout={BUSY_MILLISECONDS}", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
            self._db.execute(f"PRAGMA {pragma}").fetchall()
        self._db.executescript(_text("schema.sql"))

    def all(self, statement: str, values: Mapping[str, Any] = {}) -> list[Any]:
        try:
            return self._db.execute(self._statements[statement], values).fetchall()
        except sqlite3.Error as error:
            raise Internal(f"The vault's file failed: {error}") from error

    def one(self, statement: str, values: Mapping[str, Any] = {}) -> Any | None:
        found = self.all(statement, values)
        return found[0] if found else None

    def run(self, statement: str, values: Mapping[str, Any]) -> int:
        """How many rows it changed."""
        try:
            return self._db.execute(self._statements[statement], values).rowcount
        except sqlite3.Error as error:
            raise Internal(f"The vault's file failed: {error}") from error

    @contextmanager
    def change(self) -> Generator[None]:
        """A transaction that is on disk when the block has ended, or undone when it raises."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise Internal(f"The vault's file failed: {error}") from error
        try:
            yield
            self._step()
            self._db.execute("COMMIT")
            self._step()
        except sqlite3.Error as error:
            raise Internal(f"The vault's file failed: {error}") from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def scrub(self) -> None:
        """Empty the log of changes, so that nothing erased is left there. Another reader may delay that."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        self._db.close()
