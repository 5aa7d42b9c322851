"""What the session's user gave it, in the uploads folder, which the sandbox can read but not change.

A list beside the folder says which file a path holds. It is changed after a file is whole in its place, and before one
goes, so it never says what is not so. Files come in pieces, into drafts. Standard library only; used by the shim.
"""

from __future__ import annotations

import json
import os
from typing import Any

from outrider.sandbox import stops
from outrider.sandbox.options import SESSION

DRAFTS = "incoming"
FOLDER = "uploads"
DEEPEST = 32


class Refused(Exception):
    """The request makes no sense, or comes too late; the text says why."""


class Uploads:
    """`own` is the directory that holds all of the session."""

    folder = FOLDER

    def __init__(self, own: str) -> None:
        self._own = own
        self._folder = os.path.join(own, self.folder)
        self._list = os.path.join(own, f"{self.folder}.json")
        self._drafts = os.path.join(own, DRAFTS)
        self._there = self._read()

    def missing(self, wanted: list[list[Any]]) -> list[str]:
        """(path, file, size) each: nothing else stays. The paths of those that are not there whole."""
        there = {path: file for path, file, size in wanted if self._is_there(path, file, size)}
        if there != self._there:
            self._write(there)
        self._keep(there)
        _clear(self._drafts, "", frozenset())
        return [path for path, _, _ in wanted if path not in there]

    def put(self, path: str, file: str, size: int, offset: int, data: bytes) -> None:
        """One piece; the last one puts the file into its place. The same piece may come again."""
        place, draft = self._place(path), os.path.join(self._drafts, _name(file))
        if self._is_there(path, file, size):
            return
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(handle).st_size < offset:
                raise Refused("a piece of this file is missing")
            os.ftruncate(handle, offset)
            _write_all(handle, data, offset)
        finally:
            os.close(handle)
        if offset + len(data) == size:
            stops.point("shim.upload.before")
            self._land(draft, place)
            self._write({**self._there, path: file})
            stops.point("shim.upload.after")

    def _land(self, draft: str, place: str) -> None:
        os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
        os.replace(draft, place)

    def _keep(self, there: dict[str, str]) -> None:
        _clear(self._folder, "", frozenset(there))

    def _is_there(self, path: str, file: str, size: int) -> bool:
        """By its size, too: what was just written can be lost with the machine's power."""
        if self._there.get(path) != file:
            return False
        try:
            return os.stat(self._place(path), follow_symlinks=False).st_size == size
        except OSError:
            return False

    def _place(self, path: str) -> str:
        parts = path.split("/")
        if len(parts) > DEEPEST or any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise Refused("no path beneath this folder")
        return os.path.join(self._folder, *parts)

    def _read(self) -> dict[str, str]:
        try:
            with open(self._list, encoding="utf-8") as file:
                return json.load(file)
        except (FileNotFoundError, ValueError):  # never written whole: then nothing is known to be there
            return {}

    def _write(self, there: dict[str, str]) -> None:
        with open(f"{self._list}.new", "w", encoding="utf-8") as file:
            json.dump(there, file)
        os.replace(f"{self._list}.new", self._list)
        self._there = there


def _name(file: str) -> str:
    if not SESSION.fullmatch(file):
        raise Refused("no id of a file")
    return file


def _write_all(handle: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(handle, left, offset)
        left, offset = left[written:], offset + written


def _clear(root: str, where: str, kept: frozenset[str]) -> bool:
    """Remove what is not kept, and folders with nothing in them; whether anything is left. Nobody else writes here."""
    left = False
    with os.scandir(os.path.join(root, where)) as found:
        entries = list(found)
    for entry in entries:
        path = f"{where}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if _clear(root, f"{path}/", kept):
                left = True
            else:
                os.rmdir(entry.path)
        elif path in kept:
            left = True
        else:
            os.unlink(entry.path)
    return left
