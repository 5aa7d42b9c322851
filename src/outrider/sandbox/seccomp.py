"""The system call filter of the sandbox, as pure functions that make classic BPF for x86_64 and aarch64.

Allows by default: the walls are the namespaces and the missing capabilities; this takes away what they don't cover.
"""

from __future__ import annotations

import errno
import functools
import struct
from dataclasses import dataclass

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
REFUSE = 0x00050000 | errno.EPERM
NOT_THERE = 0x00050000 | errno.ENOSYS
NO_FAMILY = 0x00050000 | errno.EAFNOSUPPORT

# name: (number on x86_64, number on aarch64); None where the architecture has no such call
REFUSED: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "create_module": (174, None),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
TRACING = frozenset({"ptrace", "process_vm_readv", "process_vm_writev"})
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = {"x86_64": 435, "aarch64": 435}
SOCKET = {"x86_64": 41, "aarch64": 198}
IOCTL = {"x86_64": 16, "aarch64": 29}

NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag that fits into clone's first argument
FAMILIES = (1, 2, 10, 16)  # UNIX, INET, INET6, NETLINK
TERMINAL_TRICKS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
X32_BIT = 0x40000000

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15
_AT_LEAST = 0x35
_ANY_BIT = 0x45
_RETURN = 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24  # offsets in struct seccomp_data; both machines little-endian


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction; `then` and `otherwise` say how many instructions to skip."""

    code: int
    value: int
    then: int = 0
    otherwise: int = 0

    def encoded(self) -> bytes:
        return struct.pack("<HBBI", self.code, self.then, self.otherwise, self.value)


def _on(code: int, value: int, verdict: int) -> list[Step]:
    return [Step(code, value, 0, 1), Step(_RETURN, verdict)]


def _section(number: int, offset: int, body: list[Step]) -> list[Step]:
    """`body` for one system call, with the argument at `offset` loaded; falls back to the call number after it."""
    inner = [Step(_LOAD, offset), *body, Step(_RETURN, ALLOW)]
    return [Step(_EQUAL, number, 0, len(inner)), *inner]


def _families() -> list[Step]:
    allowed = [step for family in FAMILIES for step in _on(_EQUAL, family, ALLOW)]
    return [*allowed, Step(_RETURN, NO_FAMILY)]


def steps(machine: str, *, allow_tracing: bool = False) -> list[Step]:
    """The filter for `machine` ("x86_64" or "aarch64"); raises KeyError for any other."""
    column = list(ARCHITECTURES).index(machine)
    program = [
        Step(_LOAD, _ARCHITECTURE),
        Step(_EQUAL, ARCHITECTURES[machine], 1, 0),
        Step(_RETURN, KILL_PROCESS),
        Step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        program += _on(_AT_LEAST, X32_BIT, REFUSE)
    program += _on(_EQUAL, CLONE3[machine], NOT_THERE)  # its flags lie in memory, where a filter can't look
    for name, numbers in REFUSED.items():
        number = numbers[column]
        if number is not None and not (allow_tracing and name in TRACING):
            program += _on(_EQUAL, number, REFUSE)
    program += _section(CLONE[machine], _FIRST, _on(_ANY_BIT, NEW_NAMESPACES, REFUSE))
    program += _section(SOCKET[machine], _FIRST, _families())
    tricks = [step for request in TERMINAL_TRICKS for step in _on(_EQUAL, request, REFUSE)]
    program += _section(IOCTL[machine], _SECOND, tricks)
    return [*program, Step(_RETURN, ALLOW)]


@functools.cache
def program(machine: str, *, allow_tracing: bool = False) -> bytes:
    """The encoded filter, 8 bytes an instruction."""
    return b"".join(step.encoded() for step in steps(machine, allow_tracing=allow_tracing))
