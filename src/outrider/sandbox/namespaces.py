"""One bubblewrap sandbox: starts it, knows when it is really ready, enters it, ends it.

Promised: nothing enters before process 1 runs our own command inside its own root, and what enters is locked down
before any process inside can see it. Standard library only; used in the single-threaded shim.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from outrider.sandbox import launcher, linux, seccomp

START_DEADLINE = 10.0
ENTER_DEADLINE = 10.0
_ORDER = (
    ("net", linux.CLONE_NEWNET),
    ("ipc", linux.CLONE_NEWIPC),
    ("uts", linux.CLONE_NEWUTS),
    ("cgroup", linux.CLONE_NEWCGROUP),
    ("pid", linux.CLONE_NEWPID),
    ("mnt", linux.CLONE_NEWNS),
)
_HIGH = 200  # file descriptors are parked above this number while 0, 1, 2 ... are laid out


class Unavailable(Exception):
    """The sandbox can't be had; the text names the cause."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What every process inside is held to. `cgroups` are paths of `cgroup.procs` files to join."""

    processes: int
    open_files: int
    file_bytes: int
    data_bytes: int
    allow_tracing: bool = False
    cgroups: tuple[str, ...] = ()
    cpu_seconds: int | None = None


@dataclass(slots=True)
class Box:
    """A running sandbox. `init` is its process 1 as this host numbers it; `root` is device and inode of its `/`."""

    monitor: int
    monitor_fd: int
    init: int
    init_fd: int
    root: tuple[int, int]
    user: int
    owner: int
    kinds: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def alive(self) -> bool:
        return not _ended(self.monitor_fd, 0) and not _ended(self.init_fd, 0)

    def end(self) -> None:
        """Kill everything inside and wait until it is gone."""
        for fd in (self.init_fd, self.monitor_fd):
            _kill(fd)
        _ended(self.init_fd, 5.0)
        if _ended(self.monitor_fd, 5.0):
            os.waitpid(self.monitor, 0)
        for fd in (self.monitor_fd, self.init_fd, self.user, self.owner, *(fd for fd, _ in self.kinds)):
            os.close(fd)


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _ended(pidfd: int, seconds: float) -> bool:
    """Whether the process of a pidfd has ended, or does so within `seconds`."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def start_time(pid: int) -> int | None:
    """When the process began, in clock ticks since boot; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def end_leftover(pid: int, began: int) -> None:
    """Kill a sandbox whose shim died, by its process 1, if `pid` is still that process."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_time(pid) == began:
            _kill(pidfd)
            _ended(pidfd, 5.0)
    except PermissionError:
        return  # the number now belongs to another user's process
    finally:
        os.close(pidfd)


def start(bwrap: str, root: str, own: str, sizes: launcher.Sizes, rules: Rules) -> Box:
    """Start bwrap for the session in `own` and wait until its process 1 has exec'd. Raises Unavailable."""
    info, info_writer = os.pipe()
    errors, errors_writer = os.pipe()
    program = seccomp.program(linux.MACHINE, allow_tracing=rules.allow_tracing)
    filter_fd = os.memfd_create("filter")
    os.write(filter_fd, program)
    os.lseek(filter_fd, 0, os.SEEK_SET)
    words = launcher.command(bwrap, root, own, sizes, info_fd=3, filter_fd=4)
    shim = os.getpid()
    monitor = os.fork()
    if monitor == 0:
        _become_bwrap(words, [info_writer, filter_fd, errors_writer], shim, rules)
    for fd in (info_writer, errors_writer, filter_fd):
        os.close(fd)
    monitor_fd = os.pidfd_open(monitor)
    try:
        box = _ready(monitor, monitor_fd, _announced(info, errors))
        hold_back(box, rules)
        return box
    except Unavailable as problem:
        _kill(monitor_fd)
        os.waitpid(monitor, 0)
        os.close(monitor_fd)
        said = _said(errors)
        raise Unavailable(f"{problem}: {said}" if said else str(problem)) from problem
    finally:
        os.close(info)
        os.close(errors)


def _become_bwrap(words: list[str], fds: list[int], shim: int, rules: Rules) -> None:
    try:
        linux.die_with_parent(shim)
        os.setsid()
        join(rules.cgroups)
        null = os.open("/dev/null", os.O_RDWR)
        info, filter_fd, errors = fds
        lay_out([null, null, errors, info, filter_fd])
        linux.close_from(5)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.execve(words[0], words, {})
    except OSError as error:
        os.write(2, f"{words[0]}: {error}".encode())
    finally:
        os._exit(127)


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


def _announced(info: int, errors: int) -> int:
    """The host's number of process 1, from bwrap's info pipe."""
    text = b""
    deadline = time.monotonic() + START_DEADLINE
    while not text.rstrip().endswith(b"}"):
        if not _readable(info, deadline - time.monotonic()):
            raise Unavailable("bubblewrap said nothing in time")
        chunk = os.read(info, 4096)
        if not chunk:
            raise Unavailable("bubblewrap could not make the sandbox")
        text += chunk
    document: dict[str, Any] = json.loads(text)
    return int(document["child-pid"])


def _readable(fd: int, seconds: float) -> bool:
    return bool(select.select([fd], [], [], max(0.0, seconds))[0])


def _said(errors: int) -> str:
    if not _readable(errors, 0):
        return ""
    return os.read(errors, 4096).decode(errors="replace").strip()


