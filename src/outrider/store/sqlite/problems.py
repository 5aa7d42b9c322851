"""What SQLite's errors mean to callers. Knows the codes; decides nothing about transactions."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from outrider.errors import Conflict, Internal, OutriderError, Overloaded, StorageFull

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_OF_THE_FILE = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_NOTADB")
_OF_OTHERS = ("SQLITE_BUSY", "SQLITE_LOCKED")


def concerns_all(error: Exception) -> bool:
    """Whether it is the file's or the disk's trouble, and not that of one statement's values."""
    return isinstance(error, OSError) or _name(error).startswith(_OF_THE_FILE + _OF_OTHERS)


def translate(error: Exception, path: Path) -> OutriderError:
    """The error of our tree for one of SQLite's, of the system's, or for values that SQLite can't hold."""
    if isinstance(error, OutriderError):
        return error
    name = _name(error)
    if _is_full(error, name, path):
        return StorageFull("The log could not be written: its file system is full. Nothing was stored.")
    if name in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"):
        return Conflict("Something with this id is stored already.")
    if name.startswith(_OF_OTHERS):
        return Overloaded("The log is locked by another process. Nothing was stored.")
    return Internal(f"The database failed: {name or type(error).__name__}: {error}")


def _name(error: Exception) -> str:
    return getattr(error, "sqlite_errorname", "") if isinstance(error, sqlite3.Error) else ""


def _is_full(error: Exception, name: str, path: Path) -> bool:
    if name == "SQLITE_FULL":
        return True
    if isinstance(error, OSError):
        return error.errno in NO_ROOM
    # A side file that can't grow is reported as an I/O error without its cause.
    return name.startswith("SQLITE_IOERR") and _no_block_left(path)


def _no_block_left(path: Path) -> bool:
    try:
        return os.statvfs(path.parent).f_bavail == 0
    except OSError:
        return False
