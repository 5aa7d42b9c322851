"""What an agent left in its outputs folder, as its host sees it: listed and read by descriptors, no link followed.

The agent may change all of it at any moment, so every step looks again. Standard library only; used by the shim.
"""

from __future__ import annotations

import base64
import os
import stat
from typing import Any

MOST_LISTED = 501  # one more than become files, so that it is seen if there are more
MOST_ENTRIES = 20_000
DEEPEST = 32
PIECE = 1024 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def mark(found: os.stat_result) -> str:
    """Changes whenever the file does: its owner can't set the time of change."""
    return f"{found.st_ino}.{found.st_size}.{found.st_mtime_ns}.{found.st_ctime_ns}"


def listed(root: str) -> tuple[list[list[Any]], bool]:
    """(path, size, mark) of each regular file, sorted by path; of too many, the first ones that were met. And whether
    entries or folders were not looked at, because there are too many or they lie too deep."""
    look = _Look()
    look.into(os.open(root, _DIRECTORY), "", DEEPEST)
    return sorted(look.found), look.cut


class _Look:
    def __init__(self) -> None:
        self.found: list[list[Any]] = []
        self.cut = False
        self._left = MOST_ENTRIES

    def into(self, at: int, where: str, deeper: int) -> None:
        try:
            for name in sorted(os.listdir(at)):
                if len(self.found) >= MOST_LISTED or self._is_over():
                    return
                self._consider(at, f"{where}{name}", name, deeper)
        finally:
            os.close(at)

    def _is_over(self) -> bool:
        self._left -= 1
        self.cut = self.cut or self._left < 0
        return self._left < 0

    def _consider(self, at: int, path: str, name: str, deeper: int) -> None:
        try:
            path.encode()
            entry = os.stat(name, dir_fd=at, follow_symlinks=False)
            if stat.S_ISREG(entry.st_mode):
                self.found.append([path, entry.st_size, mark(entry)])
            elif stat.S_ISDIR(entry.st_mode) and deeper > 0:
                self.into(os.open(name, _DIRECTORY, dir_fd=at), f"{path}/", deeper - 1)
            elif stat.S_ISDIR(entry.st_mode):
                self.cut = True
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
