"""The log of what sandboxes asked of the network: one JSON line a request, for operators. No path, no header, no body.

A line is written when the request or the tunnel has ended.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from outrider.clock import Clock
from outrider.vault.growing import GrowingFile

FILE = "egress.jsonl"
FILES = 5


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
        self._file = None if directory is None else GrowingFile(directory / FILE, FILES)
        self._clock = clock

    def note(self, entry: Entry) -> None:
        if self._file is not None:
            entry.at = self._clock.now()
            self._file.note(entry)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
