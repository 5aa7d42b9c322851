"""Reading TOML tables: known keys of the right kinds, or an error that names the file, the key and the rule."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

from outrider.errors import InvalidRequest

WHOLE, YES_OR_NO = (int, "a whole number"), (bool, "true or false")
KINDS: dict[str, tuple[type, str]] = {
    "port": WHOLE,
    "first_uid": WHOLE,
    "behind_proxy": YES_OR_NO,
    "require_beta_header": YES_OR_NO,
    "downloadable_uploads": YES_OR_NO,
    "strict": YES_OR_NO,
    "shared_workspaces": YES_OR_NO,
    "host_patience": (float, "a number of seconds"),
    "lease": (float, "a number of seconds"),
    "allowed_hosts": (list, "a list of names"),
    "cors_origins": (list, "a list of origins"),
    "hosts": (dict, "a table of names and addresses"),
}
"""Of the keys of `[server]` and `[sandbox]`; the others are strings."""


def path_of(value: str | None) -> Path | None:
    return Path(value) if value else None


def read_document(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        if not path.exists() and not required:
            return {}
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidRequest(f"Config file {path}: {reason}") from error


def check_known(values: Mapping[str, Any], known: Collection[str], table: str, path: Path) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidRequest(f"Config file {path}: unknown key {table}{unknown[0]}; known: {', '.join(known)}")


def table_of(document: Mapping[str, Any], name: str, known: Collection[str], path: Path) -> dict[str, Any]:
    values = document.get(name, {})
    if not isinstance(values, dict):
        raise InvalidRequest(f"Config file {path}: {name} must be a table, [{name}]")
    table = cast("dict[str, Any]", values)
    check_known(table, known, f"{name}.", path)
    return table


def check_kinds(values: Mapping[str, Any], table: str, path: Path) -> None:
    for name, value in values.items():
        kind, said = KINDS.get(name, (str, "a string"))
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise InvalidRequest(f"Config file {path}: {table}{name} must be {said}, not {value!r}")
    if not 0 <= values.get("port", 0) <= 65535:
        raise InvalidRequest(f"Config file {path}: {table}port must be from 0 to 65535, not {values['port']}")
