"""Acting as a session's own user: ending its processes and erasing what it holds. Never as root over its files.

Standard library only; called in children of the zygote.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable

from outrider.sandbox import erase, namespaces, state


def become(uid: int, gid: int) -> None:
    """Drop to the session's own user; nothing to do when not root."""
    if os.geteuid() == 0 and uid != 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def done_as(user: tuple[int, int], work: Callable[[], bool]) -> bool:
    """Whether the work succeeded, done in a child that has dropped to the session's own user."""
    pid = os.fork()
    if pid == 0:
        try:
            become(*user)
            os._exit(0 if work() else 1)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def end_living(own: str) -> bool:
    found = state.read(own)
    if found is not None:
        namespaces.end_leftover(found["pid"], found["start"])
        namespaces.end_leftover(found["init"], found["init_start"])
    return True


def erase_all(own: str, lock: int) -> bool:
    """Make an end of a living shim, wait for its lock, then empty the session's directory."""
    end_living(own)
    if not lock_in_time(lock):
        return False
    erase.empty(own)
    return True


def lock_in_time(lock: int) -> bool:
    """The holder is dying or idle in its socket: poll for up to five seconds."""
    for _ in range(500):
        if locked(lock):
            return True
        time.sleep(0.01)
    return False
