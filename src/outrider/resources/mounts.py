"""Rules of session resources: what is mounted where, what clients are shown of it, and what only the vault gets.

Each type has a maker of its own in `MAKERS`; a type without one is refused. A resource lies in its session's details
with the version of its secret, 0 for none, which is never shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from outrider.errors import InvalidRequest, NotSupported
from outrider.githosts import GitHost, repository
from outrider.ids import IdSource
from outrider.ports.records import SessionRecord
from outrider.ports.vaults import LATEST, SecretRef
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
    """The resources of a new session, and by id the secrets that only the vault gets."""

    resources: list[Object]
    secrets: dict[str, Object]


@dataclass(frozen=True, slots=True)
class Making:
    """What makers work with."""

    hosts: Sequence[GitHost]
    now: str


def new_resources(given: Sequence[Mapping[str, Any]], *, ids: IdSource, now: str, hosts: Sequence[GitHost]) -> Mounted:
    """Raises InvalidRequest, NotSupported."""
    found = Mounted([], {})
    for index, one in enumerate(given):
        maker = MAKERS.get(one["type"])
        if maker is None:
            raise NotSupported(f"resources.{index}.type: {one['type']} resources are not offered by this server yet")
        shown, secret = maker(one, Making(hosts, now), f"resources.{index}")
        resource = ids.new("sesrsc")
        version = 0 if secret is None else FIRST_VERSION
        found.resources.append({"id": resource, "type": one["type"], **shown, SECRET: version})
        if secret is not None:
            found.secrets[resource] = secret
    _check_together(found.resources)
    return found


def _repository(given: Mapping[str, Any], making: Making, field: str) -> tuple[Object, Object | None]:
    place = repository(given["url"], making.hosts, f"{field}.url")
    path = given.get("mount_path")
    shown = {
        "url": place.url,
        "mount_path": f"{WORKSPACE}/{place.name}" if path is None else _mount_path(path, f"{field}.mount_path"),
        "checkout": _checkout(given.get("checkout"), f"{field}.checkout"),
        "created_at": making.now,
        "updated_at": making.now,
    }
    token = given.get("authorization_token")
    return shown, None if token is None else _secret(place.url, token, f"{field}.authorization_token")


MAKERS: Mapping[str, Callable[[Mapping[str, Any], Making, str], tuple[Object, Object | None]]] = {
    REPOSITORY: _repository
}


def _secret(url: str, token: str, field: str) -> Object:
    """The address is kept with the token, so that the vault sends it nowhere else."""
    check_header(field, token)
    if " " in token:
        raise InvalidRequest(f"{field}: Input should hold no spaces")
    return {"type": REPOSITORY, "url": url, "token": token}


def _mount_path(path: str, field: str) -> str:
    parts = path.split("/")
    beneath = path.startswith(WORKSPACE + "/") and not any(part in ("", ".", "..", ".git") for part in parts[2:])
    if not beneath or _NOT_IN_PATH.search(path):
        raise InvalidRequest(f"{field}: Input should be a directory under {WORKSPACE}, such as {WORKSPACE}/project")
    return path


def _checkout(given: Mapping[str, Any] | None, field: str) -> Object | None:
    if given is None:
        return None
    if given["type"] == "commit":
        if not _SHA.fullmatch(given["sha"]):
            raise InvalidRequest(f"{field}.sha: Input should be a full commit id of 40 or 64 hexadecimal digits")
    elif _NOT_IN_BRANCH.search(given["name"]):
        raise InvalidRequest(f"{field}.name: Input should be the name of a branch")
    return dict(given)


def _check_together(resources: Sequence[Object]) -> None:
    """No two at one place or one inside the other; no address twice, or it would not be clear whose token counts."""
    if len(resources) > MOST_REPOSITORIES:
        raise InvalidRequest(f"resources: Input should hold at most {MOST_REPOSITORIES} repositories")
    for index, one in enumerate(resources):
        for other in resources[:index]:
            if f"{one['mount_path']}/".startswith(f"{other['mount_path']}/") or f"{other['mount_path']}/".startswith(
                f"{one['mount_path']}/"
            ):
                raise InvalidRequest(f"resources.{index}.mount_path: {one['mount_path']} is taken by another resource")
            if one["url"] == other["url"]:
                raise InvalidRequest(f"resources.{index}.url: {one['url']} is mounted twice")


def resources_of(record: SessionRecord) -> list[Object]:
    """As they are stored, with the version of each one's secret."""
    return _decode(record.details).get("resources", [])


def shown(resource: Mapping[str, Any]) -> Object:
    return {key: value for key, value in resource.items() if key != SECRET}


def for_log(resources: Sequence[Mapping[str, Any]]) -> list[Object]:
    """What the session's log says of them: where they are, which never changes."""
    return [{key: one[key] for key in ("id", "type", "url", "mount_path", "checkout")} for one in resources]


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
