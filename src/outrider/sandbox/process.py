"""Small steps around fork and exec: laying out descriptors, joining groups, lowering limits, waiting on pidfds.

Standard library only; used after a fork, so nothing here imports at run time.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
from collections.abc import Iterable, Sequence

_HIGH = 200  # file descriptors are parked above this number while 0, 1, 2 ... are laid out


def lay_out(fds: Sequence[int]) -> None:
    """Make the given descriptors 0, 1, 2 ..., inheritable. Those from `_HIGH` on are free for use meanwhile."""
    parked = [_duplicate(fd) for fd in fds]
    for target, fd in enumerate(parked):
        os.dup2(fd, target)


def _duplicate(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)


def join(cgroups: tuple[str, ...]) -> None:
    """Move the calling process into the given control groups."""
    for path in cgroups:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, b"0")
        os.close(fd)


def forked(fds: Sequence[int]) -> int:
    """As `os.fork`; these descriptors are closed if there can be no process. Raises OSError."""
    try:
        return os.fork()
    except OSError:
        close(fds)
        raise


def held(child: int) -> int:
    """A pidfd of our own child, which is killed and reaped if there can be none. Raises OSError."""
    try:
        return os.pidfd_open(child)
    except OSError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise


def close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def readable(fd: int, seconds: float) -> bool:
    """Whether there is something to read, or the end, within `seconds`."""
    return _polled(fd, max(0.0, seconds))


def kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass


def ended(pidfd: int, seconds: float) -> bool:
    """Whether the process of a pidfd has ended, or does so within `seconds`."""
    return _polled(pidfd, seconds)


def _polled(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def lower(kind: int, value: int, pid: int = 0) -> None:
    """Set a limit, hard and soft, but never above what is already the hard one."""
    hard = resource.prlimit(pid, kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.prlimit(pid, kind, (value, value))
