"""What each session may reach, on disk: a vault that was started again knows it before any owner speaks, so that what
still runs in a sandbox goes on. Holds no secret. A line that a crash cut short counts as not written.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import msgspec

from outrider.ports.egress import EgressClaim

FILE = "egress-claims.jsonl"
MOST_SESSIONS = 10_000
MOST_LINES = 4 * MOST_SESSIONS

_decode = msgspec.json.Decoder(EgressClaim).decode


class Claims:
    """The latest claim of each of the sessions that spoke last. One process at a time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._held: dict[str, EgressClaim] = {}
        for line in self._path.read_bytes().splitlines() if self._path.exists() else ():
            try:
                self._hold(_decode(line))
            except msgspec.DecodeError:
                continue
        self._lines = 0
        self._fd = -1
        self._rewrite()

    def all(self) -> list[EgressClaim]:
        return list(self._held.values())

    def note(self, claim: EgressClaim) -> None:
        """Written when it says something new; a later epoch alone does not."""
        before = self._held.get(claim.session)
        self._hold(claim)
        if before is not None and replace(before, epoch=claim.epoch) == claim:
            return
        os.write(self._fd, msgspec.json.encode(claim) + b"\n")
        self._lines += 1
        if self._lines > MOST_LINES:
            self._rewrite()

    def close(self) -> None:
        os.close(self._fd)

    def _hold(self, claim: EgressClaim) -> None:
        self._held.pop(claim.session, None)
        self._held[claim.session] = claim
        if len(self._held) > MOST_SESSIONS:
            del self._held[next(iter(self._held))]

    def _rewrite(self) -> None:
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        for claim in self._held.values():
            os.write(fd, msgspec.json.encode(claim) + b"\n")
        draft.rename(self._path)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._lines = fd, len(self._held)
