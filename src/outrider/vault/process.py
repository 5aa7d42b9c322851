"""Hardening of the process that holds secrets; to be done before it reads one."""

from __future__ import annotations

import ctypes
import os
import resource

_PR_SET_DUMPABLE = 4
_PR_GET_DUMPABLE = 3
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4

_libc = ctypes.PyDLL(None, use_errno=True)


def seal() -> bool:
    """No core files; without privileges nobody may trace this process or open its memory. Raises OSError.

    True when its memory is kept out of swap as well.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 or _libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process could not be made undumpable")
    os.umask(0o077)
    return lock_memory()


def lock_memory() -> bool:
    """Keep this process's memory, present and to come, out of swap. Only where nothing limits how much may be locked:
    under a limit a later request for memory would fail, which is worse."""
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    return unlimited and _libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0
