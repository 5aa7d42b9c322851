"""The few Linux calls that Python's standard library lacks, by ctypes. Owns no policy. Standard library only: it is
loaded by the zygote, which must stay small, and used after a fork, where nothing new may be imported."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct

CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWCGROUP = 0x02000000
CLONE_PARENT = 0x00008000

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_NS_GET_USERNS = 0xB701
_CAPABILITY_VERSION_3 = 0x20080522

_SYS_OPENAT2 = 437
_SYS_CLOSE_RANGE = 436
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}

MACHINE = os.uname().machine

# PyDLL keeps the interpreter lock over the call: a raw clone must not return in the child without it.
_libc = ctypes.PyDLL(None, use_errno=True)


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _prctl(option: int, first: object = 0, second: object = 0) -> int:
    return _libc.prctl(option, first, second, 0, 0)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent thread dies; leave at once if `parent` is no longer the parent."""
    _checked(_prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL)), "prctl(PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ended, so that they are reaped here."""
    _checked(_prctl(_PR_SET_CHILD_SUBREAPER, 1), "prctl(SUBREAPER)")


def hide_from_peers() -> None:
    """No process of the same user may open this one's memory or files through /proc, or trace it."""
    _checked(_prctl(_PR_SET_DUMPABLE, 0), "prctl(DUMPABLE)")


def drop_all_privileges() -> None:
    """Empty every capability set and forbid that an exec gains any."""
    for capability in range(64):
        if _prctl(_PR_CAPBSET_DROP, capability) < 0:
            if ctypes.get_errno() == errno.EINVAL:
                break
            _checked(-1, "prctl(CAPBSET_DROP)")
    _checked(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL), "prctl(CAP_AMBIENT)")
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    _checked(_libc.syscall(_SYS_CAPSET[MACHINE], header, bytes(24)), "capset")
    no_new_privileges()


def no_new_privileges() -> None:
    _checked(_prctl(_PR_SET_NO_NEW_PRIVS, 1), "prctl(NO_NEW_PRIVS)")


def install_filter(program: bytes) -> None:
    """Put a classic BPF program (8 bytes an instruction) before every later system call of this process."""
    wrapped = _FilterProgram(len(program) // 8, program)
    _checked(_prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(wrapped)), "prctl(SECCOMP)")


def setns(fd: int, kind: int) -> None:
    _checked(_libc.setns(fd, kind), "setns")


def owning_user_namespace(fd: int) -> int:
    """A new file descriptor of the user namespace that owns the namespace `fd`."""
    return fcntl.ioctl(fd, _NS_GET_USERNS)


def close_from(first: int) -> None:
    """Close every file descriptor from `first` on."""
    if _libc.syscall(_SYS_CLOSE_RANGE, first, 0xFFFFFFFF, 0) < 0:
        os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def openat2(directory: int, path: str, flags: int, *, mode: int = 0, resolve: int) -> int:
    """Open with rules on how the path may be resolved; the result is close-on-exec."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    encoded = os.fsencode(path)
    result = _libc.syscall(_SYS_OPENAT2, directory, encoded, how, len(how))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def fork_for_parent() -> int:
    """Like fork, but the new process becomes a child of this one's parent. Only for single-threaded processes."""
    flags = CLONE_PARENT | int(signal.SIGCHLD)
    return _checked(_libc.syscall(_SYS_CLONE[MACHINE], flags, 0, 0, 0, 0), "clone")
