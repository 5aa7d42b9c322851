"""Folders of the operator's machine that sessions may have in their sandboxes: `[folders.NAME]`. Reads no folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from outrider.errors import InvalidRequest

Access = Literal["read_only", "read_write"]
ACCESS: tuple[Access, ...] = ("read_only", "read_write")
KEYS = ("path", "access", "workspaces")
KERNEL = ("/proc", "/sys", "/dev", "/run")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Folder:
    """`access` is the most that a session may ask for; `workspaces` whose sessions, None for all."""

    name: str
    path: Path
    access: Access = "read_only"
    workspaces: tuple[str, ...] | None = None

    def open_to(self, workspace: str) -> bool:
        return self.workspaces is None or workspace in self.workspaces


def folders(tables: Any, where: str) -> tuple[Folder, ...]:
    """Of the config's tables. Raises InvalidRequest, which begins with `where`."""
    if not isinstance(tables, dict):
        raise InvalidRequest(f"{where} must be tables, [folders.NAME]")
    return tuple(_folder(name, given, f"{where}.{name}") for name, given in cast("dict[str, Any]", tables).items())


def _folder(name: str, given: Any, where: str) -> Folder:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{where}: the name must be up to 63 of a-z, 0-9 and -, and not begin with -")
    if not isinstance(given, dict):
        raise InvalidRequest(f"{where} must be a table, [folders.{name}]")
    values = cast("dict[str, Any]", given)
    unknown = sorted(set(values) - set(KEYS))
    if unknown:
        raise InvalidRequest(f"{where}: unknown key {unknown[0]}; known: {', '.join(KEYS)}")
    path, access, workspaces = values.get("path"), values.get("access", "read_only"), values.get("workspaces")
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidRequest(f"{where}.path must be the absolute path of a directory")
    if access not in ACCESS:
        raise InvalidRequest(f"{where}.access must be {' or '.join(ACCESS)}, not {access!r}")
    return Folder(name, Path(path), access, _workspaces(workspaces, where))


def _workspaces(given: Any, where: str) -> tuple[str, ...] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(one, str) for one in cast("list[Any]", given)):
        raise InvalidRequest(f"{where}.workspaces must be a list of workspace ids")
    return tuple(cast("list[str]", given))


def check_folders(offered: tuple[Folder, ...], data: Path) -> None:
    """On the host that mounts them: each is a directory, and none shows what agents must not see. Raises
    InvalidRequest."""
    for folder in offered:
        real = folder.path.resolve()
        if not real.is_dir():
            raise InvalidRequest(f"folders.{folder.name}.path: {folder.path} is not a directory of this machine.")
        own = data.resolve()
        if real == own or real in own.parents or own in real.parents:
            raise InvalidRequest(
                f"folders.{folder.name}.path: {folder.path} holds the server's data directory, or lies in it."
            )
        if any(real == Path(place) or Path(place) in real.parents for place in KERNEL):
            raise InvalidRequest(
                f"folders.{folder.name}.path: {folder.path} is the machine's own, and can't be mounted."
            )


def offered_here(offered: tuple[Folder, ...]) -> Mapping[str, tuple[str, bool]]:
    """For the sandbox's processes: by name the path, and whether it may be written."""
    return {one.name: (str(one.path.resolve()), one.access == "read_write") for one in offered}
