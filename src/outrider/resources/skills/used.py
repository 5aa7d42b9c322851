"""Skills as agents name them and as sessions get them: one version each, in a directory of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from outrider.errors import InvalidRequest
from outrider.ports.records import SessionRecord
from outrider.ports.skills import SkillVersion
from outrider.resources.skills.records import LATEST
from outrider.resources.tools import enabled_builtins

READ = "read"
Object = dict[str, Any]
_decode = msgspec.json.Decoder(Object).decode


def resolved_skills(given: Sequence[Mapping[str, Any]], *, field: str = "skills") -> list[Object]:
    """An agent's `skills` as responses show them. Raises InvalidRequest."""
    counts = Counter(one["skill_id"] for one in given)
    if repeated := next((skill for skill, count in counts.items() if count > 1), None):
        raise InvalidRequest(f"{field}: {repeated} is given more than once")
    return [
        {
            "type": one["type"],
            "skill_id": one["skill_id"],
            "version": LATEST if one.get("version") is None else one["version"],
        }
        for one in given
    ]


def check_readable(agent: Mapping[str, Any], *, prefix: str = "") -> None:
    """Whoever has skills must be able to read them. Raises InvalidRequest."""
    if agent["skills"] and READ not in enabled_builtins(agent["tools"]):
        raise InvalidRequest(f"{prefix}skills: skills need the tool {READ}, which is not enabled in tools")


def pinned(entries: Sequence[Mapping[str, Any]], versions: Sequence[SkillVersion]) -> list[Object]:
    """The entries of a session's agent: it keeps the versions that it began with."""
    return [{**entry, "version": version.id} for entry, version in zip(entries, versions, strict=True)]


def skills_of(record: SessionRecord) -> list[Object]:
    """The entries of a stored session's agent."""
    return _decode(record.agent).get("skills", [])


def for_log(versions: Sequence[SkillVersion]) -> list[Object]:
    """What the session's log says of them: where each lies, which never changes, and what it is for."""
    seen: Counter[str] = Counter()
    found: list[Object] = []
    for version in versions:
        seen[version.name] += 1
        number = seen[version.name]
        found.append(
            {
                "skill_id": version.skill,
                "version": version.id,
                "name": version.name,
                "description": version.description,
                "directory": version.name if number == 1 else f"{version.name}.{number}",
                "size": version.size,
            }
        )
    return found
