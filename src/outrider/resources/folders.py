"""Rules of the operator's folders in sessions, our own extra: which a session may have, and where they and what is
cloned from them lie. Fixed when the session is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from outrider.config import Folder
from outrider.errors import InvalidRequest
from outrider.ids import IdSource
from outrider.resources.mounts import WORKSPACE, checkout_of, workspace_path
from outrider.resources.sessions import FOLDERS, SessionRequest

ROOT = "/mnt/folders"
MOST_FOLDERS = 20

Object = dict[str, Any]


class Branch(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag="branch"):
    name: str


class Commit(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag="commit"):
    sha: str


class Clone(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The git repository in the folder is cloned into the workspace: to `mount_path`, or a directory of its name."""

    mount_path: str | None = None
    checkout: Branch | Commit | None = None


class FolderRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: str
    access: Literal["read_only", "read_write"] = "read_only"
    clone: Clone | None = None


class _Asked(msgspec.Struct, frozen=True):
    folders: list[FolderRequest] = []


def asked_for(body: bytes) -> tuple[list[FolderRequest], bytes]:
    """The folders in a request for a session, and the request without them. Raises InvalidRequest."""
    try:
        asked = msgspec.json.decode(body, type=_Asked).folders
        rest = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is no request for a session with folders: {error}") from None
    rest.pop("folders", None)
    return asked, msgspec.json.encode(rest)


def give(
    request: SessionRequest, asked: Sequence[FolderRequest], offered: Sequence[Folder], workspace: str, ids: IdSource
) -> None:
    """Let the session that is asked for have them. Raises InvalidRequest."""
    if len(asked) > MOST_FOLDERS:
        raise InvalidRequest(f"folders: Input should hold at most {MOST_FOLDERS} folders")
    known = {one.name: one for one in offered if one.open_to(workspace)}
    found: list[Object] = []
    for index, one in enumerate(asked):
        if one.name in {other["name"] for other in found}:
            raise InvalidRequest(f"folders.{index}.name: {one.name} is mounted twice")
        found.append(_folder(one, known, f"folders.{index}") | {"id": ids.new("sesrsc")})
    _check_places(found, request.resources)
    if found:
        request.details[FOLDERS] = found


def _folder(asked: FolderRequest, known: Mapping[str, Folder], field: str) -> Object:
    folder = known.get(asked.name)
    if folder is None:
        names = ", ".join(sorted(known)) or "none"
        raise InvalidRequest(
            f"{field}.name: This server offers your workspace no folder {asked.name!r}; it offers {names}"
        )
    if asked.access == "read_write" and folder.access == "read_only":
        raise InvalidRequest(f"{field}.access: {asked.name} may only be read")
    place: Object = {"type": "folder", "name": asked.name, "access": asked.access, "mount_path": f"{ROOT}/{asked.name}"}
    return place | {"clone": None if asked.clone is None else _clone(asked.name, asked.clone, f"{field}.clone")}


def _clone(name: str, asked: Clone, field: str) -> Object:
    path = asked.mount_path
    checkout = None if asked.checkout is None else msgspec.to_builtins(asked.checkout)
    return {
        "mount_path": f"{WORKSPACE}/{name}" if path is None else workspace_path(path, f"{field}.mount_path"),
        "checkout": checkout_of(checkout, f"{field}.checkout"),
    }


def _check_places(folders: Sequence[Object], resources: Sequence[Mapping[str, Any]]) -> None:
    """Clones lie apart from each other, and from repositories that say where they belong."""
    taken = [
        str(one["mount_path"]) for one in resources if one["type"] == "github_repository" and one.get("mount_path")
    ]
    for index, one in enumerate(folders):
        if one["clone"] is not None:
            path = one["clone"]["mount_path"]
            if any(f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/") for other in taken):
                raise InvalidRequest(f"folders.{index}.clone.mount_path: {path} is taken by another resource")
            taken.append(path)


def offered_object(folder: Folder) -> Object:
    return {"type": "folder", "name": folder.name, "access": folder.access}
