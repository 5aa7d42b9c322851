"""Hardening of the process that holds secrets; to be done before it reads one."""

from __future__ import annotations

import ctypes
import os
import resource

_PR_SET_DUMPABLE = 4
_PR_GET_DUMPABLE = 3

_libc = ctypes.PyDLL(None, use_errno=True)


def seal() -> None:
    """No core files; without privileges nobody may trace this process or open its memory. Raises OSError."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 or _libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process could not be made undumpable")
    os.umask(0o077)
