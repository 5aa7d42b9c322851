"""The packages that an environment wants in its sandboxes, by manager. A seam: who builds them is `sandbox.builds`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MANAGERS = ("apt", "cargo", "gem", "go", "npm", "pip")
"""In the order in which they install."""
BUILD = "bld-"
"""Begins the names of the sandboxes in which packages are installed; no session's id does."""


def is_build(session: str) -> bool:
    """Whether a sandbox of this name installs packages, for nobody in particular."""
    return session.startswith(BUILD)


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a session's sandbox should have; what was built for it is only for sessions of the same workspace."""

    workspace: str
    packages: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def __bool__(self) -> bool:
        return bool(self.packages)


def wanted_packages(environment: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Of an environment as the API shows it: the managers that have any, in their order, each list sorted."""
    packages: Mapping[str, Any] = environment.get("config", {}).get("packages") or {}
    return {name: tuple(sorted(set(packages[name]))) for name in MANAGERS if packages.get(name)}
