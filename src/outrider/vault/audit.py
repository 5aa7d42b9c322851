"""A record of each use of a secret, without its value: one JSON line a use, in a file that only grows.

A line is with the system before the use goes on, so that the vault's own death loses none.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from outrider import faults
from outrider.clock import Clock
from outrider.vault.growing import GrowingFile

FILE = "audit.jsonl"
FILES = 10


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
        self._file = None if directory is None else GrowingFile(directory / FILE, FILES)
        self._clock = clock

    def note(self, use: Use) -> None:
        if self._file is not None:
            use.at = self._clock.now()
            faults.point("vault.audit.before")
            self._file.note(use)
            faults.point("vault.audit.after")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
