"""What an agent left in its outputs folder, as its host sees it: listed and read by descriptors, no link followed.

The agent may change all of it at any moment, so every step looks again. Standard library only; used by the shim.
"""

from __future__ import annotations

import base64
import os
import stat
from typing import Any

MOST_FILES = 501  # one more than become files, so that it is seen if there are more
MOST_ENTRIES = 20_000
DEEPEST = 32
PIECE = 1024 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def mark(found: os.stat_result) -> str:
    """Changes whenever the file does: its owner can't set the time of change."""
    return f"{found.st_ino}.{found.st_size}.{found.st_mtime_ns}.{found.st_ctime_ns}"


def listed(root: str) -> list[list[Any]]:
    """(path, size, mark) of each regular file, sorted by path; of too many, the first ones that were met."""
    found: list[list[Any]] = []
    left = [MOST_ENTRIES]
    _look(os.open(root, _DIRECTORY), "", found, left, DEEPEST)
    return sorted(found)


def _look(at: int, where: str, found: list[list[Any]], left: list[int], deeper: int) -> None:
    try:
        for name in sorted(os.listdir(at)):
            left[0] -= 1
            if left[0] < 0 or len(found) >= MOST_FILES:
                return
            _consider(at, f"{where}{name}", name, found, left, deeper)
    finally:
        os.close(at)


def _consider(at: int, path: str, name: str, found: list[list[Any]], left: list[int], deeper: int) -> None:
    try:
        path.encode()
        entry = os.stat(name, dir_fd=at, follow_symlinks=False)
        if stat.S_ISREG(entry.st_mode):
            found.append([path, entry.st_size, mark(entry)])
        elif stat.S_ISDIR(entry.st_mode) and deeper > 0:
            _look(os.open(name, _DIRECTORY, dir_fd=at), f"{path}/", found, left, deeper - 1)
    except (OSError, UnicodeEncodeError):
        return  # gone by now, closed to us, or a name that is no text


def piece(root: str, path: str, expected: str, offset: int) -> dict[str, Any]:
    """Up to PIECE bytes from there on, in base64; `changed` when it is not the file that was listed any more."""
    *folders, name = path.split("/")
    at = os.open(root, _DIRECTORY)
    try:
        for folder in folders:
            below = os.open(_plain(folder), _DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        file = os.open(_plain(name), _FILE, dir_fd=at)
    except OSError:
        return {"changed": True}
    finally:
        os.close(at)
    try:
        return _read(file, expected, offset)
    finally:
        os.close(file)


def _plain(name: str) -> str:
    if name in ("", ".", ".."):
        raise OSError("no name of a file")
    return name


def _read(file: int, expected: str, offset: int) -> dict[str, Any]:
    if not stat.S_ISREG(os.fstat(file).st_mode) or mark(os.fstat(file)) != expected:
        return {"changed": True}
    data = os.pread(file, PIECE, offset)
    if mark(os.fstat(file)) != expected:
        return {"changed": True}
    return {"data": base64.b64encode(data).decode()}
