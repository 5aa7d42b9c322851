"""Durable records of skills and their versions; a version's bytes are one archive in the blob store under
(workspace, the version's id, CONTENT).

As with files, bytes are announced before they are written, and a version is added when they are whole. A skill has at
least one version; `latest` is always the newest that is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from outrider.ports.log import KeptAnswer
from outrider.ports.records import Page

SKILL = "skill"
VERSION = "skver"
"""What the ids of versions, and so the owners of their bytes, begin with."""


@dataclass(frozen=True, slots=True)
class SkillRecord:
    """`name` is every version's, and never changes."""

    workspace: str
    id: str
    created_at: str
    updated_at: str
    name: str
    display_name: str
    latest: str


@dataclass(frozen=True, slots=True)
class SkillVersion:
    """`size`: bytes of its archive, which take part of the workspace's storage."""

    workspace: str
    skill: str
    id: str
    created_at: str
    name: str
    description: str
    size: int


class SkillRecords(Protocol):
    """Another workspace's id behaves like an unknown one (NotFound or None)."""

    async def add_skill(
        self, record: SkillRecord, version: SkillVersion, *, most_bytes: int, keep: KeptAnswer | None = None
    ) -> None:
        """A skill with its first version, whose bytes were announced under its id (`FileRecords.announce_file`).
        Raises InvalidRequest (`storage_quota_exceeded`), Overloaded, as `FileRecords.add_file` does."""
        ...

    async def add_skill_version(
        self, version: SkillVersion, *, most_bytes: int, keep: KeptAnswer | None = None
    ) -> None:
        """As above. Raises NotFound when there is no such skill, InvalidRequest when its name is another."""
        ...

    async def skill(self, workspace: str, skill: str) -> SkillRecord | None: ...

    async def skills(self, workspace: str, page: Page) -> list[SkillRecord]:
        """By (created_at, id)."""
        ...

    async def skill_version(self, workspace: str, skill: str, version: str) -> SkillVersion | None: ...

    async def skill_versions(self, workspace: str, skill: str, page: Page) -> list[SkillVersion]:
        """By (created_at, id)."""
        ...

    async def delete_skill(self, workspace: str, skill: str) -> list[str]:
        """Erase it with its versions. Returns the owners of their bytes. Raises NotFound."""
        ...

    async def delete_skill_version(self, workspace: str, skill: str, version: str, at: str) -> None:
        """Raises NotFound, InvalidRequest for a skill's only version."""
        ...
