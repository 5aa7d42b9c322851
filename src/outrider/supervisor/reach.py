"""Lets a child read our code although its user may not enter every directory on the way there, such as /root.

In a mount namespace of its own the child sees, in place of each closed directory, an empty one with only the code in
it. Not promised: it takes a right (CAP_SYS_ADMIN) that containers often lack; then what was not imported before the
change of user can't be.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from outrider.supervisor.log import say
from outrider.supervisor.places import may_enter

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18

_libc = ctypes.PyDLL(None, use_errno=True)


def open_code_to(uid: int) -> None:
    """Call it as root, in the child, before it changes its user."""
    wanted = {Path(entry).resolve() for entry in (*sys.path, sys.prefix, sys.base_prefix) if os.path.isdir(entry)}
    found = {path: first_closed(path, uid) for path in wanted if may_enter(path.stat(), uid)}  # else it is of no use
    closed = {path: gate for path, gate in found.items() if gate is not None}
    if not closed:
        return
    try:
        _checked(_libc.unshare(_CLONE_NEWNS), "unshare")
        _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
        for gate in set(closed.values()):
            _stand_in(gate, [path for path, at in closed.items() if at == gate])
    except OSError as error:
        say("code-out-of-reach", user=uid, places=", ".join(map(str, closed)), reason=error)


def first_closed(path: Path, uid: int) -> Path | None:
    """The first directory on the way to `path`, itself included, that user `uid` can't enter."""
    way = [*reversed(path.parents), path]
    return next((directory for directory in way if not may_enter(directory.stat(), uid)), None)


def _stand_in(gate: Path, kept: Iterable[Path]) -> None:
    """Put a tmpfs over `gate` with nothing but `kept` in it. Opened beforehand, they stay reachable beneath it."""
    fds = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in sorted(kept)}
    try:
        _mount("tmpfs", str(gate), "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=64k")
        for path, fd in fds.items():
            if not path.exists():  # else it lies in one that is in place already
                _make_way(path)
                _mount(f"/proc/self/fd/{fd}", str(path), None, _MS_BIND | _MS_REC)
    finally:
        for fd in fds.values():
            os.close(fd)


def _make_way(path: Path) -> None:
    for directory in (*reversed(path.parents), path):
        if not directory.exists():
            directory.mkdir()
            directory.chmod(0o755)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
    _checked(_libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), f"mount on {target}")


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
