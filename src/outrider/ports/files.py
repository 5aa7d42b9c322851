"""Durable records of files; their bytes lie in the blob store under (workspace, `blob`, CONTENT).

Bytes are announced before they are written, and a record is added when they are whole: bytes that no record and no
announcement leads to are nobody's, and may be erased.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from outrider.ports.blobs import BlobKey, BlobPrefix
from outrider.ports.log import KeptAnswer, SessionKey
from outrider.ports.records import Page

CONTENT = "content"
FILE = "file"
"""What the ids of files, and so the owners of their bytes, begin with."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """`session` is its scope, None for what was uploaded. `blob` owns the bytes, None once they are gone: the file has
    expired. `counted`: it takes part of the workspace's storage."""

    workspace: str
    id: str
    created_at: str
    expires_at: str | None
    session: str | None
    filename: str
    mime_type: str
    size: int
    downloadable: bool
    counted: bool
    blob: str | None

    def lasts(self, now: str) -> bool:
        """Whether it has not expired."""
        return self.blob is not None and (self.expires_at is None or self.expires_at > now)


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """Which file a path of a session's outputs folder became. `mark` and `digest` tell whether it is another by now."""

    path: str
    file: str
    mark: str
    digest: str


@dataclass(frozen=True, slots=True)
class Announced:
    """Bytes that somebody writes, or was writing, under the owner `id`."""

    workspace: str
    id: str


def content_of(workspace: str, blob: str) -> BlobKey:
    return BlobKey(workspace, blob, CONTENT)


def all_of(workspace: str, blob: str) -> BlobPrefix:
    """With the drafts that a dead process left."""
    return BlobPrefix(workspace, blob)


class FileRecords(Protocol):
    """Every call on files names the workspace; another workspace's id behaves like an unknown one (NotFound or
    None)."""

    async def announce_file(self, workspace: str, file_id: str, at: str) -> None:
        """Bytes of this owner are going to be written. Raises Conflict for an id that was used."""
        ...

    async def add_file(self, record: FileRecord, *, most_bytes: int, keep: KeptAnswer | None = None) -> None:
        """Whole bytes that were announced under the file's own id become a file, and `keep` is stored. Raises
        InvalidRequest (`storage_quota_exceeded`) when the workspace's counted files would hold more than `most_bytes`,
        Overloaded when the announcement was given up meanwhile."""
        ...

    async def add_output(self, record: FileRecord, output: OutputRecord, *, epoch: int, most_bytes: int) -> str | None:
        """As `add_file`, for its session's owner; what the path had become before is deleted, and the owner of its
        bytes returned, as by `delete_file`. Raises Fenced when the session has another epoch or is gone."""
        ...

    async def renew_output(self, key: SessionKey, path: str, mark: str) -> None:
        """The same bytes under another mark."""
        ...

    async def outputs(self, key: SessionKey) -> dict[str, OutputRecord]:
        """What became of a session's outputs, by path; deleted ones too, until the path changes."""
        ...

    async def file(self, workspace: str, file_id: str) -> FileRecord | None: ...

    async def files(self, workspace: str, page: Page, *, session: str | None = None) -> list[FileRecord]:
        """By (created_at, id); those of a session only, if one is named."""
        ...

    async def files_named(self, workspace: str, ids: Collection[str]) -> list[FileRecord]:
        """Those of these ids that there are, newest first."""
        ...

    async def delete_file(self, workspace: str, file_id: str) -> str | None:
        """Returns the owner of its bytes unless another file has the same ones. Raises NotFound."""
        ...

    async def expire_files(self, now: str, *, forget: str) -> int:
        """Files that have expired lose their bytes; the records of those that expired at or before `forget` go.
        Returns how many were changed."""
        ...

    async def abandon_files(self, before: str) -> list[Announced]:
        """What was announced before that time can't become a file any more. All that is in this state."""
        ...

    async def forget_announced(self, announced: Announced) -> bool:
        """Nothing becomes of its bytes. Returns whether it was announced still: it is not once its bytes belong to a
        record, and calls of one process take effect in the order in which they are made, cancelled ones too."""
        ...

    async def owns_bytes(self, workspace: str, blob: str) -> bool:
        """Whether a file or an announcement leads to this owner's bytes."""
        ...

    async def stored_bytes(self, workspace: str) -> int:
        """What the workspace's counted files hold together."""
        ...
