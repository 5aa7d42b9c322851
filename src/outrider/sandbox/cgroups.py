"""Control groups for memory, processes and processor time, where this host lets us have them: version 2 when delegated,
version 1 for root. Everything else is reported as not enforced, with the cause. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
import zlib
from dataclasses import dataclass, field

MOUNT = "/sys/fs/cgroup"
GROUP = "outrider-sandboxes"
ENDING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Found:
    """`places` maps a controller to the directory in which sessions' groups are made; empty when there is none."""

    version: int
    places: dict[str, str] = field(default_factory=dict[str, str])
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Ceilings:
    memory_bytes: int
    processes: int
    cpus: float | None = None


def find(mount: str = MOUNT, memberships: str | None = None, *, root: bool, group: str = GROUP) -> Found:
    """Which controllers can be used, and where. Makes our `group`, of which each server has its own."""
    if memberships is None:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            memberships = file.read()
    try:
        if os.path.exists(os.path.join(mount, "cgroup.controllers")):
            return _second_version(mount, _path_of(memberships, ""), group, root=root)
        return _first_version(mount, memberships, group) if root else Found(0, problem="no delegated cgroup")
    except OSError as error:
        return Found(0, problem=f"no delegated cgroup ({error.strerror})")


def group_name(root: str) -> str:
    """The name of the group of the server whose sandboxes lie in `root`."""
    return f"{GROUP}-{zlib.crc32(root.encode()):08x}"


def discard(found: Found) -> None:
    """Remove the server's own groups, with those that sessions of a killed zygote left behind. A process that is just
    ending holds its group for a moment. Raises OSError for a group that stays in use."""
    deadline = time.monotonic() + ENDING_SECONDS
    for place in set(found.places.values()):
        left = [entry.path for entry in os.scandir(place) if entry.is_dir()]
        for group in (*left, place):
            while not _removed(group, last=time.monotonic() > deadline):
                time.sleep(0.01)


def _removed(place: str, *, last: bool) -> bool:
    try:
        os.rmdir(place)
    except OSError as error:
        if last or error.errno != errno.EBUSY:
            raise
        return False
    return True


def _path_of(memberships: str, controller: str) -> str:
    for line in memberships.splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return "/"


def _second_version(mount: str, path: str, group: str, *, root: bool) -> Found:
    own = os.path.join(mount, path.lstrip("/")).rstrip("/")
    true_root = not os.path.exists(os.path.join(mount, "cgroup.type"))
    home = mount if root and true_root else own
    if not os.access(os.path.join(home, "cgroup.subtree_control"), os.W_OK):
        return Found(0, problem="no delegated cgroup")
    if home != mount or not true_root:
        _move_aside(home)
    _enable(home)
    ours = os.path.join(home, group)
    os.makedirs(ours, exist_ok=True)
    _enable(ours)
    return Found(2, dict.fromkeys(_controllers(ours), ours))


def _move_aside(home: str) -> None:
    """A group with processes of its own can't give controllers to its children: put them into a leaf."""
    leaf = os.path.join(home, "outrider-host")
    os.makedirs(leaf, exist_ok=True)
    with open(os.path.join(home, "cgroup.procs"), encoding="utf-8") as file:
        pids = file.read().split()
    for pid in pids:
        _write(os.path.join(leaf, "cgroup.procs"), pid)


def _controllers(directory: str) -> list[str]:
    with open(os.path.join(directory, "cgroup.controllers"), encoding="utf-8") as found:
        return [name for name in found.read().split() if name in ("memory", "pids", "cpu")]


def _enable(directory: str) -> None:
    wanted = " ".join(f"+{name}" for name in _controllers(directory))
    if wanted:
        _write(os.path.join(directory, "cgroup.subtree_control"), wanted)


def _first_version(mount: str, memberships: str, group: str) -> Found:
    places: dict[str, str] = {}
    for name in ("memory", "pids", "cpu"):
        base = os.path.join(mount, name, _path_of(memberships, name).lstrip("/"))
        if os.access(os.path.join(base, "cgroup.procs"), os.W_OK):
            places[name] = os.path.join(base, group)
            os.makedirs(places[name], exist_ok=True)
    return Found(1, places, "" if "memory" in places else "no memory controller")


