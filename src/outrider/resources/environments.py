"""Rules of environments: cloud sandboxes with an unrestricted network and no packages; the rest is refused for now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from outrider.errors import EnvironmentArchived, InvalidRequest, NotSupported
from outrider.ports.records import EnvironmentRecord
from outrider.resources import metadata

PACKAGES = ("apt", "cargo", "gem", "go", "npm", "pip")
INVALID_METADATA = "invalid_metadata"

_decode = msgspec.json.Decoder(dict[str, Any]).decode

Environment = dict[str, Any]


def new_environment(request: Mapping[str, Any], *, id: str, now: str) -> Environment:
    """The environment as the API shows it. Raises InvalidRequest."""
    config = request.get("config")
    if config is not None:
        _check_config(config)
    _check_scope(request.get("scope"))
    return {
        "id": id,
        "type": "environment",
        "name": request["name"],
        "description": request.get("description"),
        "config": _cloud(),
        "metadata": metadata.checked(request.get("metadata", {}), error_code=INVALID_METADATA),
        "scope": "organization",
        "created_at": now,
        "updated_at": now,
        "archived_at": None,
    }


def updated_environment(current: Environment, request: Mapping[str, Any], *, now: str) -> Environment | None:
    """The environment after an update, or None when nothing changes. Null keeps all but a description.

    Raises EnvironmentArchived and InvalidRequest.
    """
    if current["archived_at"] is not None:
        raise EnvironmentArchived(current["id"])
    config = request.get("config")
    if config is not None:
        _check_same_type(current["config"], config)
        _check_config(config)
    _check_scope(request.get("scope"))
    changed = current | _changes(current, request)
    return None if changed == current else changed | {"updated_at": now}


def _changes(current: Environment, request: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if request.get("name") is not None:
        changes["name"] = request["name"]
    if "description" in request:
        changes["description"] = request["description"]
    if "metadata" in request:
        changes["metadata"] = metadata.merged(
            current["metadata"], request["metadata"], empty_deletes=True, error_code=INVALID_METADATA
        )
    return changes


def _cloud() -> dict[str, Any]:
    packages = {"type": "packages", **{kind: list[str]() for kind in PACKAGES}}
    return {"type": "cloud", "networking": {"type": "unrestricted"}, "packages": packages}


def _check_same_type(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    if asked["type"] != stored["type"]:
        raise InvalidRequest(
            f"config.type: an environment of type {stored['type']} can't become {asked['type']}",
            error_code="invalid_config_type_change",
        )


def _check_config(config: Mapping[str, Any]) -> None:
    if config["type"] != "cloud":
        raise NotSupported(f"config.type: {config['type']} environments are not offered by this server yet")
    networking = config.get("networking")
    if networking is not None and networking["type"] != "unrestricted":
        raise NotSupported(f"config.networking: {networking['type']} networking is not offered by this server yet")
    packages: dict[str, Any] = config.get("packages") or dict[str, Any]()
    wanted = [kind for kind in PACKAGES if packages.get(kind)]
    if wanted:
        raise NotSupported(f"config.packages.{wanted[0]}: packages are not offered by this server yet")


def _check_scope(scope: str | None) -> None:
    if scope not in (None, "organization"):
        raise InvalidRequest("scope: Input should be 'organization'; this server has no accounts")


def environment_object(record: EnvironmentRecord) -> Environment:
    """A stored environment as the API shows it."""
    return _decode(record.body) | {"archived_at": record.archived_at}


def deleted_environment(id: str) -> dict[str, str]:
    return {"id": id, "type": "environment_deleted"}
