"""Skills in memory, for tests and trials."""

from __future__ import annotations

from dataclasses import replace

from outrider.errors import InvalidRequest, NotFound, Overloaded
from outrider.ports.log import KeptAnswer
from outrider.ports.records import Page
from outrider.ports.skills import SkillRecord, SkillVersion
from outrider.testing.memory_files import MemoryFiles
from outrider.testing.paging import newest_first, one_stretch


class MemorySkills(MemoryFiles):
    """Implements `SkillRecords`, over the announcements and the storage of files."""

    def __init__(self) -> None:
        super().__init__()
        self._skills: dict[tuple[str, str], SkillRecord] = {}
        self._skill_versions: dict[tuple[str, str], dict[str, SkillVersion]] = {}

    async def add_skill(
        self, record: SkillRecord, version: SkillVersion, *, most_bytes: int, keep: KeptAnswer | None = None
    ) -> None:
        await self._take(version, most_bytes, keep)
        self._skills[record.workspace, record.id] = record
        self._skill_versions[record.workspace, record.id] = {version.id: version}

    async def add_skill_version(
        self, version: SkillVersion, *, most_bytes: int, keep: KeptAnswer | None = None
    ) -> None:
        known = self._known_skill(version.workspace, version.skill)
        if known.name != version.name:
            raise InvalidRequest(f"files: every version must be named {known.name}")
        await self._take(version, most_bytes, keep)
        self._skill_versions[version.workspace, version.skill][version.id] = version
        self._point_to_latest(known, version.created_at)

    async def _take(self, version: SkillVersion, most_bytes: int, keep: KeptAnswer | None) -> None:
        place = (version.workspace, version.id)
        if self._announced.get(place, ("", True))[1]:
            raise Overloaded("The upload took too long and was given up. Nothing was stored.")
        if await self.stored_bytes(version.workspace) + version.size > most_bytes:
            raise InvalidRequest("The workspace's files would hold too much.", error_code="storage_quota_exceeded")
        del self._announced[place]
        if keep is not None:
            self._keep(version.workspace, keep)

    def _known_skill(self, workspace: str, skill: str) -> SkillRecord:
        if (workspace, skill) not in self._skills:
            raise NotFound(f"Skill {skill} not found.")
        return self._skills[workspace, skill]

    def _point_to_latest(self, record: SkillRecord, at: str) -> None:
        newest = newest_first(self._skill_versions[record.workspace, record.id].values())[0]
        self._skills[record.workspace, record.id] = replace(record, latest=newest.id, updated_at=at)

    async def skill(self, workspace: str, skill: str) -> SkillRecord | None:
        return self._skills.get((workspace, skill))

    async def skills(self, workspace: str, page: Page) -> list[SkillRecord]:
        return one_stretch((r for r in self._skills.values() if r.workspace == workspace), page)

    async def skill_version(self, workspace: str, skill: str, version: str) -> SkillVersion | None:
        return self._skill_versions.get((workspace, skill), {}).get(version)

    async def skill_versions(self, workspace: str, skill: str, page: Page) -> list[SkillVersion]:
        return one_stretch(self._skill_versions.get((workspace, skill), {}).values(), page)

    async def delete_skill(self, workspace: str, skill: str) -> list[str]:
        self._known_skill(workspace, skill)
        del self._skills[workspace, skill]
        self._erase_about(workspace, skill)
        return list(self._skill_versions.pop((workspace, skill)))

    async def delete_skill_version(self, workspace: str, skill: str, version: str, at: str) -> None:
        known = self._known_skill(workspace, skill)
        versions = self._skill_versions[workspace, skill]
        if version not in versions:
            raise NotFound(f"Skill version {version} not found in skill {skill}.")
        if len(versions) == 1:
            raise InvalidRequest(f"Skill {skill} has no other version: delete the skill instead.")
        del versions[version]
        self._erase_about(workspace, version)
        self._point_to_latest(known, at)

    def _all_versions(self, workspace: str) -> list[SkillVersion]:
        kept = self._skill_versions.items()
        return [version for (owner, _), versions in kept if owner == workspace for version in versions.values()]

    async def owns_bytes(self, workspace: str, blob: str) -> bool:
        known = blob in {version.id for version in self._all_versions(workspace)}
        return known or await super().owns_bytes(workspace, blob)

    async def stored_bytes(self, workspace: str) -> int:
        held = sum(version.size for version in self._all_versions(workspace))
        return held + await super().stored_bytes(workspace)
