"""Rules of memory stores: what is shown, what a path may be, and which items stand for whole directories."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from outrider.errors import InvalidRequest
from outrider.ports.memory import MemoryRecord, MemoryStoreRecord, MemoryVersion
from outrider.resources import metadata

MOST_CONTENT = 102_400
MOST_PATH = 1_024
MOST_SEGMENTS = 20
WORKERS_MARK = "/.anthropic-memory-store"
_HASH = re.compile(r"[0-9a-f]{64}")
_NEVER = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, format, lone surrogates, line and paragraph separators

_decode = msgspec.json.Decoder(dict[str, Any]).decode
Object = dict[str, Any]


def store_object(record: MemoryStoreRecord) -> Object:
    return {
        "id": record.id,
        "type": "memory_store",
        **_decode(record.body),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "archived_at": record.archived_at,
    }


def new_store(request: Mapping[str, Any]) -> Object:
    """What is stored of a request for a store. Raises InvalidRequest."""
    return {
        "name": _name(request["name"]),
        "description": request.get("description") or "",
        "metadata": metadata.checked(request.get("metadata") or {}),
    }


def updated_store(record: MemoryStoreRecord, request: Mapping[str, Any]) -> Object | None:
    """What is stored after an update; None when it changes nothing. Raises InvalidRequest."""
    if record.archived_at is not None:
        raise InvalidRequest(f"Memory store {record.id} is archived and can't be updated.")
    current = _decode(record.body)
    changed = current | {"metadata": metadata.merged(current["metadata"], request.get("metadata"))}
    if request.get("name") is not None:
        changed["name"] = _name(request["name"])
    if request.get("description") is not None:
        changed["description"] = request["description"]
    return None if changed == current else changed


def _name(name: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise InvalidRequest("name: Input should hold no control characters")
    return name


def memory_object(record: MemoryRecord, content: bytes | None) -> Object:
    """`content` is None in the basic view."""
    return {
        "id": record.id,
        "type": "memory",
        "memory_store_id": record.store,
        "memory_version_id": record.version,
        "path": record.path,
        "content": None if content is None else content.decode(),
        "content_sha256": record.sha256,
        "content_size_bytes": record.size,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def version_object(record: MemoryVersion, *, full: bool) -> Object:
    return {
        "id": record.id,
        "type": "memory_version",
        "memory_store_id": record.store,
        "memory_id": record.memory,
        "operation": record.operation,
        "path": record.path,
        "content": bytes(record.content).decode() if full and record.content is not None else None,
        "content_sha256": record.sha256,
        "content_size_bytes": record.size,
        "created_at": record.created_at,
        "created_by": _actor(record.actor_type, record.actor),
        "redacted_at": record.redacted_at,
        "redacted_by": _actor(record.redactor_type, record.redactor),
    }


def _actor(kind: str | None, actor: str | None) -> Object | None:
    """`api_actor` is shown with `api_key_id`, and so on."""
    names = {"api_actor": "api_key_id", "session_actor": "session_id"}
    return None if kind is None else {"type": kind, names[kind]: actor}


def checked_content(text: str) -> bytes:
    """Raises InvalidRequest."""
    content = encoded("content", text)
    if len(content) > MOST_CONTENT:
        raise InvalidRequest(f"content: Input should have at most {MOST_CONTENT} bytes")
    return content


def checked_path(path: str) -> str:
    """Raises InvalidRequest."""
    if len(encoded("path", path)) > MOST_PATH:
        raise InvalidRequest(f"path: Input should have at most {MOST_PATH} bytes")
    if not path.startswith("/"):
        raise InvalidRequest("path: Input should begin with a slash")
    if unicodedata.normalize("NFC", path) != path:
        raise InvalidRequest("path: Input should be in Unicode normal form C")
    if any(unicodedata.category(character) in _NEVER for character in path):
        raise InvalidRequest("path: Input should hold no control, format or line-separating characters")
    segments = path[1:].split("/")
    if len(segments) > MOST_SEGMENTS:
        raise InvalidRequest(f"path: Input should have at most {MOST_SEGMENTS} segments")
    if any(segment in ("", ".", "..") for segment in segments):
        raise InvalidRequest("path: Input should have no segment that is empty, . or ..")
    if path == WORKERS_MARK:
        raise InvalidRequest(f"path: {WORKERS_MARK} is what workers mark their copy of a store with")
    return path


def expected_hash(request: Mapping[str, Any]) -> str | None:
    """What an update's precondition says of the content that it replaces. Raises InvalidRequest."""
    precondition: Mapping[str, Any] | None = request.get("precondition")
    if precondition is None:
        return None
    if "content_sha256" not in precondition:
        raise InvalidRequest("precondition.content_sha256: Field required")
    check_hash("precondition.content_sha256", precondition["content_sha256"])
    return precondition["content_sha256"]


def check_hash(field: str, text: str) -> None:
    if not _HASH.fullmatch(text):
        raise InvalidRequest(f"{field}: Input should be 64 lower-case hexadecimal digits")


def encoded(field: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{field}: Input should be valid Unicode text") from None


def checked_prefix(prefix: str) -> str:
    """Of a list; empty means all. Raises InvalidRequest."""
    encoded("path_prefix", prefix)
    if prefix and not (prefix.startswith("/") and prefix.endswith("/")):
        raise InvalidRequest("path_prefix: Input should begin and end with a slash")
    return prefix


def rolled_up(records: Iterable[MemoryRecord], prefix: str) -> list[MemoryRecord | str]:
    """Direct children of a directory, in order: memories, and paths of directories that hold deeper ones."""
    root, found = prefix or "/", list[MemoryRecord | str]()
    for record in records:
        child, slash, _ = record.path[len(root) :].partition("/")
        if not slash:
            found.append(record)
        elif not found or found[-1] != f"{root}{child}/":
            found.append(f"{root}{child}/")
    return found


def place(item: MemoryRecord | str) -> str:
    """Where an item stands in the list: its path."""
    return item if isinstance(item, str) else item.path


def prefix_object(path: str) -> Object:
    return {"type": "memory_prefix", "path": path}
