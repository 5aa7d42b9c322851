"""Opens connections to the database file: its mode, its durability, who may write. Owns no transaction."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from outrider.errors import Internal

OLDEST = (3, 35, 0)  # RETURNING
BUSY_MILLISECONDS = 5_000
CHECKPOINT_PAGES = 4_000  # 16 MB: pages that change often are copied back less often than with the default of 1,000
WAL_BYTES_KEPT = 64 * 1024 * 1024
WAL_BYTES = CHECKPOINT_PAGES * 4200  # a page with its frame, and a little more
WAL_STEP = 1024 * 1024
ROOMY = 2 * 1024 * 1024 * 1024  # free bytes on the disk: below that, nothing is written in advance


def create(path: Path) -> None:
    """Make the file, readable by its owner alone; SQLite gives its side files the same mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


def writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes. A commit is on disk when it returns (WAL, synchronous FULL)."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise Internal(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed.")
    connection = _connect(path)
    connection.execute("PRAGMA journal_mode=WAL").fetchall()
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON").fetchall()  # erased rows are overwritten, not just unlinked
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}").fetchall()
    connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES_KEPT}").fetchall()
    return connection


def reader(path: Path) -> sqlite3.Connection:
    """A connection for one reading thread; it sees whatever was committed before each query."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only=ON")
    return connection


def lengthen_wal(connection: sqlite3.Connection, path: Path) -> bool:
    """Take the log of changes a step towards the length at which it is begun anew; False when it is there.

    Writing over what is there costs a commit less than making the file longer: nothing but the data has to reach the
    disk, which is half the time, and much less than half where other work keeps the file system busy. What is added is
    no part of the log for SQLite: it ends where the next frame's salt and checksum don't fit.
    """
    try:
        with _nobody_writing(connection), path.with_name(path.name + "-wal").open("r+b", buffering=0) as wal:
            size = os.fstat(wal.fileno()).st_size
            missing = min(WAL_STEP, WAL_BYTES - size)
            if missing <= 0 or shutil.disk_usage(path.parent).free < ROOMY:
                return False
            os.pwrite(wal.fileno(), bytes(missing), size)
            os.fdatasync(wal.fileno())
            return missing == WAL_STEP
    except (OSError, sqlite3.Error):
        return False  # as good as before, only slower


@contextmanager
def _nobody_writing(connection: sqlite3.Connection) -> Generator[None]:
    """With the lock for writing, if it can be had at once."""
    connection.execute("PRAGMA busy_timeout=0").fetchall()
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
    finally:
        connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}").fetchall()


def _connect(path: Path) -> sqlite3.Connection:
    # Opened in one thread, used in another, closed in a third; never by two at a time.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}").fetchall()
    connection.execute("PRAGMA cache_size=-16000")
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection
