"""Rules of files: names, types, expiry, and how one is shown."""

from __future__ import annotations

import mimetypes
import re
from datetime import datetime, timedelta
from typing import Any

from outrider.clock import rfc3339
from outrider.errors import InvalidRequest
from outrider.ports.files import FileRecord

SHORTEST_LIFE, LONGEST_LIFE = 3600, 7_776_000  # seconds
LONGEST_NAME = 255
FORBIDDEN = re.compile(r'[<>:"|?*\\/\x00-\x1f]')
MIME_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}", re.ASCII)
UNKNOWN_TYPE = "application/octet-stream"
WHOLE = re.compile(r"[0-9]{1,18}", re.ASCII)


def mime_type_of(declared: str, filename: str) -> str:
    """What the part declares, else what the name says. Parameters such as a charset are left out. Raises
    InvalidRequest."""
    named = declared.partition(";")[0].strip().lower()
    if named and not MIME_TYPE.fullmatch(named):
        raise InvalidRequest("file: its Content-Type is not a MIME type")
    return named or mimetypes.guess_type(filename, strict=True)[0] or UNKNOWN_TYPE


def filename_of(given: str, mime_type: str) -> str:
    """The last part of the path that was given, or a name for a file without one. Raises InvalidRequest."""
    name = given.rpartition("/")[2]
    if not name:
        return f"unnamed{mimetypes.guess_extension(mime_type) or ''}"
    if len(name) > LONGEST_NAME:
        raise InvalidRequest(f"file: its name should have at most {LONGEST_NAME} characters")
    if FORBIDDEN.search(name):
        raise InvalidRequest('file: its name should hold no control characters and none of < > : " | ? * \\ /')
    return name


def expiry_of(given: str | None, now: str) -> str | None:
    """When a file uploaded now expires. Raises InvalidRequest."""
    if given is None:
        return None
    if not WHOLE.fullmatch(given):
        raise InvalidRequest("expires_in_seconds: Input should be a valid integer")
    seconds = int(given)
    if not SHORTEST_LIFE <= seconds <= LONGEST_LIFE:
        raise InvalidRequest(f"expires_in_seconds: Input should be between {SHORTEST_LIFE} and {LONGEST_LIFE}")
    return rfc3339(datetime.fromisoformat(now) + timedelta(seconds=seconds))


def file_object(record: FileRecord) -> dict[str, Any]:
    """Without a scope, one that was uploaded: only `client.beta.files` knows the key."""
    scope = {} if record.session is None else {"scope": {"type": "session", "id": record.session}}
    return {
        "id": record.id,
        "type": "file",
        "filename": record.filename,
        "mime_type": record.mime_type,
        "size_bytes": record.size,
        "created_at": record.created_at,
        "downloadable": record.downloadable,
        "expires_at": record.expires_at,
        **scope,
    }


def deleted_file(id: str) -> dict[str, str]:
    return {"id": id, "type": "file_deleted"}
