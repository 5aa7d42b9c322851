"""How much room is left: the reserve of the data's file system, and what a session's directories hold.

Looks at directories only through descriptors and never follows a link. Standard library only.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable

from outrider.sandbox import linux
from outrider.sandbox.reactor import Reactor

NEARLY_FULL = "the disk that holds the sandboxes is nearly full; free some space on the server, then try again"


def low(path: str, share: float, least: int) -> bool:
    """Whether the file system at `path` has less free than the share of its size, or less than `least` bytes."""
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    return free < least or free < share * found.f_blocks * found.f_frsize


def used(directory: str) -> int:
    """Bytes on disk of everything beneath, each file counted once a name; what can't be read counts as nothing."""
    total = 0
    for _, _, names, at in os.fwalk(directory, follow_symlinks=False, onerror=None):
        for name in names:
            try:
                found = os.stat(name, dir_fd=at, follow_symlinks=False)
            except OSError:
                continue
            total += found.st_blocks * 512 if stat.S_ISREG(found.st_mode) else 0
    return total


class Measurement:
    """Counts in a child process what directories hold, and gives the bytes to `done`; None if that failed."""

    def __init__(self, reactor: Reactor, directories: list[str], done: Callable[[int | None], None]) -> None:
        self._reactor = reactor
        self._done = done
        self._said = b""
        self._pipe, writer = os.pipe()
        shim = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _count(directories, writer, shim)
        os.close(writer)
        reactor.watch(self._pipe, self._collect)

    def _collect(self) -> None:
        chunk = os.read(self._pipe, 64)
        self._said += chunk
        if not chunk:
            self.end()
            self._done(int(self._said) if self._said.isdigit() else None)

    def end(self) -> None:
        self._reactor.forget(self._pipe)
        os.close(self._pipe)
        os.kill(self._pid, signal.SIGKILL)  # our own child, not yet reaped
        os.waitpid(self._pid, 0)


def _count(directories: list[str], writer: int, shim: int) -> None:
    try:
        linux.die_with_parent(shim)
        os.dup2(writer, 3)
        linux.close_from(4)  # above all the session's lock: it must be free as soon as the shim is dead
        total = sum(used(directory) for directory in directories)
        os.write(3, str(total).encode())
    finally:
        os._exit(0)
