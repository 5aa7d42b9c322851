"""A look over a mounted memory store for what is not as it was settled with the store. Standard library only."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import Any

from outrider.sandbox.memory_tree import DIRECTORY, opened, settled_mark
from outrider.sandbox.outputs import mark

MOST_ENTRIES = 20_000
DEEPEST = 32
TOO_MANY = f"it holds more than {MOST_ENTRIES:,} files; nothing of it is kept until there are fewer"
NOT_REGULAR = "only regular files can be kept in memory"
NOT_TEXT = "a memory is UTF-8 text, and this is not"
TOO_DEEP = "it lies too deep"
BAD_NAME = "its name is not UTF-8"
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Change = list[Any]
"""[mount, path, content's hash when it was last settled or None, content or None, problem or None]"""


class Look:
    """One look over a mount; what was found stands in `found`, with its position."""

    def __init__(self, root: str, name: str, held: dict[str, list[str]], most: int) -> None:
        self.found: list[tuple[list[Any], Change]] = []
        self._name = name
        self._held = held
        self._most = most
        self._left = MOST_ENTRIES
        self._seen: set[str] = set()
        self._now = time.time_ns()
        self.renewed = False
        self._directory(os.open(root, DIRECTORY), "", DEEPEST)
        if self._left < 0:  # what was not seen is not gone
            self.found = [([0, name, "/"], [name, "/", None, None, TOO_MANY])]
            return
        for path in held.keys() - self._seen:
            self.found.append(([0, name, path], [name, path, held[path][1], None, None]))

    def _directory(self, at: int, where: str, deeper: int) -> None:
        try:
            with os.scandir(at) as entries:
                for entry in entries:
                    self._left -= 1
                    if self._left < 0:
                        return
                    self._entry(at, entry, f"{where}/{entry.name}", deeper)
        finally:
            os.close(at)

    def _entry(self, at: int, entry: os.DirEntry[str], path: str, deeper: int) -> None:
        try:
            path.encode()
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                self._file(at, entry.name, path, found)
            elif not stat.S_ISDIR(found.st_mode):
                self._problem(path, NOT_REGULAR)
            elif deeper == 0:
                self._problem(path, TOO_DEEP)
            else:
                self._directory(opened(at, entry.name, DIRECTORY), path, deeper - 1)
        except UnicodeEncodeError:
            self._problem(path.encode(errors="backslashreplace").decode(), BAD_NAME)
        except OSError:
            return  # gone by now

    def _file(self, at: int, name: str, path: str, found: os.stat_result) -> None:
        self._seen.add(path)
        known = self._held.get(path)
        if known is not None and known[0] == mark(found):
            return
        if found.st_size > self._most:
            self._problem(path, f"file too large: it has {found.st_size:,} bytes, and a memory at most {self._most:,}")
            return
        file = opened(at, name, _FILE)
        with open(file, "rb", buffering=0) as stream:
            found = os.fstat(file)
            content = stream.read(self._most + 1) or b""
        digest = hashlib.sha256(content).hexdigest()
        if known is not None and known[1] == digest:
            known[0], self.renewed = settled_mark(found, self._now), True
            return
        self._content(path, content, None if known is None else known[1])

    def _content(self, path: str, content: bytes, base: str | None) -> None:
        try:
            self.found.append(([1, self._name, path], [self._name, path, base, content.decode(), None]))
        except UnicodeDecodeError:
            self._problem(path, NOT_TEXT)

    def _problem(self, path: str, problem: str) -> None:
        self._seen.add(path)
        base = self._held[path][1] if path in self._held else None
        self.found.append(([1, self._name, path], [self._name, path, base, None, problem]))
