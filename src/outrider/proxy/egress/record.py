"""The log of what sandboxes asked of the network: one JSON line a request, for operators. No path, no header, no body.

A line is written when the request or the tunnel has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from outrider.clock import Clock
from outrider.errors import InvalidRequest, NotFound
from outrider.links.egress import REQUESTS
from outrider.ports.egress import Asked
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

    async def answer(self, what: str, body: bytes) -> bytes:
        """One message of those in `links.egress`. Raises NotFound, InvalidRequest."""
        if what != REQUESTS:
            raise NotFound(f"The vault has no record of {what}.")
        try:
            asked = msgspec.json.decode(body, type=Asked)
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"Not a request for a record: {error}") from error
        found = [] if self._file is None else await asyncio.to_thread(_newest, self._file.paths(), asked)
        return b'{"data":[' + b",".join(reversed(found)) + b"]}"

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _newest(files: Sequence[Path], asked: Asked) -> list[bytes]:
    """Lines of the session, newest first."""
    found: list[bytes] = []
    wanted = asked.session.encode()
    for path in files:
        for line in reversed(path.read_bytes().splitlines()):
            if wanted in line and _is_of(line, asked):
                found.append(line)
                if len(found) == asked.limit:
                    return found
    return found


def _is_of(line: bytes, asked: Asked) -> bool:
    try:
        entry = msgspec.json.decode(line, type=Entry)
    except msgspec.DecodeError:
        return False  # cut short by a crash
    return (entry.session, entry.workspace) == (asked.session, asked.workspace)
