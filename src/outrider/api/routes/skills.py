"""Skills and their versions: uploaded loose or as one zip, listed, described, given out as a zip, deleted."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from outrider import faults
from outrider.api.announcing import check_room, erase_bytes, opened, withdraw
from outrider.api.answers import Answered, FileReply, Keep
from outrider.api.endpoint import Call, Reply, too_large
from outrider.api.lists import ORDER_OF_LISTS, mark_created, page_of
from outrider.api.lookup import skill_record, skill_version_named, skill_version_record
from outrider.api.multipart import Form
from outrider.errors import InvalidRequest
from outrider.ports.files import Announced, content_of
from outrider.ports.log import SessionKey
from outrider.ports.records import Page
from outrider.ports.skills import SKILL, VERSION, SkillRecord, SkillVersion
from outrider.resources.skills.bundle import MOST_BYTES, MOST_FILES, Bundle, pack, read_upload
from outrider.resources.skills.prebuilt import prebuilt
from outrider.resources.skills.records import (
    CUSTOM,
    PREBUILT,
    SOURCES,
    deleted_skill,
    deleted_version,
    display_name_of,
    first_of,
    skill_object,
    version_object,
    version_of,
)
from outrider.resources.skills.used import for_log, skills_of
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query

FORM_BYTES = 2 * 1024**2  # of a form beside its files, and of a zip beside what is in it
FILES = ("files[]", "files")
DISPLAY_NAME = "display_name"
ZIP = "application/zip"
_unpacking = asyncio.Semaphore(2)  # each may hold a whole skill several times over


@dataclass(slots=True)
class _Received:
    """What an upload's form held."""

    files: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    size: int = 0
    display_name: str | None = None


@dataclass(frozen=True, slots=True)
class _Ready:
    """An upload that is a skill, packed; `fingerprint` makes a retry the same request."""

    bundle: Bundle
    packed: bytes
    display_name: str | None
    fingerprint: bytes


async def create(call: Call) -> Answered:
    ready = await _ready(call, fields=(DISPLAY_NAME,))
    display_name = display_name_of(ready.display_name, ready.bundle)
    services, skill = call.services, call.services.ids.new(SKILL)
    most = services.settings.limits.file_storage_bytes

    async def add(version: SkillVersion, keep: Keep) -> bytes:
        record = first_of(version, display_name)
        body = msgspec.json.encode(skill_object(record))
        await services.skills.add_skill(record, version, most_bytes=most, keep=keep(body))
        return body

    return await _once(call, ready, skill, add)


async def create_version(call: Call) -> Answered:
    record = await skill_record(call)
    if record.id in prebuilt():
        raise _read_only(record.id)
    ready = await _ready(call, fields=())
    services, most = call.services, call.services.settings.limits.file_storage_bytes

    async def add(version: SkillVersion, keep: Keep) -> bytes:
        body = msgspec.json.encode(version_object(version))
        await services.skills.add_skill_version(version, most_bytes=most, keep=keep(body))
        return body

    return await _once(call, ready, record.id, add)


def _read_only(skill: str) -> InvalidRequest:
    return InvalidRequest(f"Skill {skill} comes with this server and can't be changed.")


async def _once(
    call: Call, ready: _Ready, skill: str, add: Callable[[SkillVersion, Keep], Awaitable[bytes]]
) -> Answered:
    """Its bytes are announced, written, and then belong to the version that `add` stores."""
    assert call.incoming is not None
    services = call.services

    async def answer(keep: Keep) -> Reply:
        announced = Announced(call.workspace, services.ids.new(VERSION))
        now = services.clock.now()
        await services.files.announce_file(announced.workspace, announced.id, now)
        added = False
        try:
            faults.point("skill.put.before")
            await services.blobs.put(content_of(announced.workspace, announced.id), _whole(ready.packed))
            faults.point("skill.put.after")
            version = version_of(
                ready.bundle, ready.packed, workspace=call.workspace, skill=skill, id=announced.id, now=now
            )
            faults.point("skill.add.before")
            body = await add(version, keep)
            added = True
            faults.point("skill.add.after")
            return Reply(encoded=body, kept=True)
        finally:
            if not added:
                await withdraw(call, announced)

    return await call.incoming.once(ready.fingerprint, answer)


async def _whole(packed: bytes) -> AsyncIterator[bytes]:
    yield packed


async def _ready(call: Call, *, fields: tuple[str, ...]) -> _Ready:
    received = await _receive(call, fields)
    async with _unpacking:
        bundle = await asyncio.to_thread(read_upload, received.files)
        packed = await asyncio.to_thread(pack, bundle)
    about = [bundle.name, received.display_name, hashlib.sha256(packed).hexdigest()]
    return _Ready(bundle, packed, received.display_name, msgspec.json.encode(about))


