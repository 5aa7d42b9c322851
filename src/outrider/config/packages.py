"""How environments' packages are installed: `[packages]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from outrider.errors import InvalidRequest

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class PackageSettings:
    """The variables that package managers get when they install, the seconds that one of them may take, and the days
    for which what nobody uses is kept."""

    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    build_timeout: float = 1800.0
    unused_days: float = 30.0


PACKAGES_KEYS = tuple(PackageSettings.__dataclass_fields__)


def package_settings(values: Mapping[str, Any], where: str) -> PackageSettings:
    """Of the config's table. Raises InvalidRequest, which begins with `where`."""
    environment = values.get("environment", {})
    if not isinstance(environment, dict):
        raise InvalidRequest(f"{where}.environment must be a table of variables, [packages.environment]")
    for name, value in cast("dict[str, Any]", environment).items():
        if not _VARIABLE.fullmatch(name) or not isinstance(value, str):
            raise InvalidRequest(f"{where}.environment.{name} must be a variable's name, and a string")
    for name in ("build_timeout", "unused_days"):
        value = values.get(name, 1.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise InvalidRequest(f"{where}.{name} must be a number above 0")
    return PackageSettings(**values)
