"""Walking over directories that an agent fills and may change at any moment: any depth, no link followed, and what it
closed to its own user is opened for as long as that takes. Run as the files' owner, or as root. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
HELD = 64
"""So many directories on the way down are held by a descriptor each; beneath them the way back is `..`, looked at."""


class Moved(Exception):
    """So deep down a directory was moved while it was walked over: what was beside it can't be found any more."""


class Entry(NamedTuple):
    """`name` in the directory `at`, which is open until the next entry. `above`: the names of the directories on the
    way there; it is the walk's own list. `length`: the bytes of the path that they and the name make."""

    above: list[str]
    length: int
    name: str
    at: int
    status: os.stat_result


@dataclass(slots=True)
class _Level:
    """A directory on the way. `at` is -1 while it is not held; `mode` is what it had, if it was opened up; `length` is
    that of its path, with a slash at the end."""

    at: int
    key: tuple[int, int]
    mode: int | None
    length: int = 0
    folders: list[str] = field(default_factory=list[str])


def opened(at: int | None, name: str, flags: int) -> int:
    """As `os.open`, but never through a link. A file or directory that its owner may not open is opened up for a
    moment."""
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    except PermissionError:
        path = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    try:
        return _opened_up(path, flags)
    finally:
        os.close(path)


def _opened_up(path: int, flags: int) -> int:
    mode, itself = os.fstat(path).st_mode, f"/proc/self/fd/{path}"
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    os.chmod(itself, stat.S_IMODE(mode) | 0o600)
    try:
        return os.open(itself, flags | os.O_CLOEXEC)
    finally:
        os.chmod(itself, stat.S_IMODE(mode))


Closed = Callable[[list[str], OSError], None]
"""Hears of a directory that can't be looked at, by the names of those on the way there and its own: the walk's list."""


@contextlib.contextmanager
def alone(own: str, seconds: float = 0.0) -> Generator[bool]:
    """Keeps other walks away from what is beneath a session's directory `own`: two at once would each take for the
    agent's what modes the other gave. Whether it could, in so many seconds; also where locks can't be had at all."""
    try:
        at = os.open(own, DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # it is gone, or another user's: the walk will tell
        yield True
        return
    try:
        yield _locked(at, time.monotonic() + seconds)
    finally:
        os.close(at)


def _locked(at: int, until: float) -> bool:
    while True:
        try:
            fcntl.flock(at, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
        except OSError:  # shared storage that has none
            return True
        else:
            return True


def _raised(_place: list[str], problem: OSError) -> None:
    raise problem


def walk(top: str, closed: Closed = _raised) -> Generator[Entry]:
    """All that is beneath the directory `top`, each directory before what is in it; what goes meanwhile may be left
    out. Raises OSError and Moved."""
    above: list[str] = []
    levels = [_entered(opened(None, top, DIRECTORY))]
    try:
        yield from _listed(levels[-1], above, closed)
        while levels:
            if not levels[-1].folders:
                _leave(levels)
                del above[-1:]
                continue
            above.append(levels[-1].folders.pop())
            if (below := _below(levels[-1], above, closed)) is None:
                del above[-1:]
                continue
            below.length = levels[-1].length + len(os.fsencode(above[-1])) + 1
            _descend(levels, below)
            yield from _listed(below, above, closed)
    finally:
        while levels:
            with contextlib.suppress(OSError, Moved):
                _leave(levels)


def _below(level: _Level, above: list[str], closed: Closed) -> _Level | None:
    try:
        return _entered(opened(level.at, above[-1], DIRECTORY))
    except OSError as problem:
        if problem.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # gone, or something else by now
            closed(above, problem)
        return None


def _entered(at: int) -> _Level:
    try:
        found = os.fstat(at)
        mode = None
        if not found.st_mode & stat.S_IXUSR and found.st_uid == os.geteuid() != 0:  # what is in it can't be looked at
            os.fchmod(at, stat.S_IMODE(found.st_mode) | stat.S_IXUSR)
            mode = stat.S_IMODE(found.st_mode)
    except OSError:
        os.close(at)
        raise
    return _Level(at, (found.st_dev, found.st_ino), mode)


def _listed(level: _Level, above: list[str], closed: Closed) -> Iterator[Entry]:
    with os.scandir(level.at) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except PermissionError as problem:  # another user's, which tells names only
                return closed(above, problem)
            if stat.S_ISDIR(status.st_mode):
                level.folders.append(entry.name)
            length = level.length + len(os.fsencode(entry.name))
            yield Entry(above, length, entry.name, level.at, status)


def _descend(levels: list[_Level], below: _Level) -> None:
    if len(levels) > HELD:
        os.close(levels[-1].at)
        levels[-1].at = -1
    levels.append(below)


def _leave(levels: list[_Level]) -> None:
    below = levels.pop()
    try:
        if levels and levels[-1].at < 0 <= below.at:
            _find_again(levels[-1], below.at)
    finally:
        _let_go(below)


def _find_again(level: _Level, below: int) -> None:
    at = opened(below, "..", DIRECTORY)
    found = os.fstat(at)
    if (found.st_dev, found.st_ino) != level.key:
        os.close(at)
        raise Moved("a directory was moved while it was looked at")
    level.at = at


def _let_go(level: _Level) -> None:
    if level.at >= 0:
        try:
            if level.mode is not None:
                os.fchmod(level.at, level.mode)
        finally:
            os.close(level.at)
            level.at = -1
