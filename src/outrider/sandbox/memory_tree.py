"""Files of a mounted memory store, from its host's side: put whole, taken away, and whole trees erased, while the agent
may change all of it. By descriptors from the mount's root downwards, never up and never through a link.

Standard library only; used by the shim.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from outrider.sandbox.outputs import mark

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
DEEPEST = 400
CLOCK_TICK_NS = 20_000_000
"""A file may be changed twice within one tick of the kernel's clock and look the same."""
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def settled_mark(found: os.stat_result, now: int) -> str:
    """Its mark, if the file can't change any more without getting another one; else empty."""
    return mark(found) if found.st_ctime_ns < now - CLOCK_TICK_NS else ""


def opened(at: int, name: str, flags: int) -> int:
    """What an agent has closed to its own user is opened again: for good, unlike `walk.opened`, as its memories are put
    there by name with each call to come."""
    try:
        return os.open(name, flags, dir_fd=at)
    except PermissionError:
        path = os.open(name, _PATH, dir_fd=at)
        try:
            os.chmod(f"/proc/self/fd/{path}", 0o755)
        finally:
            os.close(path)
        return os.open(name, flags, dir_fd=at)


def emptied(at: int, deeper: int = DEEPEST) -> None:
    """Remove everything in the directory. Raises OSError when it is nested too deeply, or is filled meanwhile."""
    os.fchmod(at, 0o755)
    for name in os.listdir(at):
        cleared(at, name, deeper)


def cleared(at: int, name: str, deeper: int = DEEPEST) -> None:
    """Remove what has this name, if there is anything."""
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=at)
            return
        if deeper == 0:
            raise OSError(errno.ELOOP, "directories are nested too deeply")
        below = opened(at, name, DIRECTORY)
        try:
            emptied(below, deeper - 1)
        finally:
            os.close(below)
        os.rmdir(name, dir_fd=at)
    except FileNotFoundError:
        return


class Writer:
    """Puts files whole into the mounts under `root`, making way for them; `drafts` is a directory beside it. Holds the
    directory that it was in last."""

    def __init__(self, root: str, drafts: str) -> None:
        self._root = root
        self._draft = os.path.join(drafts, "draft")
        self._where = ""
        self._at: int | None = None
        self._put: list[tuple[list[str], os.stat_result]] = []

    def close(self) -> None:
        """The marks of what was put are known after this."""
        self._leave()
        now = time.time_ns()
        for held, found in self._put:
            held[0] = settled_mark(found, now)
        self._put.clear()

    def put(self, name: str, path: str, content: bytes, digest: str) -> list[str]:
        """[mark, hash] of the new file."""
        parent, _, last = path.rpartition("/")
        at = self._entered(name, parent)
        file = os.open(self._draft, _NEW, 0o644)
        with open(file, "wb", buffering=0) as stream:
            os.fchmod(file, 0o644)
            written = 0
            while written < len(content):
                written += stream.write(content[written:]) or 0
            self._place(at, _plain(last))
            held = ["", digest]
            self._put.append((held, os.fstat(file)))
        return held

    def _place(self, at: int, name: str) -> None:
        try:
            os.rename(self._draft, name, dst_dir_fd=at)
        except (IsADirectoryError, PermissionError):
            os.fchmod(at, 0o755)
            cleared(at, name)
            os.rename(self._draft, name, dst_dir_fd=at)

    def drop(self, name: str, path: str) -> None:
        """With the directories above it that are empty then."""
        self._leave()
        *folders, last = path.split("/")[1:]
        held = [os.open(os.path.join(self._root, name), DIRECTORY)]
        try:
            for folder in folders:
                held.append(opened(held[-1], _plain(folder), DIRECTORY))
            os.fchmod(held[-1], 0o755)
            cleared(held[-1], _plain(last))
            for at, folder in zip(held[-2::-1], reversed(folders), strict=True):
                os.rmdir(folder, dir_fd=at)
        except OSError:
            return  # it was not there, or there is more in that directory
        finally:
            for at in held:
                os.close(at)

    def _entered(self, name: str, parent: str) -> int:
        where = f"{name}{parent}"
        if self._at is None or self._where != where:
            self._leave()
            self._at, self._where = os.open(os.path.join(self._root, name), DIRECTORY), where
            for folder in parent.split("/")[1:]:
                below = _made(self._at, _plain(folder))
                os.close(self._at)
                self._at = below
        return self._at

    def _leave(self) -> None:
        if self._at is not None:
            os.close(self._at)
            self._at = None


def _made(at: int, name: str) -> int:
    """The directory of this name, in place of whatever else is there."""
    try:
        return opened(at, name, DIRECTORY)
    except OSError:
        cleared(at, name)
        os.mkdir(name, 0o755, dir_fd=at)
        return os.open(name, DIRECTORY, dir_fd=at)


def _plain(name: str) -> str:
    if name in ("", ".", ".."):
        raise ValueError("a path has a segment that is no name")
    return name
