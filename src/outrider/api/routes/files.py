"""Files: uploaded as a stream, listed, described, given out, deleted. Bytes go by in pieces, never held whole."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from outrider import faults
from outrider.api.announcing import check_room, erase_bytes, opened, withdraw
from outrider.api.answers import FileReply, Keep, Reply
from outrider.api.endpoint import Call, too_large
from outrider.api.lists import ORDER_OF_LISTS, mark_created, page_of
from outrider.api.multipart import Form, Part
from outrider.api.routes import resources
from outrider.errors import InvalidRequest, NotFound
from outrider.ports.files import FILE, Announced, FileRecord, content_of
from outrider.ports.log import SessionKey
from outrider.resources.files import deleted_file, expiry_of, file_object, filename_of, mime_type_of
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query

FORM_BYTES = 1024 * 1024  # of a form beside its file
PIECE = 1024 * 1024  # what is handed to the blob store at once
PAGE = "page_"
MOST_IDS = 100

log = logging.getLogger("outrider.api")


@dataclass(slots=True)
class _Received:
    """What an upload's form held."""

    filename: str = ""
    mime_type: str = ""
    size: int = -1
    sha256: bytes = b""
    expires: str | None = None


async def upload(call: Call) -> Reply:
    assert call.incoming is not None
    services, most = call.services, call.services.settings.limits.file_bytes
    if call.incoming.declared > most + FORM_BYTES:
        raise too_large(most)
    check_room(call, "files are")
    form = Form(call.incoming.pieces, call.incoming.content_type)
    announced = Announced(call.workspace, services.ids.new(FILE))
    await services.files.announce_file(announced.workspace, announced.id, services.clock.now())
    added = False
    try:
        received = await _receive(call, form, announced)
        record = _record(call, announced, received)

        async def add(keep: Keep) -> Reply:
            nonlocal added
            body = msgspec.json.encode(file_object(record))
            faults.point("file.add.before")
            await services.files.add_file(
                record, most_bytes=services.settings.limits.file_storage_bytes, keep=keep(body)
            )
            added = True
            faults.point("file.add.after")
            return Reply(encoded=body, kept=True)

        reply = await call.incoming.once(_fingerprint(received), add)
        assert isinstance(reply, Reply)
        return reply
    finally:
        if not added:
            await withdraw(call, announced)


async def _receive(call: Call, form: Form, announced: Announced) -> _Received:
    received = _Received()
    async for part in form.parts():
        if part.name == "file" and received.size < 0:
            await _keep(call, form, part, received, announced)
        elif part.name == "expires_in_seconds" and received.expires is None:
            received.expires = await form.text(part.name)
        else:
            raise InvalidRequest(f"{part.name[:100]}: Extra inputs are not permitted")
    if received.size < 0:
        raise InvalidRequest("file: Field required")
    return received


async def _keep(call: Call, form: Form, part: Part, received: _Received, announced: Announced) -> None:
    received.mime_type = mime_type_of(part.content_type, part.filename or "")
    received.filename = filename_of(part.filename or "", received.mime_type)
    received.size = 0
    faults.point("file.put.before")
    content = _measured(call, form.content(), received)
    await call.services.blobs.put(content_of(announced.workspace, announced.id), content)
    faults.point("file.put.after")


async def _measured(call: Call, content: AsyncIterator[bytes], received: _Received) -> AsyncIterator[bytes]:
    """In pieces that are worth a write each. Raises RequestTooLarge, StorageFull."""
    digest, waiting, most = hashlib.sha256(), bytearray(), call.services.settings.limits.file_bytes
    async for piece in content:
        digest.update(piece)
        received.size += len(piece)
        if received.size > most:
            raise too_large(most)
        waiting += piece
        if len(waiting) >= PIECE:
            check_room(call, "files are")
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)
    received.sha256 = digest.digest()


def _record(call: Call, announced: Announced, received: _Received) -> FileRecord:
    now = call.services.clock.now()
    return FileRecord(
        workspace=announced.workspace,
        id=announced.id,
        created_at=now,
        expires_at=expiry_of(received.expires, now),
        session=None,
        filename=received.filename,
        mime_type=received.mime_type,
        size=received.size,
        downloadable=call.services.settings.downloadable_uploads,
        counted=True,
        blob=announced.id,
    )


def _fingerprint(received: _Received) -> bytes:
    """What makes a retry the same request: boundaries differ between attempts."""
    return msgspec.json.encode([received.filename, received.mime_type, received.expires, received.sha256.hex()])


async def list_files(call: Call) -> Reply:
    query = Query(call.query)
    ids = query.strings("ids", most=10 * MOST_IDS)
    if ids:
        return await _named(call, query, ids)
    limit, given = query.limit(default=20, most=1000), query.text("page")
    session = query.text("scope_id")
    cursor = read_cursor(_unmarked(given), f"files:{session or ''}", ORDER_OF_LISTS)
    page = page_of(limit, cursor, created={}, include_archived=True)
    found = await call.services.files.files(call.workspace, page, session=session)
    kind = f"files:{session or ''}"
    shown = cut(found, limit, kind=kind, order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    following = None if shown.next_page is None else PAGE + shown.next_page
    return Reply(encoded=page_bytes([file_object(record) for record in shown.items], following))


def _unmarked(cursor: str | None) -> str | None:
    if cursor and not cursor.startswith(PAGE):
        raise InvalidRequest("page: Input should be a cursor from an earlier page of this list")
    return cursor.removeprefix(PAGE) if cursor else None


async def _named(call: Call, query: Query, ids: tuple[str, ...]) -> Reply:
    for other in ("page", "limit"):
        if query.text(other) is not None:
            raise InvalidRequest(f"ids: can't be given together with {other}")
    wanted = tuple(dict.fromkeys(ids))
    if len(wanted) > MOST_IDS:
        raise InvalidRequest(f"ids: List should have at most {MOST_IDS} items")
    session = query.text("scope_id")
    found = await call.services.files.files_named(call.workspace, wanted)
    shown = [file_object(record) for record in found if session in (None, record.session)]
    return Reply(encoded=page_bytes(shown, None))


async def get(call: Call) -> Reply:
    return Reply(file_object(await _file(call)))


async def _file(call: Call) -> FileRecord:
    file_id = call.path["file_id"]
    record = await call.services.files.file(call.workspace, file_id)
    if record is None:
        raise NotFound(f"File {file_id} not found.")
    return record


async def content(call: Call) -> FileReply:
    record = await _file(call)
    if record.blob is None or not record.lasts(call.services.clock.now()):
        raise NotFound(f"File {record.id} has expired.", error_code="file_expired")
    if not record.downloadable:
        raise InvalidRequest(f"File {record.id} is not downloadable.", error_code="file_not_downloadable")
    pieces = await opened(
        call, record.blob, f"File {record.id}", lambda: call.services.files.file(call.workspace, record.id)
    )
    return FileReply(pieces, record.size, record.mime_type, record.filename)


async def delete(call: Call) -> Reply:
    services, file_id = call.services, call.path["file_id"]
    record = await _file(call)
    if record.session is not None and not record.counted:
        return await _taken_away(call, record.session, file_id)
    faults.point("file.delete.before")
    blob = await services.files.delete_file(call.workspace, file_id)
    faults.point("file.delete.after")
    if blob is not None:
        await erase_bytes(call, blob)
    return Reply(deleted_file(file_id))


async def _taken_away(call: Call, session: str, file_id: str) -> Reply:
    """A session's copy goes together with the resource that it is."""
    await resources.drop(call, SessionKey(call.workspace, session), lambda one: one.get("file_id") == file_id)
    return Reply(deleted_file(file_id))
