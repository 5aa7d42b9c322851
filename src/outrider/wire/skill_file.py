"""What a SKILL.md says of itself at its top. Pure. Its words are a stranger's: what is shown of them is one plain line.

Read is the part of YAML that such files use: plain, quoted and block scalars at the top level.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

SKILL_FILE = "SKILL.md"
LONGEST_DESCRIPTION = 1024
NAME = re.compile(r"[a-z0-9-]{1,64}")
_FIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*):(?:[ \t]+(.*))?")
_BLOCK = re.compile(r"[|>][+-]?\d?")
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff<>]+")


def frontmatter(text: str) -> dict[str, str]:
    """The fields between the first two lines of dashes; of a field that is given twice, the last one."""
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != "---":
        return {}
    end = next((index for index, line in enumerate(lines[1:], 1) if line.rstrip() in ("---", "...")), 0)
    return dict(_fields(lines[1:end]))


def plain(text: str) -> str:
    """In one line, without characters that could pass for something else."""
    return " ".join(_NOT_SHOWN.sub(" ", text).split())


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
