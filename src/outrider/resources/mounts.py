"""Rules of session resources: what is mounted where, what clients are shown of it, and what only the vault gets.

Each type has a maker of its own in `MAKERS`; a type without one is refused. A resource lies in its session's details
with the version of its secret, 0 for none, which is never shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from outrider.errors import InvalidRequest, NotSupported
from outrider.githosts import GitHost, repository
from outrider.ids import IdSource
from outrider.ports.copies import FileCopy
from outrider.ports.files import FileRecord
from outrider.ports.records import SessionRecord
from outrider.ports.vaults import LATEST, SecretRef
from outrider.resources import memory_mounts
from outrider.resources.given import GIVEN, check_files, file_resource, for_log
from outrider.resources.vaults import check_header

REPOSITORY = "github_repository"
MOST_REPOSITORIES = 20
WORKSPACE = "/workspace"
FIRST_VERSION = 1
SECRET = "secret"
_SHA = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")
_NOT_IN_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-/.]|[/.]$|^@$")
_NOT_IN_PATH = re.compile(r"[\x00-\x1f\x7f]")

Object = dict[str, Any]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Object).decode


@dataclass(frozen=True, slots=True)
class Mounted:
    """The resources of a new session, by id the secrets that only the vault gets, the files to copy, those that are
    made for it, and what the session's log says of it all."""

    resources: list[Object] = field(default_factory=list[Object])
    secrets: dict[str, Object] = field(default_factory=dict[str, Object])
    copies: list[FileCopy] = field(default_factory=list[FileCopy])
    added: list[FileRecord] = field(default_factory=list[FileRecord])
    logged: list[Object] = field(default_factory=list[Object])


@dataclass(frozen=True, slots=True)
class Making:
    """What makers work with. `files`: those that are named, by id."""

    hosts: Sequence[GitHost]
    ids: IdSource
    now: str
    files: Mapping[str, FileRecord]


def new_resources(given: Sequence[Mapping[str, Any]], making: Making) -> Mounted:
    """Raises InvalidRequest, NotFound, NotSupported."""
    found = Mounted()
    for index, one in enumerate(given):
        if one["type"] == memory_mounts.TYPE:
            continue
        maker = MAKERS.get(one["type"])
        if maker is None:
            raise NotSupported(f"resources.{index}.type: {one['type']} resources are not offered by this server yet")
        maker(found, {"id": making.ids.new("sesrsc"), "type": one["type"]}, one, making, f"resources.{index}.")
    check_together(found.resources)
    return found


def added_file(given: Mapping[str, Any], making: Making) -> Mounted:
    """One more of a session that is there. Raises InvalidRequest, NotFound."""
    found = Mounted()
    _file(found, {"id": making.ids.new("sesrsc"), "type": GIVEN}, given, making, "")
    return found


def _file(found: Mounted, about: Object, given: Mapping[str, Any], making: Making, field: str) -> None:
    shown, copy = file_resource(given, making.files, making.ids, making.now, field)
    resource = {**about, **shown, SECRET: 0}
    found.resources.append(resource)
    found.copies.append(copy)
    found.logged.append(for_log(resource, making.files[copy.source]))


def _repository(found: Mounted, about: Object, given: Mapping[str, Any], making: Making, field: str) -> None:
    shown, secret = _repository_form(given, making, field)
    resource: Object = {**about, **shown, SECRET: 0 if secret is None else FIRST_VERSION}
    found.resources.append(resource)
    found.logged.append({key: resource[key] for key in ("id", "type", "url", "mount_path", "checkout")})
    if secret is not None:
        found.secrets[resource["id"]] = secret


def _repository_form(given: Mapping[str, Any], making: Making, field: str) -> tuple[Object, Object | None]:
    place = repository(given["url"], making.hosts, f"{field}url")
    path = given.get("mount_path")
    shown = {
        "url": place.url,
        "mount_path": f"{WORKSPACE}/{place.name}" if path is None else workspace_path(path, f"{field}mount_path"),
        "checkout": checkout_of(given.get("checkout"), f"{field}checkout"),
        "created_at": making.now,
        "updated_at": making.now,
    }
    token = given.get("authorization_token")
    return shown, None if token is None else _secret(place.url, token, f"{field}authorization_token")


Maker = Callable[[Mounted, Object, Mapping[str, Any], Making, str], None]
"""Adds the resource, of which id and type are known, and what belongs to it."""

