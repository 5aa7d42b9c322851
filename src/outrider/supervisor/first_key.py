"""The server's first API key: from `OUTRIDER_API_KEY`, else made once and kept in a file of the invoking user's.

Only its SHA-256 leaves this module.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from outrider.errors import InvalidRequest

PREFIX = "outr_"
VARIABLE = "OUTRIDER_API_KEY"
FILE = "api-key"
SHORTEST = 16


def digest(data: Path, environment: Mapping[str, str]) -> str:
    """The SHA-256 (hex) of the first key. Raises InvalidRequest for a key that is too short to be one."""
    key = environment.get(VARIABLE) or _stored(data / FILE)
    if len(key) < SHORTEST:
        raise InvalidRequest(f"The first API key must have at least {SHORTEST} characters ({VARIABLE}, {data / FILE}).")
    return hashlib.sha256(key.encode()).hexdigest()


def _stored(path: Path) -> str:
    """Read the file, or make it; callers hold the data directory's lock, so no two make it at once."""
    if not path.exists():
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(f"{PREFIX}{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    return path.read_text().strip()
