"""Files and their announcements, on every store. No byte of a file comes by here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any

from outrider.errors import Conflict, Fenced, InvalidRequest, NotFound, Overloaded
from outrider.ports.copies import FileChanges, FileCopy
from outrider.ports.files import Announced, FileRecord, OutputRecord
from outrider.ports.log import KeptAnswer, SessionKey
from outrider.ports.records import Page
from outrider.store import shapes
from outrider.store.answers import erase_about, keep_answer
from outrider.store.steps import Recorded, Steps, first, rows, run
from outrider.store.steps import erase as scrub

NO_STORAGE = "The workspace's files would hold more than its storage allows; delete some first. Nothing was stored."


class StoredFiles(Recorded):
    """Implements `FileRecords`."""

    async def announce_file(self, workspace: str, file_id: str, at: str) -> None:
        await self._walks.walk(partial(_announce, names={"workspace": workspace, "id": file_id, "at": at}))

    async def add_file(self, record: FileRecord, *, most_bytes: int, keep: KeptAnswer | None = None) -> None:
        await self._walks.walk(partial(_add, record=record, most_bytes=most_bytes, keep=keep))

    async def add_output(self, record: FileRecord, output: OutputRecord, *, epoch: int, most_bytes: int) -> str | None:
        return await self._walks.walk(
            partial(_add_output, record=record, output=output, epoch=epoch, most_bytes=most_bytes)
        )

    async def renew_output(self, key: SessionKey, path: str, mark: str) -> None:
        await self._walks.walk(partial(run, "renew_output", shapes.named(key, path=path, mark=mark)))

    async def outputs(self, key: SessionKey) -> dict[str, OutputRecord]:
        return await self._reads.one(
            "outputs", shapes.named(key), lambda found: {row[0]: OutputRecord(*row) for row in found}
        )

    async def file(self, workspace: str, file_id: str) -> FileRecord | None:
        return next(iter(await self._reads.one("file", {"workspace": workspace, "id": file_id}, _files)), None)

    async def files(self, workspace: str, page: Page, *, session: str | None = None) -> list[FileRecord]:
        name = shapes.ordered("files" if session is None else "files_of_session", descending=page.descending)
        return await self._reads.fetch(name, {**shapes.page_values(workspace, page), "session": session}, _files)

    async def files_named(self, workspace: str, ids: Collection[str]) -> list[FileRecord]:
        found = [await self.file(workspace, one) for one in set(ids)]
        there = [record for record in found if record is not None]
        return sorted(there, key=lambda record: (record.created_at, record.id), reverse=True)

    async def delete_file(self, workspace: str, file_id: str) -> str | None:
        return await self._walks.walk(partial(_delete, names={"workspace": workspace, "id": file_id}))

    async def expire_files(self, now: str, *, forget: str) -> int:
        return await self._walks.walk(partial(_expire, now=now, forget=forget))

    async def abandon_files(self, before: str) -> list[Announced]:
        await self._walks.walk(partial(run, "abandon_announced", {"before": before}))
        return await self._reads.fetch(
            "abandoned_files", {}, lambda found: [Announced(row[0], row[1]) for row in found]
        )

    async def forget_announced(self, announced: Announced) -> bool:
        names = {"workspace": announced.workspace, "id": announced.id}
        return await self._walks.walk(partial(run, "forget_announced", names)) == 1

    async def owns_bytes(self, workspace: str, blob: str) -> bool:
        return await self._reads.one("owns_bytes", {"workspace": workspace, "blob": blob}, bool)

    async def stored_bytes(self, workspace: str) -> int:
        return await self._reads.one(
            "stored_bytes", {"workspace": workspace}, lambda found: found[0][0] if found else 0
        )


def _files(found: list[Any]) -> list[FileRecord]:
    return [_file(*row) for row in found]


def _file(*values: Any) -> FileRecord:
    """SQLite has no booleans."""
    *named, downloadable, counted, blob = values
    return FileRecord(*named, downloadable=bool(downloadable), counted=bool(counted), blob=blob)


def _announce(names: dict[str, str]) -> Steps[None]:
    if (yield from first("file_known", names)) is not None:
        raise Conflict(f"File {names['id']} exists already.")
    yield from run("announce_file", names)


def _add(record: FileRecord, most_bytes: int, keep: KeptAnswer | None) -> Steps[None]:
    values = shapes.fields(record)
    yield from take_announced(values, most_bytes, counted=record.counted)
    yield from run("insert_file", values)
    yield from keep_answer(record.workspace, keep)


def take_announced(values: dict[str, Any], most_bytes: int, *, counted: bool = True) -> Steps[None]:
    """The bytes that were announced under `id`, `size` of them, belong to a record from now on. Raises Overloaded,
    InvalidRequest."""
    names = {key: values[key] for key in ("workspace", "id", "size")}
    if (yield from run("take_announced", names)) != 1:
        raise Overloaded("The upload took too long and was given up. Nothing was stored.")
    yield from run("open_storage", names)
    if counted and (yield from run("grow_storage", {**names, "most_bytes": most_bytes})) != 1:
        raise InvalidRequest(NO_STORAGE, error_code="storage_quota_exceeded")


def _add_output(record: FileRecord, output: OutputRecord, epoch: int, most_bytes: int) -> Steps[str | None]:
    names = {"workspace": record.workspace, "session": record.session, "epoch": epoch}
    if (yield from run("hold_epoch", names)) != 1:
        raise Fenced(f"Session {record.session} has another owner, or is gone.")
    before = yield from first("output", {**names, "path": output.path})
    unused = None if before is None else (yield from _gone(record.workspace, before[1]))
    yield from _add(record, most_bytes, None)
    yield from run("put_output", {**names, **shapes.fields(output)})
    return unused


def _gone(workspace: str, file_id: str) -> Steps[str | None]:
    names = {"workspace": workspace, "id": file_id}
    if (yield from run("hold_file", names)) != 1:
        return None  # its user has deleted it
    (record,) = _files((yield from rows("file", names)))
    return (yield from erase(record))


def change_files(key: SessionKey, changes: FileChanges) -> Steps[None]:
    """Part of the transaction that makes or changes the session."""
    for copy in changes.copies:
        yield from _copy(key, copy)
    for record in changes.added:
        yield from _add(record, 0, None)
    for file_id in changes.dropped:
        yield from _gone(key.workspace, file_id)


def _copy(key: SessionKey, copy: FileCopy) -> Steps[None]:
    """The bytes are shared: held, their file can't be erased before there are two."""
    names = {"workspace": key.workspace, "id": copy.source}
    if (yield from run("hold_file", names)) != 1:
        raise NotFound(f"File {copy.source} not found.")
    (source,) = _files((yield from rows("file", names)))
    if not source.lasts(copy.created_at):
        raise NotFound(f"File {copy.source} has expired.", error_code="file_expired")
    own = replace(
        source, id=copy.id, created_at=copy.created_at, expires_at=None, session=key.session, counted=False
    )  # fmt: skip
    yield from run("insert_file", shapes.fields(own))


