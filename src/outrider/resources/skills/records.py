"""How skills and their versions are made and shown."""

from __future__ import annotations

import re
from typing import Any

from outrider.errors import InvalidRequest
from outrider.ports.skills import SkillRecord, SkillVersion
from outrider.resources.skills.bundle import Bundle

LONGEST_DISPLAY_NAME = 255
LATEST = "latest"
CUSTOM = "custom"
PREBUILT = "anthropic"
SOURCES = (CUSTOM, PREBUILT)
_NOT_IN_LINE = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")


def display_name_of(given: str | None, bundle: Bundle) -> str:
    """Raises InvalidRequest."""
    if given is None:
        return bundle.name
    if not given.strip() or len(given) > LONGEST_DISPLAY_NAME or _NOT_IN_LINE.search(given):
        raise InvalidRequest(f"display_name: Input should be one line of 1 to {LONGEST_DISPLAY_NAME} characters")
    return given


def version_of(bundle: Bundle, packed: bytes, *, workspace: str, skill: str, id: str, now: str) -> SkillVersion:
    return SkillVersion(workspace, skill, id, now, bundle.name, bundle.description, len(packed))


def first_of(version: SkillVersion, display_name: str) -> SkillRecord:
    """The skill that this version begins."""
    at = version.created_at
    return SkillRecord(version.workspace, version.skill, at, at, version.name, display_name, version.id)


def skill_object(record: SkillRecord, *, source: str = CUSTOM) -> dict[str, Any]:
    return {
        "id": record.id,
        "type": "skill",
        "display_name": record.display_name,
        "latest_version_id": record.latest,
        "source": {"type": source},
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def version_object(version: SkillVersion) -> dict[str, Any]:
    return {
        "id": version.id,
        "type": "skill_version",
        "skill_id": version.skill,
        "name": version.name,
        "description": version.description,
        "created_at": version.created_at,
    }


def deleted_skill(id: str) -> dict[str, str]:
    return {"id": id, "type": "skill_deleted"}


def deleted_version(id: str) -> dict[str, str]:
    return {"id": id, "type": "skill_version_deleted"}