def _ready(monitor: int, monitor_fd: int, init: int) -> Box:
    """Wait for the exec, then take hold of the namespaces; fail closed if they are not the sandbox's own."""
    wanted = (b"\0".join(word.encode() for word in launcher.HOLD), b"/usr/bin/sleep\0infinity")
    deadline = time.monotonic() + START_DEADLINE
    try:
        init_fd = os.pidfd_open(init)
        while not _command_line(init).startswith(wanted):
            if time.monotonic() > deadline:
                raise Unavailable("process 1 did not start in time")
            if _ended(monitor_fd, 0.0005):
                raise Unavailable("bubblewrap ended early")
        return _held(monitor, monitor_fd, init, init_fd)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise Unavailable("process 1 ended early") from error


def _command_line(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
        return file.read(4096)


def _held(monitor: int, monitor_fd: int, init: int, init_fd: int) -> Box:
    inside = os.stat(f"/proc/{init}/root/")
    outside = os.stat("/")
    root = (inside.st_dev, inside.st_ino)
    kinds = [(_namespace(init, name), kind) for name, kind in _ORDER]
    if root == (outside.st_dev, outside.st_ino) or os.path.samestat(
        os.stat(f"/proc/{init}/ns/mnt"), os.stat("/proc/self/ns/mnt")
    ):
        raise Unavailable("the sandbox's root is the host's")
    return Box(
        monitor=monitor,
        monitor_fd=monitor_fd,
        init=init,
        init_fd=init_fd,
        root=root,
        user=_namespace(init, "user"),
        owner=linux.owning_user_namespace(kinds[-1][0]),
        kinds=kinds,
    )


def _namespace(pid: int, name: str) -> int:
    return os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)


def spawn(
    box: Box, rules: Rules, fds: Sequence[int], body: Callable[[], None], *, cpu_seconds: int | None = None
) -> int:
    """Run `body` inside, locked down, with `fds` as 0, 1, 2 ... and nothing else open; its number on this host.

    The new process is this process's own child. Raises Unavailable when it can't enter.
    """
    report, report_writer = os.pipe()
    shim = os.getpid()
    rules = replace(rules, cpu_seconds=cpu_seconds)
    between = os.fork()
    if between == 0:
        _go_inside(box, rules, [*fds, report_writer], shim, body)
    os.close(report_writer)
    try:
        return _reported(report, between)
    finally:
        os.close(report)


def _reported(report: int, between: int) -> int:
    said = b""
    deadline = time.monotonic() + ENTER_DEADLINE
    while _readable(report, deadline - time.monotonic()):
        chunk = os.read(report, 4096)
        if not chunk:
            break
        said += chunk
    else:
        os.kill(between, signal.SIGKILL)  # our child, not yet reaped: the number can't belong to another
    os.waitpid(between, 0)
    if not said.isdigit():
        raise Unavailable(f"could not enter the sandbox: {said.decode(errors='replace') or 'no answer'}")
    return int(said)


def _go_inside(box: Box, rules: Rules, fds: list[int], shim: int, body: Callable[[], None]) -> None:
    """The process between: enters everything, locks itself down, then forks the one that others inside can see."""
    report = len(fds) - 1
    try:
        linux.die_with_parent(shim)
        spaces = [box.owner, *(fd for fd, _ in box.kinds), box.user]
        lay_out([*fds, *spaces])
        linux.close_from(len(fds) + len(spaces))
        join(rules.cgroups)
        _enter(len(fds), [kind for _, kind in box.kinds], box.root)
        linux.close_from(len(fds))
        _lock_down(rules)
        child = linux.fork_for_parent()
        if child == 0:
            _be_inside(report, rules, body)
        os.write(report, str(child).encode())
    except OSError as error:
        os.write(report, str(error).encode())
    finally:
        os._exit(0)


def _enter(first: int, kinds: list[int], root: tuple[int, int]) -> None:
    linux.setns(first, linux.CLONE_NEWUSER)
    for offset, kind in enumerate(kinds, 1):
        linux.setns(first + offset, kind)
    found = os.stat("/")
    if (found.st_dev, found.st_ino) != root:
        raise OSError(0, "the sandbox's root is not the one that was started")
    linux.setns(first + len(kinds) + 1, linux.CLONE_NEWUSER)
    os.chdir(launcher.WORKSPACE)


def _lock_down(rules: Rules) -> None:
    """Everything but the process limit, which would stop this process itself from forking in a full sandbox."""
    for kind, value in limits(rules):
        lower(kind, value)
    os.umask(0o022)
    linux.drop_all_privileges()
    linux.hide_from_peers()
    linux.install_filter(seccomp.program(linux.MACHINE, allow_tracing=rules.allow_tracing))


def hold_back(box: Box, rules: Rules) -> None:
    """Give process 1 the same limits: the agent may write into its memory, so it must be no way around them."""
    for kind, value in [*limits(rules), (resource.RLIMIT_NPROC, rules.processes)]:
        lower(kind, value, box.init)


def limits(rules: Rules) -> list[tuple[int, int]]:
    found = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, rules.open_files),
        (resource.RLIMIT_FSIZE, rules.file_bytes),
        (resource.RLIMIT_DATA, rules.data_bytes),
    ]
    return found if rules.cpu_seconds is None else [*found, (resource.RLIMIT_CPU, rules.cpu_seconds)]


def lower(kind: int, value: int, pid: int = 0) -> None:
    """Set a limit, hard and soft, but never above what is already the hard one."""
    hard = resource.prlimit(pid, kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.prlimit(pid, kind, (value, value))


def _be_inside(report: int, rules: Rules, body: Callable[[], None]) -> None:
    try:
        linux.close_from(report)
        os.setsid()
        lower(resource.RLIMIT_NPROC, rules.processes)
        body()
    finally:
        os._exit(127)


def execute(words: Sequence[str], environment: dict[str, str]) -> None:
    """A `body` that becomes another program, with the signals as a fresh program expects them."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execve(words[0], list(words), environment)
