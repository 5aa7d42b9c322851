"""What a SKILL.md says of itself at its top: name and description. Pure. Its words are a stranger's: bounded, one line.

Read is the part of YAML that such files use: plain, quoted and block scalars at the top level.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from outrider.ports.repositories import RepositorySkill

LONGEST_DESCRIPTION = 1024
_NAME = re.compile(r"[a-z0-9-]{1,64}")
_FIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*):(?:[ \t]+(.*))?")
_BLOCK = re.compile(r"[|>][+-]?\d?")
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff<>]+")


def skill(path: str, content: bytes) -> RepositorySkill | None:
    """The skill whose file is at `path`; None when the file has no usable name and description."""
    fields = _frontmatter(content.decode("utf-8", "replace").removeprefix("\ufeff"))
    directory = path.split("/")[-2]
    name = fields.get("name", "").strip() or directory
    description = " ".join(_NOT_SHOWN.sub(" ", fields.get("description", "")).split())[:LONGEST_DESCRIPTION]
    if not _NAME.fullmatch(name) or not description:
        return None
    return RepositorySkill(name, description, path)


def _frontmatter(text: str) -> dict[str, str]:
    lines = text.splitlines()
    if not lines or lines[0].rstrip() != "---":
        return {}
    end = next((index for index, line in enumerate(lines[1:], 1) if line.rstrip() in ("---", "...")), 0)
    return dict(_fields(lines[1:end]))


def _fields(lines: list[str]) -> Iterator[tuple[str, str]]:
    index = 0
    while index < len(lines):
        found = _FIELD.fullmatch(lines[index].rstrip())
        index += 1
        below: list[str] = []
        while index < len(lines) and (not lines[index].strip() or lines[index][0] in " \t"):
            below.append(lines[index].strip())
            index += 1
        if found:
            yield found[1], _scalar(found[2] or "", below)


def _scalar(first: str, below: list[str]) -> str:
    if _BLOCK.fullmatch(first):
        return " ".join(below)
    whole = " ".join([first, *below]).strip()
    if whole[:1] == '"' and whole[-1:] == '"' and len(whole) > 1:
        try:
            return str(json.loads(whole))
        except ValueError:
            return whole[1:-1]
    if whole[:1] == "'" and whole[-1:] == "'" and len(whole) > 1:
        return whole[1:-1].replace("''", "'")
    return whole.split(" #", 1)[0]
