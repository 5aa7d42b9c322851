"""Transcripts of sessions as files of another session, made before that session is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from outrider import faults
from outrider.api.announcing import check_room, withdraw
from outrider.api.endpoint import Call
from outrider.errors import OutriderError
from outrider.ports.files import FILE, Announced, FileRecord, content_of
from outrider.ports.log import HistoryQuery, SessionKey
from outrider.ports.records import SessionRecord
from outrider.resources.given import GIVEN, for_log
from outrider.resources.mounts import SECRET, Mounted
from outrider.session.events import decode
from outrider.session.transcripts import KINDS, Transcript, event_text

PAGE = 500
TYPE = "text/plain"


async def transcripts(call: Call, sessions: Sequence[str], *, for_session: str, folder: str) -> Mounted:
    """What the session that is about to be made gets of these: a file each. Those that are gone have none. If it comes
    to nothing, `take_back`."""
    mounted = Mounted()
    try:
        for session in sessions:
            record = await call.services.records.session(SessionKey(call.workspace, session))
            if record is not None:
                await _add(call, mounted, record, for_session, folder)
    except OutriderError:
        await take_back(call, mounted)
        raise
    return mounted


async def take_back(call: Call, mounted: Mounted) -> None:
    """Erase the bytes of files that did not come to be."""
    for file in mounted.added:
        await withdraw(call, Announced(call.workspace, file.id))


async def _add(call: Call, mounted: Mounted, of: SessionRecord, for_session: str, folder: str) -> None:
    services, now = call.services, call.services.clock.now()
    content = (await _text(call, of)).encode()
    id, name = services.ids.new(FILE), f"{of.id}.txt"
    await services.files.announce_file(call.workspace, id, now)
    mounted.added.append(
        FileRecord(call.workspace, id, now, None, for_session, name, TYPE, len(content), False, False, id)
    )
    check_room(call, "dreams are")
    faults.point("dream.put.before")
    await services.blobs.put(content_of(call.workspace, id), content)
    faults.point("dream.put.after")
    about = {"id": services.ids.new("sesrsc"), "type": GIVEN, "file_id": id, "mount_path": f"{folder}/{name}"}
    resource: dict[str, Any] = {**about, "created_at": now, "updated_at": now, SECRET: 0}
    mounted.resources.append(resource)
    mounted.logged.append(for_log(resource, mounted.added[-1]))


async def _text(call: Call, of: SessionRecord) -> str:
    key, after = SessionKey(of.workspace, of.id), None
    transcript = Transcript(call.services.settings.limits.dream_transcript_bytes)
    transcript.add(_heading(of))
    while found := await call.services.log.history(key, HistoryQuery(PAGE, after=after, types=KINDS)):
        for entry in found:
            transcript.add(event_text(decode(entry.row.body) | {"processed_at": entry.processed_at}))
        after = found[-1].position
    return transcript.text()


def _heading(of: SessionRecord) -> str:
    agent, details = msgspec.json.decode(of.agent), msgspec.json.decode(of.details)
    title = details.get("title") or "without a title"
    return f"# Session {of.id}: {title}\nAgent {agent['name']}; begun {of.created_at}, last changed {of.updated_at}\n\n"
