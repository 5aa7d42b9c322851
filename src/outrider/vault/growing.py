"""A file of JSON lines that only grows: whole lines, with the system before `note` returns, its owner's alone to read.

A full file is kept under a number (`NAME.1` is the newest); the oldest goes. One writer at a time.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

LARGEST = 32 * 1024 * 1024  # bytes in one file


class GrowingFile:
    """`files`: how many full ones are kept beside the one that grows."""

    def __init__(self, path: Path, files: int) -> None:
        self._path = path
        self._files = files
        self._fd = -1
        self._size = 0

    def note(self, entry: msgspec.Struct) -> None:
        """Raises OSError."""
        line = msgspec.json.encode(entry) + b"\n"
        if self._fd < 0 or self._size + len(line) > LARGEST:
            self._turn_over()
        self._size += os.write(self._fd, line)

    def _turn_over(self) -> None:
        if self._fd >= 0:
            self.close()
            for number in range(self._files - 1, -1, -1):
                old = self._numbered(number)
                if old.exists():
                    old.rename(self._numbered(number + 1))
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def paths(self) -> list[Path]:
        """The files that are there, newest first."""
        return [path for number in range(self._files + 1) if (path := self._numbered(number)).exists()]

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
