"""The search tools glob and grep, as they run inside the sandbox. Bounded in entries, output and processor time."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from outrider.sandbox.files import Block, ToolProblem, absolute, open_regular, text_block

MOST_MATCHES = 200
MOST_ENTRIES = 50_000
GREP_LIMIT = 100 * 1024
LONGEST_LINE = 2_000
SKIPPED = frozenset({".git", "node_modules"})
NOTHING = "no matches"


def glob(given: dict[str, Any]) -> list[Block]:
    root = Path(_directory(given.get("path")))
    try:
        found = list(islice(_matches(root, given["pattern"]), MOST_ENTRIES))
    except (ValueError, NotImplementedError) as error:
        raise ToolProblem(str(error).lower()) from error
    found.sort(key=_changed, reverse=True)
    return [text_block("\n".join(str(path) for path in found[:MOST_MATCHES]) or NOTHING)]


def _matches(root: Path, pattern: str) -> Iterator[Path]:
    """A last segment `**` means files too, as it does for pathlib itself from Python 3.13 on."""
    yield from root.glob(pattern)
    if sys.version_info < (3, 13) and pattern.rpartition("/")[2] == "**":
        yield from (path for path in root.glob(f"{pattern}/*") if not _is_directory(path))


def _is_directory(path: Path) -> bool:
    """A link is none; nor, for all we know, is what lies in a directory that may only be listed."""
    try:
        return path.is_dir() and not path.is_symlink()
    except OSError:
        return False


def _directory(path: str | None) -> str:
    where = absolute(path or "")
    os.stat(where)  # a missing one is an error, not an empty answer
    return os.path.normpath(where)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def grep(given: dict[str, Any]) -> list[Block]:
    try:
        expression = re.compile(given["pattern"])
    except re.error as error:
        raise ToolProblem(f"invalid regex: {error}") from error
    lines: list[str] = []
    size = 0
    for line in _hits(expression, _directory(given.get("path"))):
        size += len(line) + 1
        if size > GREP_LIMIT:
            lines.append(f"[output truncated at {GREP_LIMIT} bytes]")
            break
        lines.append(line)
    return [text_block("\n".join(lines) or NOTHING)]


def _hits(expression: re.Pattern[str], where: str) -> Iterator[str]:
    names = _regular_files(where) if os.path.isdir(where) else iter([where])
    for name in islice(names, MOST_ENTRIES):
        yield from _in_file(expression, name)


def _regular_files(where: str) -> Iterator[str]:
    for directory, below, names in os.walk(where):
        below[:] = sorted(name for name in below if name not in SKIPPED)
        for name in sorted(names):
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                yield path


def _in_file(expression: re.Pattern[str], name: str) -> Iterator[str]:
    try:
        fd, _ = open_regular(name, os.O_RDONLY)
    except (OSError, ToolProblem):
        return
    with open(fd, "rb") as file:
        if b"\x00" in file.read(512):
            return
        file.seek(0)
        number = 0
        while raw := file.readline(LONGEST_LINE + 2):
            number += 1
            if not raw.endswith(b"\n") and len(raw) > LONGEST_LINE:
                _skip_line(file)
                continue
            line = raw.decode(errors="replace").rstrip("\r\n")
            if expression.search(line):
                yield f"{name}:{number}:{line}"


def _skip_line(file: Any) -> None:
    while rest := file.readline(1 << 16):
        if rest.endswith(b"\n"):
            return
