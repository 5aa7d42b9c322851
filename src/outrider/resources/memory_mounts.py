"""Rules of memory stores as resources of a session: what may be attached, where it is mounted, what is shown of it.

They have no id, and are fixed when the session is made: name and description are those of that moment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from outrider.errors import InvalidRequest
from outrider.ports.memory import MemoryStoreRecord
from outrider.ports.records import SessionRecord

TYPE = "memory_store"
ROOT = "/mnt/memory"
MOST_STORES = 8
LONGEST_NAME = 200
LONGEST_SEGMENT = 255  # bytes in a file's name
DETAIL = "memory_stores"
"""Where they lie in a session's details, and in the first row of its log."""
_NOT_IN_NAME = re.compile(r"[^a-z0-9]+")

Object = dict[str, Any]
_decode = msgspec.json.Decoder(Object).decode


def asked_for(given: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The memory stores among a request's resources. Raises InvalidRequest."""
    stores = [one for one in given if one["type"] == TYPE]
    if len(stores) > MOST_STORES:
        raise InvalidRequest(f"resources: Input should hold at most {MOST_STORES} memory stores")
    seen: set[str] = set()
    for index, one in enumerate(given):
        if one["type"] == TYPE and one["memory_store_id"] in seen:
            raise InvalidRequest(f"resources.{index}.memory_store_id: {one['memory_store_id']} is mounted twice")
        seen |= {one["memory_store_id"]} if one["type"] == TYPE else set()
    return stores


def mounted(given: Sequence[Mapping[str, Any]], records: Sequence[MemoryStoreRecord]) -> list[Object]:
    """The resources of a new session, in the order in which they were asked for."""
    by_id = {record.id: _decode(record.body) for record in records}
    taken: set[str] = set()
    return [_resource(one, by_id[one["memory_store_id"]], taken) for one in given]


def _resource(given: Mapping[str, Any], store: Object, taken: set[str]) -> Object:
    return {
        "type": TYPE,
        "memory_store_id": given["memory_store_id"],
        "access": given.get("access") or "read_write",
        "instructions": given.get("instructions"),
        "name": store["name"],
        "description": store["description"],
        "mount_path": f"{ROOT}/{_directory(store['name'], taken)}",
    }


def _directory(name: str, taken: set[str]) -> str:
    """Stores of one session with the same name get numbers behind it."""
    slug = _NOT_IN_NAME.sub("-", name.lower())[:LONGEST_NAME]
    found, number = slug, 1
    while found in taken:
        number += 1
        found = f"{slug}-{number}"
    taken.add(found)
    return found


def attached(record: SessionRecord) -> list[Object]:
    return _decode(record.details).get(DETAIL, [])


def directory(resource: Mapping[str, Any]) -> str:
    """The name of its directory under `ROOT`."""
    return resource["mount_path"].rpartition("/")[2]


def fits_a_file(path: str) -> bool:
    """A memory whose path has a longer segment than file systems take has no file in sandboxes."""
    return all(len(segment.encode()) <= LONGEST_SEGMENT for segment in path.split("/"))
