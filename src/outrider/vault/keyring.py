"""The secrets that this process was started with. Their values leave it only by `reveal`, and never by repr."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping


class Keyring:
    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = dict(secrets)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(sorted(self._secrets))})"

    def __reduce__(self) -> str:
        raise TypeError("a keyring stays in its process")

    def reveal(self, name: str | None) -> str:
        """The secret called `name`, such as `env:OUTRIDER_MODEL_KEY`; "" for None. Raises KeyError."""
        return "" if name is None else self._secrets[name]

    def get(self, name: str) -> str:
        """The same, and "" for one that was not given."""
        return self._secrets.get(name, "")


def take(fd: int) -> Keyring:
    """Read the keyring from the memory file and close it."""
    with os.fdopen(os.dup(fd), "rb") as file:
        os.close(fd)
        file.seek(0)
        return Keyring(json.load(file))
