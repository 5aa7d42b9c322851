"""Files and their announcements in memory, for tests and trials."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from outrider.errors import Conflict, Fenced, InvalidRequest, NotFound, OutriderError, Overloaded
from outrider.ports.copies import FileChanges, FileCopy
from outrider.ports.files import Announced, FileRecord, OutputRecord
from outrider.ports.log import KeptAnswer, SessionKey
from outrider.ports.records import Page
from outrider.testing.memory_answers import MemoryAnswers
from outrider.testing.memory_sessions import KnowsSessions
from outrider.testing.paging import newest_first, one_stretch


class MemoryFiles(MemoryAnswers, KnowsSessions):
    """Implements `FileRecords`."""

    def __init__(self) -> None:
        super().__init__()
        self._outputs: dict[SessionKey, dict[str, OutputRecord]] = {}
        self._files: dict[tuple[str, str], FileRecord] = {}
        self._announced: dict[tuple[str, str], tuple[str, bool]] = {}  # when, and whether it was given up

    async def announce_file(self, workspace: str, file_id: str, at: str) -> None:
        if (workspace, file_id) in self._announced or (workspace, file_id) in self._files:
            raise Conflict(f"File {file_id} exists already.")
        self._announced[workspace, file_id] = (at, False)

    async def add_file(self, record: FileRecord, *, most_bytes: int, keep: KeptAnswer | None = None) -> None:
        place = (record.workspace, record.id)
        self._check_announced(place)
        if record.counted and await self.stored_bytes(record.workspace) + record.size > most_bytes:
            raise InvalidRequest("The workspace's files would hold too much.", error_code="storage_quota_exceeded")
        del self._announced[place]
        self._files[place] = record
        if keep is not None:
            self._keep(record.workspace, keep)

    def _check_announced(self, place: tuple[str, str]) -> None:
        if self._announced.get(place, ("", True))[1]:
            raise Overloaded("The upload took too long and was given up. Nothing was stored.")

    async def add_output(self, record: FileRecord, output: OutputRecord, *, epoch: int, most_bytes: int) -> str | None:
        key = SessionKey(record.workspace, record.session or "")
        if self._epoch(key) != epoch:
            raise Fenced(f"Session {record.session} has another owner, or is gone.")
        before = self._outputs.get(key, {}).get(output.path)
        kept = None if before is None else self._files.pop((record.workspace, before.file), None)
        try:
            await self.add_file(record, most_bytes=most_bytes)
        except OutriderError:
            if kept is not None:
                self._files[record.workspace, kept.id] = kept
            raise
        self._outputs.setdefault(key, {})[output.path] = output
        return None if kept is None or await self.owns_bytes(record.workspace, kept.blob or "") else kept.blob

    async def renew_output(self, key: SessionKey, path: str, mark: str) -> None:
        kept = self._outputs.get(key, {})
        if path in kept:
            kept[path] = replace(kept[path], mark=mark)

    async def outputs(self, key: SessionKey) -> dict[str, OutputRecord]:
        return dict(self._outputs.get(key, {}))

    def _change_files(self, key: SessionKey, changes: FileChanges) -> None:
        made = {(key.workspace, copy.id): self._copied(key, copy) for copy in changes.copies}
        for record in changes.added:
            self._check_announced((record.workspace, record.id))
        self._files |= made
        for record in changes.added:
            del self._announced[record.workspace, record.id]
            self._files[record.workspace, record.id] = record
        for file_id in changes.dropped:
            self._files.pop((key.workspace, file_id), None)

    def _copied(self, key: SessionKey, copy: FileCopy) -> FileRecord:
        source = self._files.get((key.workspace, copy.source))
        if source is None:
            raise NotFound(f"File {copy.source} not found.")
        if not source.lasts(copy.created_at):
            raise NotFound(f"File {copy.source} has expired.", error_code="file_expired")
        return replace(
            source, id=copy.id, created_at=copy.created_at, expires_at=None, session=key.session, counted=False
        )

    def _erase_files(self, key: SessionKey) -> None:
        self._outputs.pop(key, None)
        for place, record in list(self._files.items()):
            if (record.workspace, record.session) == (key.workspace, key.session):
                del self._files[place]

    async def file(self, workspace: str, file_id: str) -> FileRecord | None:
        return self._files.get((workspace, file_id))

    async def files(self, workspace: str, page: Page, *, session: str | None = None) -> list[FileRecord]:
        wanted = [r for r in self._of(workspace) if session in (None, r.session)]
        return one_stretch(wanted, page)

    def _of(self, workspace: str) -> list[FileRecord]:
        return [record for record in self._files.values() if record.workspace == workspace]

    async def files_named(self, workspace: str, ids: Collection[str]) -> list[FileRecord]:
        return newest_first(record for record in self._of(workspace) if record.id in ids)

    async def delete_file(self, workspace: str, file_id: str) -> str | None:
        gone = self._files.pop((workspace, file_id), None)
        if gone is None:
            raise NotFound(f"File {file_id} not found.")
        self._erase_about(workspace, file_id)
        return None if gone.blob in {record.blob for record in self._of(workspace)} else gone.blob

    async def expire_files(self, now: str, *, forget: str) -> int:
        changed = 0
        for place, record in list(self._files.items()):
            at = record.expires_at
            if at is not None and at <= forget:
                del self._files[place]
                changed += 1
            elif at is not None and at <= now and record.blob is not None:
                self._files[place] = replace(record, blob=None, counted=False)
                changed += 1
        return changed

    async def abandon_files(self, before: str) -> list[Announced]:
        for place, (at, _) in self._announced.items():
            if at < before:
                self._announced[place] = (at, True)
        return [Announced(*place) for place, (_, abandoned) in self._announced.items() if abandoned]

    async def forget_announced(self, announced: Announced) -> bool:
        return self._announced.pop((announced.workspace, announced.id), None) is not None

    async def owns_bytes(self, workspace: str, blob: str) -> bool:
        return (workspace, blob) in self._announced or blob in {record.blob for record in self._of(workspace)}

    async def stored_bytes(self, workspace: str) -> int:
        return sum(record.size for record in self._of(workspace) if record.counted)
