"""The table `[egress.package_hosts]` of a config file, written anew without touching the rest of the file."""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TABLE = "[egress.package_hosts]"
_OURS = re.compile(r"\s*\[\s*egress\s*\.\s*package_hosts\s*\]\s*(#.*)?")
_HEADER = re.compile(r"\s*\[\[?[\w\s.\"'-]+\]\]?\s*(#.*)?")

Hosts = Mapping[str, Sequence[str]]


def with_hosts(text: str, learned: Hosts) -> str | None:
    """The file's text with these hosts added to each manager's; None where that takes a person (an inline table)."""
    before = tomllib.loads(text)
    egress: dict[str, Any] = before.get("egress", {})
    merged = dict(egress.get("package_hosts", {}))
    for manager, hosts in learned.items():
        merged[manager] = sorted({*merged.get(manager, ()), *hosts})
    after = _replaced(text, table(merged))
    wanted = {**before, "egress": {**egress, "package_hosts": merged}}
    try:
        return after if tomllib.loads(after) == wanted else None
    except tomllib.TOMLDecodeError:
        return None


def table(hosts: Hosts) -> str:
    lines = [f"{name} = {json.dumps(list(listed))}" for name, listed in sorted(hosts.items())]
    return "\n".join([TABLE, *lines]) + "\n"


def _replaced(text: str, section: str) -> str:
    lines = text.splitlines(keepends=True)
    start = next((number for number, line in enumerate(lines) if _OURS.fullmatch(line.rstrip("\n"))), None)
    if start is None:
        between = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        return text + between + section
    headers = (number for number, line in enumerate(lines) if number > start and _HEADER.fullmatch(line.rstrip("\n")))
    end = next(headers, len(lines))
    comments = [line for line in lines[start + 1 : end] if line.lstrip().startswith("#")]
    after = "".join(lines[end:])
    return "".join(lines[:start]) + section + "".join(comments) + ("\n" + after if after else "")


def write(path: Path, text: str) -> None:
    """In one step; the file keeps its owner and its mode."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        shutil.copymode(path, draft)
        owner = path.stat()
        os.chown(draft, owner.st_uid, owner.st_gid)
    draft.rename(path)