def make(found: Found, session: str, uid: int, ceilings: Ceilings) -> tuple[list[str], list[str]]:
    """The session's groups: files to join for its shim (which is never limited), and for all that runs inside."""
    if found.version == 2:
        return _make_second(found, session, uid, ceilings)
    inside: list[str] = []
    for name, place in found.places.items():
        if name == "cpu" and not ceilings.cpus:
            continue  # joining a group that limits nothing would only cost time
        group = os.path.join(place, session)
        os.makedirs(group, exist_ok=True)
        for file, value in _first_ceilings(name, ceilings):
            _write(os.path.join(group, file), value)
        inside.append(os.path.join(group, "cgroup.procs"))
        os.chown(inside[-1], uid, -1)
    return [], inside


def _first_ceilings(controller: str, ceilings: Ceilings) -> list[tuple[str, str]]:
    if controller == "memory":
        return [("memory.limit_in_bytes", str(ceilings.memory_bytes))]
    if controller == "pids":
        return [("pids.max", str(ceilings.processes))]
    return [("cpu.cfs_quota_us", str(int(ceilings.cpus * 100_000)))] if ceilings.cpus else []


def _make_second(found: Found, session: str, uid: int, ceilings: Ceilings) -> tuple[list[str], list[str]]:
    group = os.path.join(next(iter(found.places.values())), session)
    for name in (group, f"{group}/shim", f"{group}/inside"):
        os.makedirs(name, exist_ok=True)
        os.chown(os.path.join(name, "cgroup.procs"), uid, -1)
    _enable(group)
    if "memory" in found.places:
        _write(f"{group}/inside/memory.max", str(ceilings.memory_bytes))
        if os.path.exists(f"{group}/inside/memory.swap.max"):
            _write(f"{group}/inside/memory.swap.max", "0")
    if "pids" in found.places:
        _write(f"{group}/inside/pids.max", str(ceilings.processes))
    if "cpu" in found.places and ceilings.cpus:
        _write(f"{group}/inside/cpu.max", f"{int(ceilings.cpus * 100_000)} 100000")
    return [f"{group}/shim/cgroup.procs"], [f"{group}/inside/cgroup.procs"]


def end_all(found: Found, session: str) -> None:
    """Kill what is left in the groups of a session that has ended: a bubblewrap whose shim died while it started waits
    for ever. What is not gone in time is left to a later try."""
    deadline = time.monotonic() + ENDING_SECONDS
    for place in set(found.places.values()):
        for name in (session, f"{session}/shim", f"{session}/inside"):
            group = os.path.join(place, name)
            while _kill_those_in(group) and time.monotonic() < deadline:
                time.sleep(0.01)


def _kill_those_in(group: str) -> bool:
    """Whether there were any. A number may be another process's by now: only one that is still in the group is hit."""
    members = {pid: fd for pid in _members(group) if (fd := _handle_of(pid)) >= 0}
    still = set(_members(group))
    for pid, fd in members.items():
        if pid in still:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)
    return bool(members)


def _handle_of(pid: int) -> int:
    """-1 for a process that is gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return -1


def _members(group: str) -> list[int]:
    try:
        with open(os.path.join(group, "cgroup.procs"), encoding="ascii") as file:
            return [int(line) for line in file]
    except OSError:  # the group is not there, or holds others' processes only
        return []


def remove(found: Found, session: str) -> None:
    """Remove the session's groups; those that still have processes stay for a later try."""
    for place in set(found.places.values()):
        group = os.path.join(place, session)
        for name in (f"{group}/shim", f"{group}/inside", group):
            try:
                os.rmdir(name)
            except OSError:
                continue


def sweep(found: Found, known: set[str]) -> None:
    """Remove the empty groups of sessions that are not known any more."""
    for place in set(found.places.values()):
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and entry.name not in known]
        for name in names:
            remove(found, name)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
