"""Skills and their versions, on every store. Their bytes are announced and counted as those of files are."""

from __future__ import annotations

from functools import partial
from typing import Any

from outrider.errors import InvalidRequest, NotFound
from outrider.ports.log import KeptAnswer
from outrider.ports.records import Page
from outrider.ports.skills import SkillRecord, SkillVersion
from outrider.store import shapes
from outrider.store.answers import erase_about, keep_answer
from outrider.store.files import take_announced
from outrider.store.steps import Recorded, Steps, erase, first, rows, run


class StoredSkills(Recorded):
    """Implements `SkillRecords`."""

    async def add_skill(
        self, record: SkillRecord, version: SkillVersion, *, most_bytes: int, keep: KeptAnswer | None = None
    ) -> None:
        await self._walks.walk(partial(_add_skill, record, version, most_bytes, keep))

    async def add_skill_version(
        self, version: SkillVersion, *, most_bytes: int, keep: KeptAnswer | None = None
    ) -> None:
        await self._walks.walk(partial(_add_version, version, most_bytes, keep))

    async def skill(self, workspace: str, skill: str) -> SkillRecord | None:
        return next(iter(await self._reads.one("skill", {"workspace": workspace, "id": skill}, _skills)), None)

    async def skills(self, workspace: str, page: Page) -> list[SkillRecord]:
        name = shapes.ordered("skills", descending=page.descending)
        return await self._reads.fetch(name, shapes.page_values(workspace, page), _skills)

    async def skill_version(self, workspace: str, skill: str, version: str) -> SkillVersion | None:
        values = {"workspace": workspace, "skill": skill, "id": version}
        return next(iter(await self._reads.one("skill_version", values, _versions)), None)

    async def skill_versions(self, workspace: str, skill: str, page: Page) -> list[SkillVersion]:
        name = shapes.ordered("skill_versions", descending=page.descending)
        values = {**shapes.page_values(workspace, page), "skill": skill}
        return await self._reads.fetch(name, values, _versions)

    async def delete_skill(self, workspace: str, skill: str) -> list[str]:
        return await self._walks.walk(partial(_delete_skill, {"workspace": workspace, "skill": skill}))

    async def delete_skill_version(self, workspace: str, skill: str, version: str, at: str) -> None:
        names = {"workspace": workspace, "skill": skill, "id": version, "at": at}
        await self._walks.walk(partial(_delete_version, names))


def _skills(found: list[Any]) -> list[SkillRecord]:
    return [SkillRecord(*row) for row in found]


def _versions(found: list[Any]) -> list[SkillVersion]:
    return [SkillVersion(*row) for row in found]


def _add_skill(record: SkillRecord, version: SkillVersion, most_bytes: int, keep: KeptAnswer | None) -> Steps[None]:
    yield from take_announced(shapes.fields(version), most_bytes)
    yield from run("insert_skill", shapes.fields(record))
    yield from run("insert_skill_version", shapes.fields(version))
    yield from keep_answer(record.workspace, keep)


def _add_version(version: SkillVersion, most_bytes: int, keep: KeptAnswer | None) -> Steps[None]:
    values = shapes.fields(version)
    name = yield from _hold({"workspace": version.workspace, "skill": version.skill})
    if name != version.name:
        raise InvalidRequest(f"files: SKILL.md names the skill {version.name}; every version must be named {name}")
    yield from take_announced(values, most_bytes)
    yield from run("insert_skill_version", values)
    yield from _point_to_latest(version.workspace, version.skill, version.created_at)
    yield from keep_answer(version.workspace, keep)


def _hold(names: dict[str, str]) -> Steps[str]:
    held = yield from first("hold_skill", names)
    if held is None:
        raise NotFound(f"Skill {names['skill']} not found.")
    return held[0]


def _point_to_latest(workspace: str, skill: str, at: str) -> Steps[None]:
    yield from run("point_to_latest", {"workspace": workspace, "skill": skill, "at": at})


def _delete_skill(names: dict[str, str]) -> Steps[list[str]]:
    yield from _hold(names)
    versions = yield from rows("all_skill_versions", names)
    yield from erase("delete_skill", names)
    yield from erase("delete_skill_versions", names)
    yield from erase_about(names["workspace"], names["skill"])
    yield from run("shrink_storage", {**names, "size": sum(size for _, size in versions)})
    return [version for version, _ in versions]


def _delete_version(names: dict[str, str]) -> Steps[None]:
    held = {"workspace": names["workspace"], "skill": names["skill"]}
    yield from _hold(held)
    found = yield from rows("all_skill_versions", held)
    sizes = {row[0]: row[1] for row in found}
    if names["id"] not in sizes:
        raise NotFound(f"Skill version {names['id']} not found in skill {names['skill']}.")
    if len(sizes) == 1:
        raise InvalidRequest(f"Skill {names['skill']} has no other version: delete the skill instead.")
    yield from erase("delete_skill_version", {**held, "id": names["id"]})
    yield from erase_about(names["workspace"], names["id"])
    yield from run("shrink_storage", {**held, "size": sizes[names["id"]]})
    yield from _point_to_latest(names["workspace"], names["skill"], names["at"])
