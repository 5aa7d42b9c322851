"""What a change of a session does to the files that it was given. Part of `records`, whose transaction it shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.ports.files import FileRecord


@dataclass(frozen=True, slots=True)
class FileCopy:
    """A session's own copy of the file `source`: the same bytes under an id of its own, for as long as the session has
    it. It takes no part of the workspace's storage."""

    source: str
    id: str
    created_at: str


@dataclass(frozen=True, slots=True)
class FileChanges:
    """A source must be there and not have expired, else NotFound is raised; what is dropped may be gone already.
    `added` are files of the session whose whole bytes were announced under their own ids, as by `add_file`."""

    copies: tuple[FileCopy, ...] = ()
    dropped: tuple[str, ...] = ()
    added: tuple[FileRecord, ...] = ()


NO_CHANGES = FileChanges()