MAKERS: Mapping[str, Maker] = {REPOSITORY: _repository, GIVEN: _file}


def _secret(url: str, token: str, field: str) -> Object:
    """The address is kept with the token, so that the vault sends it nowhere else."""
    check_header(field, token)
    if " " in token:
        raise InvalidRequest(f"{field}: Input should hold no spaces")
    return {"type": REPOSITORY, "url": url, "token": token}


def workspace_path(path: str, field: str) -> str:
    parts = path.split("/")
    beneath = path.startswith(WORKSPACE + "/") and not any(part in ("", ".", "..", ".git") for part in parts[2:])
    if not beneath or _NOT_IN_PATH.search(path):
        raise InvalidRequest(f"{field}: Input should be a directory under {WORKSPACE}, such as {WORKSPACE}/project")
    return path


def checkout_of(given: Mapping[str, Any] | None, field: str) -> Object | None:
    if given is None:
        return None
    if given["type"] == "commit":
        if not _SHA.fullmatch(given["sha"]):
            raise InvalidRequest(f"{field}.sha: Input should be a full commit id of 40 or 64 hexadecimal digits")
    elif _NOT_IN_BRANCH.search(given["name"]):
        raise InvalidRequest(f"{field}.name: Input should be the name of a branch")
    return dict(given)


def check_together(resources: Sequence[Mapping[str, Any]]) -> None:
    """No two at one place or one inside the other; no address twice, or it would not be clear whose token counts."""
    repositories = [one for one in resources if one["type"] == REPOSITORY]
    if len(repositories) > MOST_REPOSITORIES:
        raise InvalidRequest(f"resources: Input should hold at most {MOST_REPOSITORIES} repositories")
    check_files(resources)
    _check_places(resources)
    urls: set[str] = set()
    for index, one in enumerate(resources):
        if one["type"] == REPOSITORY and one["url"] in urls:
            raise InvalidRequest(f"resources.{index}.url: {one['url']} is mounted twice")
        urls |= {one["url"]} if one["type"] == REPOSITORY else set()


def _check_places(resources: Sequence[Mapping[str, Any]]) -> None:
    places: set[str] = set()
    above: set[str] = set()
    for index, one in enumerate(resources):
        path: str = one["mount_path"]
        parents = {path[:end] for end, letter in enumerate(path) if letter == "/" and end}
        if path in places or path in above or places & parents:
            raise InvalidRequest(f"resources.{index}.mount_path: {path} is taken by another resource")
        places.add(path)
        above |= parents


def resources_of(record: SessionRecord) -> list[Object]:
    """As they are stored, with the version of each one's secret."""
    return _decode(record.details).get("resources", [])


def shown(resource: Mapping[str, Any]) -> Object:
    return {key: value for key, value in resource.items() if key != SECRET}


def secret_refs(record: SessionRecord) -> list[SecretRef]:
    """Where the vault holds the secrets of a session's resources, in all versions."""
    held = [one for one in resources_of(record) if one[SECRET]]
    return [SecretRef(record.workspace, record.id, one["id"], LATEST) for one in held]


def holds(record: SessionRecord | None, ref: SecretRef) -> bool:
    """Whether a session of the records still needs this secret."""
    if record is None or record.archived_at is not None:
        return False
    return any(one["id"] == ref.credential and one[SECRET] == ref.version for one in resources_of(record))


def resource_ids(resource: Mapping[str, Any]) -> tuple[tuple[str, str], str]:
    """Its position in the list, and its time."""
    return (resource["created_at"], resource["id"]), resource["created_at"]


def with_token(
    record: SessionRecord, resource: Mapping[str, Any], token: str, *, version: int, now: str
) -> tuple[SessionRecord, Object, Object]:
    """(the record to store, the resource as it is then, the secret). Raises InvalidRequest."""
    if record.status == "terminated" or record.archived_at is not None:
        raise InvalidRequest(f"Session {record.id} is terminated or archived and can't be changed.")
    if resource["type"] != REPOSITORY:
        raise InvalidRequest("authorization_token: only repositories have one")
    secret = _secret(resource["url"], token, "authorization_token")
    changed = {**resource, SECRET: version, "updated_at": now}
    details = _decode(record.details)
    details["resources"] = [changed if one["id"] == resource["id"] else one for one in details["resources"]]
    return replace(record, details=_encode(details), updated_at=now), changed, secret


def deleted_resource(id: str) -> dict[str, str]:
    return {"id": id, "type": "session_resource_deleted"}