def erase_with_session(key: SessionKey) -> Steps[None]:
    """All files whose scope it is; their bytes are nobody's then."""
    for record in _files((yield from rows("all_files_of_session", shapes.named(key)))):
        if (yield from run("hold_file", shapes.fields(record))) == 1:
            yield from erase(record)
    yield from run("erase_outputs", shapes.named(key))


def _delete(names: dict[str, str]) -> Steps[str | None]:
    if (yield from run("hold_file", names)) != 1:
        raise NotFound(f"File {names['id']} not found.")
    (record,) = _files((yield from rows("file", names)))
    return (yield from erase(record))


def erase(record: FileRecord) -> Steps[str | None]:
    """The owner of its bytes unless another file has the same ones. The record must be held."""
    values = shapes.fields(record)
    yield from scrub("delete_file", values)
    yield from erase_about(record.workspace, record.id)
    if record.counted:
        yield from run("shrink_storage", values)
    if record.blob is None or (yield from first("blob_in_use", values)) is not None:
        return None
    return record.blob


def _expire(now: str, forget: str) -> Steps[int]:
    found = _files((yield from rows("expired_files", {"now": now, "forget": forget})))
    for record in found:
        if (yield from run("hold_file", shapes.fields(record))) != 1:
            continue  # deleted meanwhile
        if (yield from run("expire_file", shapes.fields(record))) == 1 and record.counted:
            yield from run("shrink_storage", shapes.fields(record))
        if record.expires_at is not None and record.expires_at <= forget:
            yield from scrub("delete_file", shapes.fields(record))
    return len(found)
