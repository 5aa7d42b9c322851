"""The operator's folders that a session's sandbox shows, by name under /mnt/folders. Standard library only; used by the
shim, which was told by the operator's configuration what each name means: who asks can only name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from outrider.sandbox import launcher

Asked = Sequence[Sequence[object]]
"""[name, writable] each."""


class Folders:
    def __init__(self, offered: Mapping[str, Sequence[object]]) -> None:
        self._offered = offered
        self._mounted: list[tuple[str, bool]] = []

    def problem(self, asked: Asked) -> str | None:
        """Why these can't be had here."""
        for name, writable in asked:
            path, may_be_written = self._offered.get(str(name), (None, False))
            if path is None or not os.path.isdir(str(path)):
                return f"This sandbox host has no folder {name}."
            if writable and not may_be_written:
                return f"The folder {name} may only be read."
        return None

    def take(self, asked: Asked) -> bool:
        """Whether these are others than those that a sandbox which was launched before has."""
        wanted = [(str(name), bool(writable)) for name, writable in asked]
        changed, self._mounted = wanted != self._mounted, wanted
        return changed

    def binds(self) -> list[str]:
        """bwrap's words for them."""
        words: list[str] = []
        for name, writable in self._mounted:
            words += ["--bind" if writable else "--ro-bind", str(self._offered[name][0]), f"{launcher.FOLDERS}/{name}"]
        return words
