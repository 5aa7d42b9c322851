"""What lies in a directory that a server works in: entries may go while it is being looked at."""

from __future__ import annotations

import os
import threading
import time
from fnmatch import fnmatch
from pathlib import Path

from outrider.testing.leaks.disguises import disguises
from outrider.testing.leaks.places import files

SECONDS = 20.0
ERASED = 0.05


def holding(place: Path, *words: str | bytes) -> list[str]:
    """The files there that hold one of the words (ASCII), packed or in another encoding too."""
    known = [word.encode() if isinstance(word, str) else word for word in words]
    sight = files([place], set[bytes]().union(*map(disguises, known)))
    assert sight.looked, f"there is no file in {place}"
    assert sight.blind == [], "not all of it could be read"
    return sight.hits


def until_gone(place: Path, *words: str | bytes) -> None:
    """Waits until no file there holds one of the words. SQLite's log is emptied before a deletion is answered, which
    the store's own tests show; where a reader of the server's needs it in that moment, right after."""
    deadline = time.monotonic() + SECONDS
    while found := holding(place, *words):
        assert time.monotonic() < deadline, found
        threading.Event().wait(ERASED)


def until_there(place: Path) -> None:
    """Waits until something is called so."""
    deadline = time.monotonic() + SECONDS
    while not place.exists():
        assert time.monotonic() < deadline, f"{place} did not come"
        threading.Event().wait(ERASED)


def entries(place: Path, pattern: str) -> list[Path]:
    """Files and directories there, however deep, whose name matches."""
    return [
        Path(root, name)
        for root, folders, names in os.walk(place)
        for name in (*folders, *names)
        if fnmatch(name, pattern)
    ]