async def _receive(call: Call, fields: tuple[str, ...]) -> _Received:
    assert call.incoming is not None
    if call.incoming.declared > MOST_BYTES + FORM_BYTES:
        raise too_large(MOST_BYTES)
    check_room(call, "skills are")
    form = Form(call.incoming.pieces, call.incoming.content_type, most_parts=MOST_FILES + len(fields) + 1)
    received = _Received()
    async for part in form.parts():
        if part.name in FILES:
            received.files.append((part.filename or "", await _content(form, received)))
        elif part.name in fields and received.display_name is None:
            received.display_name = await form.text(part.name)
        else:
            raise InvalidRequest(f"{part.name[:100]}: Extra inputs are not permitted")
    if not received.files:
        raise InvalidRequest("files: Field required")
    return received


async def _content(form: Form, received: _Received) -> bytes:
    """One part's bytes. Raises RequestTooLarge as soon as all parts together are too large."""
    content = bytearray()
    async for piece in form.content():
        content += piece
        received.size += len(piece)
        if received.size > MOST_BYTES + FORM_BYTES:
            raise too_large(MOST_BYTES)
    return bytes(content)


async def get(call: Call) -> Reply:
    return Reply(_shown(await skill_record(call)))


def _shown(record: SkillRecord) -> dict[str, Any]:
    return skill_object(record, source=PREBUILT if record.id in prebuilt() else CUSTOM)


async def list_skills(call: Call) -> Reply:
    query = Query(call.query)
    limit, source = query.limit(default=20, most=1000), query.choice("source", SOURCES, default="")
    kind = f"skills:{source}"
    cursor = read_cursor(query.text("page"), kind, ORDER_OF_LISTS)
    page = page_of(limit, cursor, created={}, include_archived=True)
    own = [] if source == PREBUILT else await call.services.skills.skills(call.workspace, page)
    shared = [] if source == CUSTOM else _prebuilt_of(page)
    found = sorted([*own, *shared], key=_place, reverse=page.descending)[: page.limit]
    shown = cut(found, limit, kind=kind, order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([_shown(record) for record in shown.items], shown.next_page))


def _place(record: SkillRecord) -> tuple[str, str]:
    return record.created_at, record.id


def _prebuilt_of(page: Page) -> list[SkillRecord]:
    """Those that lie behind the page's beginning."""
    every = [one.record for one in prebuilt().values()]
    if page.after is None:
        return every
    return [one for one in every if (_place(one) < page.after) == page.descending and _place(one) != page.after]


async def delete(call: Call) -> Reply:
    skill = call.path["skill_id"]
    if skill in prebuilt():
        raise _read_only(skill)
    faults.point("skill.delete.before")
    versions = await call.services.skills.delete_skill(call.workspace, skill)
    faults.point("skill.delete.after")
    for version in versions:
        await erase_bytes(call, version)
    return Reply(deleted_skill(skill))


async def list_versions(call: Call) -> Reply:
    record = await skill_record(call)
    query = Query(call.query)
    limit, kind = query.limit(default=20, most=1000), f"skill_versions:{record.id}"
    cursor = read_cursor(query.text("page"), kind, ORDER_OF_LISTS)
    page = page_of(limit, cursor, created={}, include_archived=True)
    if record.id in prebuilt():
        found = [prebuilt()[record.id].version] if page.after is None else []
    else:
        found = await call.services.skills.skill_versions(call.workspace, record.id, page)
    shown = cut(found, limit, kind=kind, order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([version_object(one) for one in shown.items], shown.next_page))


async def get_version(call: Call) -> Reply:
    version = await skill_version_record(call, latest=True)
    return Reply(version_object(version) | await _directory(call, version))


async def _directory(call: Call, version: SkillVersion) -> dict[str, str]:
    """Workers put a skill where its name says. Of two with one name the second lies beside the first, as in sandboxes
    and as the agent was told, so to the token of a session it goes by its directory's name."""
    if call.key.session is None:
        return {}
    record = await call.services.records.session(SessionKey(call.workspace, call.key.session))
    entries = [] if record is None else skills_of(record)
    named = [await skill_version_named(call, one["skill_id"], one["version"]) for one in entries]
    found = {one["version"]: one["directory"] for one in for_log([one for one in named if one is not None])}
    return {"name": found.get(version.id, version.name)}


async def delete_version(call: Call) -> Reply:
    skill, version = call.path["skill_id"], call.path["skill_version_id"]
    if skill in prebuilt():
        raise _read_only(skill)
    await call.services.skills.delete_skill_version(call.workspace, skill, version, call.services.clock.now())
    await erase_bytes(call, version)
    return Reply(deleted_version(version))


async def content(call: Call) -> FileReply:
    version = await skill_version_record(call)
    if version.skill in prebuilt():
        pieces = _whole(prebuilt()[version.skill].packed)
    else:
        pieces = await opened(
            call,
            version.id,
            f"Skill version {version.id}",
            lambda: call.services.skills.skill_version(call.workspace, version.skill, version.id),
        )
    return FileReply(pieces, version.size, ZIP, f"{version.name}.zip")
