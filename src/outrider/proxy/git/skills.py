"""What a SKILL.md in a repository says of itself: name and description, bounded and in one line. Pure."""

from __future__ import annotations

from outrider.ports.repositories import RepositorySkill
from outrider.wire.skill_file import LONGEST_DESCRIPTION, NAME, frontmatter, plain


def skill(path: str, content: bytes) -> RepositorySkill | None:
    """The skill whose file is at `path`; None when the file has no usable name and description."""
    fields = frontmatter(content.decode("utf-8", "replace"))
    directory = path.split("/")[-2]
    name = fields.get("name", "").strip() or directory
    description = plain(fields.get("description", ""))[:LONGEST_DESCRIPTION]
    if not NAME.fullmatch(name) or not description:
        return None
    return RepositorySkill(name, description, path)
