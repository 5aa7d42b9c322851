"""Rules of the files that a session is given: where they lie, how many there may be, and what is said of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from outrider.errors import InvalidRequest, NotFound
from outrider.ids import IdSource
from outrider.ports.copies import FileCopy
from outrider.ports.files import FILE, FileRecord
from outrider.ports.records import SessionRecord

GIVEN = "file"
UPLOADS = "/mnt/session/uploads"
MOST_FILES = 500
DEEPEST = 32
LONGEST_NAME = 255  # bytes, as file systems have it
_NOT_IN_PATH = re.compile(r"[\x00-\x1f\x7f]")

Object = dict[str, Any]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Object).decode


def named_files(given: Iterable[Mapping[str, Any]]) -> list[str]:
    """The ids of the files that these resources want copies of."""
    return [one["file_id"] for one in given if one["type"] == GIVEN]


def file_resource(
    given: Mapping[str, Any], sources: Mapping[str, FileRecord], ids: IdSource, now: str, field: str
) -> tuple[Object, FileCopy]:
    """The resource without its id, and the copy that it needs. Raises InvalidRequest, NotFound."""
    source = given["file_id"]
    if source not in sources:
        raise NotFound(f"{field}file_id: File {source} not found.")
    path = given.get("mount_path")
    copy = FileCopy(source, ids.new(FILE), now)
    shown = {
        "file_id": copy.id,
        "mount_path": f"{UPLOADS}/{source}" if path is None else mount_path(path, f"{field}mount_path"),
        "created_at": now,
        "updated_at": now,
    }
    return shown, copy


def mount_path(path: str, field: str) -> str:
    """Beneath the uploads folder, wherever the client wants it. Raises InvalidRequest."""
    parts = path.removeprefix(f"{UPLOADS}/").removeprefix("/").split("/")
    absolute = path.startswith("/") and path != UPLOADS and not _NOT_IN_PATH.search(path)
    if not absolute or len(parts) > DEEPEST or not all(_is_name(part) for part in parts):
        raise InvalidRequest(f"{field}: Input should be the absolute path of a file, such as /data.csv")
    return "/".join((UPLOADS, *parts))


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and len(part.encode(errors="surrogatepass")) <= LONGEST_NAME


def check_files(resources: Sequence[Mapping[str, Any]]) -> None:
    if sum(one["type"] == GIVEN for one in resources) > MOST_FILES:
        raise InvalidRequest(f"resources: Input should hold at most {MOST_FILES} files")


def for_log(resource: Mapping[str, Any], source: FileRecord) -> Object:
    """What the session's log says of it: enough to find the bytes, and to tell the model."""
    about = {key: resource[key] for key in ("id", "type", "file_id", "mount_path")}
    return {**about, "filename": source.filename, "mime_type": source.mime_type, "size": source.size}


def with_file(record: SessionRecord, resource: Object, now: str) -> SessionRecord:
    """Raises InvalidRequest."""
    if record.status == "terminated" or record.archived_at is not None:
        raise InvalidRequest(f"Session {record.id} is terminated or archived and can't be changed.")
    details = _decode(record.details)
    details["resources"] = [*details.get("resources", []), resource]
    check_files(details["resources"])
    return replace(record, details=_encode(details), updated_at=now)


def without_file(record: SessionRecord, resource: Mapping[str, Any], now: str) -> SessionRecord:
    """Whatever the session's state: what its user gave can always be taken back. Raises InvalidRequest."""
    if resource["type"] != GIVEN:
        what = f"Resource {resource['id']} is a {resource['type']}"
        raise InvalidRequest(f"{what}; only files can be removed from a session.")
    details = _decode(record.details)
    details["resources"] = [one for one in details["resources"] if one["id"] != resource["id"]]
    return replace(record, details=_encode(details), updated_at=now)
