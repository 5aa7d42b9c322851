"""One bubblewrap sandbox: starts it, knows when it is really ready, ends it.

Promised: it counts as ready only when process 1 runs our own command in a root that is not the host's. Standard
library only; used in the single-threaded shim.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from outrider.sandbox import launcher, linux, process, seccomp

START_DEADLINE = 10.0
_ORDER = (
    ("net", linux.CLONE_NEWNET),
    ("ipc", linux.CLONE_NEWIPC),
    ("uts", linux.CLONE_NEWUTS),
    ("cgroup", linux.CLONE_NEWCGROUP),
    ("pid", linux.CLONE_NEWPID),
    ("mnt", linux.CLONE_NEWNS),
)


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
        return not process.ended(self.monitor_fd, 0) and not process.ended(self.init_fd, 0)

    def end(self) -> None:
        """Kill everything inside and wait until it is gone."""
        for fd in (self.init_fd, self.monitor_fd):
            process.kill(fd)
        process.ended(self.init_fd, 5.0)
        if process.ended(self.monitor_fd, 5.0):
            os.waitpid(self.monitor, 0)
        os.close(self.monitor_fd)
        self.let_go()

    def let_go(self) -> None:
        """Close what holds the inside; the monitor stays."""
        process.close((self.init_fd, self.user, self.owner, *(fd for fd, _ in self.kinds)))


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
            process.kill(pidfd)
            process.ended(pidfd, 5.0)
    except PermissionError:
        return  # the number now belongs to another user's process
    finally:
        os.close(pidfd)


@dataclass(slots=True)
class Launch:
    """A bwrap that was started and is not known to be ready yet."""

    monitor: int
    monitor_fd: int
    info: int
    errors: int
    rules: Rules

    def ready(self) -> Box:
        """Wait until process 1 has exec'd and take hold of the sandbox. Raises Unavailable. Call it once."""
        box: Box | None = None
        try:
            box = _ready(self.monitor, self.monitor_fd, _announced(self.info))
            _hold_back(box, self.rules)
            return box
        except (Unavailable, OSError) as problem:
            said = self._give_up()
            if box is not None:
                box.let_go()
            raise Unavailable(f"{problem}: {said}" if said else str(problem)) from problem
        finally:
            os.close(self.info)
            os.close(self.errors)

    def abandon(self) -> None:
        """End it without waiting for it to be ready: its starter is about to end, and while bwrap changes its
        credentials the kernel forgets that it should die with its parent."""
        self._give_up()
        os.close(self.info)
        os.close(self.errors)

    def _give_up(self) -> str:
        process.kill(self.monitor_fd)
        os.waitpid(self.monitor, 0)
        os.close(self.monitor_fd)
        return os.read(self.errors, 4096).decode(errors="replace").strip() if process.readable(self.errors, 0) else ""


def launch(bwrap: str, etc: str, own: str, sizes: launcher.Sizes, rules: Rules, binds: Sequence[str] = ()) -> Launch:
    """Start bwrap for the session in `own`, with these further mounts; it gets ready meanwhile. Raises Unavailable."""
    words = launcher.command(bwrap, etc, own, sizes, info_fd=3, filter_fd=4, binds=binds)
    fds: list[int] = []
    try:
        fds += os.pipe()
        fds += os.pipe()
        fds.append(_filter(rules))
        monitor, monitor_fd = _started(words, [fds[1], fds[4], fds[3]], rules)
    except OSError as error:
        process.close(fds)
        raise Unavailable(f"bubblewrap could not be started: {error.strerror}") from error
    info, info_writer, errors, errors_writer, filter_fd = fds
    process.close((info_writer, errors_writer, filter_fd))
    return Launch(monitor, monitor_fd, info, errors, rules)


def _filter(rules: Rules) -> int:
    fd = os.memfd_create("filter")
    os.write(fd, seccomp.program(linux.MACHINE, allow_tracing=rules.allow_tracing))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _started(words: list[str], fds: list[int], rules: Rules) -> tuple[int, int]:
    shim = os.getpid()
    monitor = os.fork()
    if monitor == 0:
        _become_bwrap(words, fds, shim, rules)
    return monitor, process.held(monitor)


