"""A record of each use of a secret, without its value: one JSON line a use, in a file that only grows.

A line is with the system before the use goes on, so that the vault's own death loses none. Full files are kept under a
number, the oldest of `FILES` goes.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from outrider.clock import Clock

FILE = "audit.jsonl"
FILES = 10
LARGEST = 32 * 1024 * 1024


class Use(msgspec.Struct, omit_defaults=True):
    """Who used what, towards whom, and what came of it. `credential` is an id, or the name of a model's key."""

    credential: str
    upstream: str
    outcome: str
    action: str
    session: str | None = None
    epoch: int | None = None
    workspace: str | None = None
    at: str = ""


class Audit:
    """Appends to the file in `directory`; without one it keeps nothing."""

    def __init__(self, directory: Path | None, clock: Clock) -> None:
        self._path = None if directory is None else directory / FILE
        self._clock = clock
        self._fd = -1
        self._size = 0

    def note(self, use: Use) -> None:
        if self._path is None:
            return
        use.at = self._clock.now()
        line = msgspec.json.encode(use) + b"\n"
        if self._fd < 0 or self._size + len(line) > LARGEST:
            self._turn_over(self._path)
        self._size += os.write(self._fd, line)

    def _turn_over(self, path: Path) -> None:
        if self._fd >= 0:
            self.close()
            for number in range(FILES - 1, 0, -1):
                old = path.with_name(f"{FILE}.{number}")
                if old.exists():
                    old.rename(path.with_name(f"{FILE}.{number + 1}"))
            path.with_name(f"{FILE}.{FILES}").unlink(missing_ok=True)
            path.rename(path.with_name(f"{FILE}.1"))
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._size = os.fstat(self._fd).st_size

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
