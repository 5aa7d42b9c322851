"""Erasing a directory tree that an agent filled: no link is followed, any depth and any mode. Standard library only."""

from __future__ import annotations

import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def empty(path: str) -> None:
    """Remove everything in the directory `path`, which itself must not be a link. Run as the files' owner.

    Holds one descriptor whatever the depth: it goes down by name and up by `..`, so nothing may move the tree
    meanwhile.
    """
    at = os.open(path, _DIRECTORY)
    names: list[str] = []
    try:
        while True:
            below = _clear_files(at)
            if below is not None:
                at = _step(at, below)
                names.append(below)
            elif names:
                at = _step(at, "..")
                os.rmdir(names.pop(), dir_fd=at)
            else:
                return
    finally:
        os.close(at)


def _step(at: int, name: str) -> int:
    following = os.open(name, _DIRECTORY, dir_fd=at)
    os.close(at)
    return following


def _clear_files(at: int) -> str | None:
    """Unlink what is not a directory; the name of one that is, now readable, or None."""
    os.fchmod(at, 0o700)
    for name in os.listdir(at):
        if stat.S_ISDIR(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            os.chmod(name, 0o700, dir_fd=at)
            return name
        os.unlink(name, dir_fd=at)
    return None