def _become_bwrap(words: list[str], fds: list[int], shim: int, rules: Rules) -> None:
    try:
        linux.die_with_parent(shim)
        os.setsid()
        process.join(rules.cgroups)
        null = os.open("/dev/null", os.O_RDWR)
        info, filter_fd, errors = fds
        process.lay_out([null, null, errors, info, filter_fd])
        linux.close_from(5)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.execve(words[0], words, {})
    except OSError as error:
        os.write(2, f"{words[0]}: {error}".encode())
    finally:
        os._exit(127)


def _announced(info: int) -> int:
    """The host's number of process 1, from bwrap's info pipe."""
    text = b""
    deadline = time.monotonic() + START_DEADLINE
    while not text.rstrip().endswith(b"}"):
        if not process.readable(info, deadline - time.monotonic()):
            raise Unavailable("bubblewrap said nothing in time")
        chunk = os.read(info, 4096)
        if not chunk:
            raise Unavailable("bubblewrap could not make the sandbox")
        text += chunk
    document: dict[str, Any] = json.loads(text)
    return int(document["child-pid"])


def _ready(monitor: int, monitor_fd: int, init: int) -> Box:
    """Wait for the exec, then take hold of the namespaces; fail closed if they are not the sandbox's own."""
    wanted = (b"\0".join(word.encode() for word in launcher.HOLD), b"/usr/bin/sleep\0infinity")
    deadline = time.monotonic() + START_DEADLINE
    init_fd = -1
    try:
        init_fd = os.pidfd_open(init)
        while not _command_line(init).startswith(wanted):
            if time.monotonic() > deadline:
                raise Unavailable("process 1 did not start in time")
            if process.ended(monitor_fd, 0.0005):
                raise Unavailable("bubblewrap ended early")
        return _held(monitor, monitor_fd, init, init_fd)
    except (OSError, Unavailable) as error:
        if init_fd >= 0:
            os.close(init_fd)
        if isinstance(error, (FileNotFoundError, ProcessLookupError)):
            raise Unavailable("process 1 ended early") from error
        raise


def _command_line(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
        return file.read(4096)


def _held(monitor: int, monitor_fd: int, init: int, init_fd: int) -> Box:
    inside = os.stat(f"/proc/{init}/root/")
    outside = os.stat("/")
    root = (inside.st_dev, inside.st_ino)
    if root == (outside.st_dev, outside.st_ino) or os.path.samestat(
        os.stat(f"/proc/{init}/ns/mnt"), os.stat("/proc/self/ns/mnt")
    ):
        raise Unavailable("the sandbox's root is the host's")
    *kinds, user, owner = _namespaces(init)
    return Box(
        monitor=monitor,
        monitor_fd=monitor_fd,
        init=init,
        init_fd=init_fd,
        root=root,
        user=user,
        owner=owner,
        kinds=[(fd, kind) for fd, (_, kind) in zip(kinds, _ORDER, strict=True)],
    )


def _namespaces(pid: int) -> list[int]:
    """Descriptors of those in `_ORDER`, of its user namespace, and of the one that owns the last in `_ORDER`."""
    fds: list[int] = []
    try:
        for name in (*(name for name, _ in _ORDER), "user"):
            fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            fds.append(fd)
        fds.append(linux.owning_user_namespace(fds[len(_ORDER) - 1]))
    except OSError:
        process.close(fds)
        raise
    return fds


def _hold_back(box: Box, rules: Rules) -> None:
    """Give process 1 the same limits: the agent may write into its memory, so it must be no way around them."""
    for kind, value in [*limits(rules), (resource.RLIMIT_NPROC, rules.processes)]:
        process.lower(kind, value, box.init)


def limits(rules: Rules) -> list[tuple[int, int]]:
    found = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, rules.open_files),
        (resource.RLIMIT_FSIZE, rules.file_bytes),
        (resource.RLIMIT_DATA, rules.data_bytes),
    ]
    return found if rules.cpu_seconds is None else [*found, (resource.RLIMIT_CPU, rules.cpu_seconds)]
