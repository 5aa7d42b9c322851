"""A session's memory stores as its host sees them: directories that the agent reads and may write, and a record of what
was last settled with the stores: which file stands for which content.

The agent may change all of it at any moment, so every step goes by descriptors and follows no link. Standard library
only; used by the shim.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from outrider.sandbox import launcher, stops
from outrider.sandbox.memory_look import Change, Look
from outrider.sandbox.memory_tree import DIRECTORY, Writer, emptied

PORTION = 2 * 1024 * 1024  # of contents in one answer
NAME = re.compile(r"[a-z0-9-]{1,255}")


class Memory:
    """The mounted stores of the session whose directories lie in `own`, by name of their directory under /mnt/memory.

    `held` has for each file that stands for a stored content its mark, and the content's hash.
    """

    def __init__(self, own: str) -> None:
        self._own = own
        self._root = os.path.join(own, "memory")
        self._record = os.path.join(own, "memory.json")
        self._mounts: dict[str, dict[str, Any]] = {}
        self._changed = False
        self._drafts = 0
        self._load()

    def _load(self) -> None:
        try:
            with open(self._record, encoding="utf-8") as file:
                found = json.load(file)
        except (FileNotFoundError, ValueError):  # never written whole: then nothing is known to be mounted
            return
        if all(self._inode(name) == one["inode"] for name, one in found.items()):
            self._mounts = found

    def _inode(self, name: str) -> int | None:
        try:
            return os.lstat(os.path.join(self._root, name)).st_ino
        except FileNotFoundError:
            return None

    def _save(self) -> None:
        if self._changed:
            with open(f"{self._record}.new", "w", encoding="utf-8") as file:
                json.dump(self._mounts, file)
            os.rename(f"{self._record}.new", self._record)
            self._changed = False

    # -- mounting

    def has(self, mounts: list[list[Any]]) -> bool:
        return [[name, one["writable"]] for name, one in self._mounts.items()] == mounts

    def mount(self, mounts: list[list[Any]]) -> bool:
        """Have these mounts, [name, writable] each; whether they are new, and empty. Raises ValueError."""
        if self.has(mounts):
            return False
        if not all(NAME.fullmatch(name) for name, _ in mounts):
            raise ValueError("a mount has no plain name")
        for place in (self._root, self._drafts_place()):
            os.makedirs(place, mode=0o755, exist_ok=True)
            _empty(place)
        self._mounts = {}
        for name, writable in mounts:
            os.mkdir(os.path.join(self._root, name), 0o755)
            self._mounts[name] = {"inode": self._inode(name), "writable": writable, "held": {}}
        self._changed = True
        self._save()
        return True

    def binds(self) -> list[str]:
        """bwrap's words for them."""
        words: list[str] = []
        for name, one in self._mounts.items():
            kind = "--bind" if one["writable"] else "--ro-bind"
            words += [kind, os.path.join(self._root, name), f"{launcher.MEMORY}/{name}"]
        return words

    def unmount(self, name: str) -> None:
        """Erase what is there of it. The directory stays, empty."""
        if name in self._mounts:
            _empty(os.path.join(self._root, name))
            self._mounts[name]["held"], self._changed = {}, True
            self._save()

    # -- what was changed

    def held(self) -> dict[str, dict[str, str]]:
        """By mount and path, the hash of the content that was settled."""
        return {name: {path: digest for path, (_, digest) in one["held"].items()} for name, one in self._mounts.items()}

    def changes(self, after: list[Any] | None, most: int) -> dict[str, Any]:
        """What is not as it was settled, from behind the position `after`: first what is gone, by mount and path, then
        the rest. Contents have at most `most` bytes."""
        found: list[tuple[list[Any], Change]] = []
        for name, one in self._mounts.items():
            if one["writable"]:
                look = Look(os.path.join(self._root, name), name, one["held"], most)
                found += look.found
                self._changed |= look.renewed
        self._save()
        found.sort(key=lambda item: item[0])
        return _portion([item for item in found if after is None or item[0] > after])

    # -- settling

    def settle(self, steps: list[list[Any]], *, replace: bool) -> None:
        """Each step is [what, mount, path, hash, content]: `keep` notes that the store has this content at the path (or
        nothing: None), whatever the file is by now; `put` makes the file so, `drop` takes away what is there. Without
        `replace` only the notes are taken."""
        writer = Writer(self._root, self._drafts_place())
        try:
            for what, name, path, digest, content in steps:
                held = self._mounts[name]["held"]
                if what == "keep":
                    held.pop(path, None)
                    if digest is not None:
                        held[path] = ["", digest]
                elif replace and what == "put":
                    held[path] = writer.put(name, path, content.encode(), digest)
                elif replace:
                    writer.drop(name, path)
                    held.pop(path, None)
                self._changed = True
        finally:
            writer.close()
            stops.point("shim.settle.before")
            self._save()
            stops.point("shim.settle.after")

    def _drafts_place(self) -> str:
        return os.path.join(self._own, "memory-new")


def _portion(found: list[tuple[list[Any], Change]]) -> dict[str, Any]:
    taken: list[Change] = []
    size = 0
    for position, change in found:
        taken.append(change)
        size += 200 + len(change[3] or "")
        if size > PORTION:
            return {"changes": taken, "after": position if position != found[-1][0] else None}
    return {"changes": taken, "after": None}


def _empty(path: str) -> None:
    at = os.open(path, DIRECTORY)
    try:
        emptied(at)
    finally:
        os.close(at)
