"""Consistent copies of a database file that a server may be writing to, and what such a copy refers to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from outrider.errors import Internal, InvalidRequest
from outrider.ports.blobs import BlobKey
from outrider.ports.cold import Segment
from outrider.ports.files import content_of
from outrider.store.bodies import reference
from outrider.store.copied import EPOCHS_ROOM
from outrider.store.scripts import shipped
from outrider.store.sqlite import problems
from outrider.store.sqlite.migrations import PACKAGE

OWNERS = {
    "files": "SELECT workspace, blob FROM files WHERE blob IS NOT NULL",
    "skill_versions": "SELECT workspace, id FROM skill_versions",
}
"""By the tables that they are in: whose bytes lie in the blob store."""


def copy(database: Path, to: Path) -> None:
    """One read transaction's view, written anew: nothing that was erased before is in it. Raises Internal."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, isolation_level=None)) as db:
            db.execute("VACUUM INTO ?", (str(to),))
    except sqlite3.Error as error:
        raise problems.translate(error, database) from error
    to.chmod(0o600)


def check(database: Path) -> int:
    """The copy's schema version. Raises InvalidRequest when it is damaged, or newer than this release knows."""
    newest = shipped(PACKAGE)[-1][0]
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)) as db:
            found: int = db.execute("SELECT max(version) FROM schema_version").fetchall()[0][0]
            said = db.execute("PRAGMA quick_check").fetchall()[0][0]
    except sqlite3.Error as error:
        raise InvalidRequest(f"{database} is no database of ours, or damaged: {error}.") from None
    if said != "ok":
        raise InvalidRequest(f"{database} is damaged: {said}.")
    if found > newest:
        raise InvalidRequest(
            f"The backup has schema version {found}, and this release of outrider knows {newest}: use a newer release."
        )
    return found


def blobs_of(database: Path) -> list[BlobKey]:
    """The blobs that the copy's rows and files refer to, each once."""
    found: set[BlobKey] = set()
    with closing(sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)) as db:
        for workspace, session, segment in db.execute("SELECT workspace, session, segment FROM heads"):
            if (cold := Segment.read(segment)) is not None:
                found.add(BlobKey(workspace, session, cold.name))
        outside = (
            "SELECT heads.workspace, heads.session, events.body FROM events JOIN heads ON heads.log = events.log"
            " WHERE substr(events.body, 1, 1) = x'00'"
        )
        for workspace, session, body in db.execute(outside):
            if (row := reference(body)) is None:
                raise Internal(f"A row of session {session} can't be read.")
            found.add(BlobKey(workspace, session, row.blob))
        for table, query in OWNERS.items():
            if db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchall():  # an older copy has none
                found.update(content_of(workspace, blob) for workspace, blob in db.execute(query))
    return sorted(found)


def cold_sessions(database: Path) -> set[tuple[str, str]]:
    """Whose large bodies can't be told from the copy alone: their rows lie in segments."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)) as db:
        rows = db.execute("SELECT workspace, session FROM heads WHERE segment IS NOT NULL")
        return {(workspace, session) for workspace, session in rows}


def outdate(database: Path) -> None:
    """Whoever owned a session, also since the copy was made, is refused by the restored database. Raises Internal."""
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as db:
            db.execute("UPDATE heads SET epoch = epoch + ?", (EPOCHS_ROOM,))
    except sqlite3.Error as error:
        raise problems.translate(error, database) from error
