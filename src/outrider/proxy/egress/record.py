"""The log of what sandboxes asked of the network: one JSON line a request, for operators. No path, no header, no body.

A line is written when the request or the tunnel has ended. Full files are kept under a number; the oldest goes.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from outrider.clock import Clock

FILE = "egress.jsonl"
FILES = 5
LARGEST = 32 * 1024 * 1024


class Entry(msgspec.Struct, omit_defaults=True):
    """`verdict`: `allowed`, `refused` or `failed`; `reason` says why not. Bytes are as the sandbox counts them."""

    session: str
    epoch: int
    workspace: str
    host: str
    port: int
    how: str
    verdict: str
    reason: str = ""
    sent: int = 0
    received: int = 0
    seconds: float = 0.0
    at: str = ""


class Record:
    """Appends to the file in `directory`; without one it keeps nothing."""

    def __init__(self, directory: Path | None, clock: Clock) -> None:
        self._path = None if directory is None else directory / FILE
        self._clock = clock
        self._fd = -1
        self._size = 0

    def note(self, entry: Entry) -> None:
        if self._path is None:
            return
        entry.at = self._clock.now()
        line = msgspec.json.encode(entry) + b"\n"
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
            path.rename(path.with_name(f"{FILE}.1"))
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._size = os.fstat(self._fd).st_size

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
