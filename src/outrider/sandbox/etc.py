"""What stands for the host's /etc in sandboxes: one directory for all of them, and one for those that build packages.

Each zygote makes both anew, beside its sockets, and nobody changes them after: living sandboxes have them mounted. They
are held by a lock for as long as that zygote or a shim of it lives; the next zygote removes what nobody holds. Standard
library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Sequence

from outrider.sandbox import launcher

_PREFIX = ".etc-"  # no session's name begins so
COPIED = ("/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/etc/mime.types", "/etc/protocols", "/etc/services")
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


def made(run: str) -> tuple[str, int]:
    """A new pair in the directory `run`, as `launcher` expects it: its path, and the descriptor that holds it, here and
    in forks. Each mount costs, so small files of the host are copied and only directories are mounted over it."""
    _remove_unheld(run)
    place = os.path.join(run, f"{_PREFIX}{time.time_ns():x}")
    before = os.umask(0o022)
    try:
        os.mkdir(place)
        held = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(held, fcntl.LOCK_SH)
        _write(os.path.join(place, launcher.USUAL_ETC), COPIED)
        more = [path for found in FOR_BUILDS for path in _open_to_all(found)]
        _write(os.path.join(place, launcher.BUILD_ETC), (*COPIED, *more))
    finally:
        os.umask(before)
    return place, held


def _remove_unheld(run: str) -> None:
    """The server's user can write there, too: what is no such directory, or can't be removed, is left alone."""
    for name in os.listdir(run):
        if name.startswith(_PREFIX):
            with contextlib.suppress(OSError):
                _remove_if_unheld(os.path.join(run, name))


def _remove_if_unheld(path: str) -> None:
    """Raises OSError."""
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    finally:
        os.close(lock)


def _open_to_all(place: str) -> list[str]:
    """The file there, or the files beneath the directory, that everybody on this machine may read, without apt's
    passwords: what is kept from its users is kept from builds, too."""
    paths = [os.path.join(at, name) for at, _, names in os.walk(place) if "auth.conf" not in at for name in names]
    found = [path for path in (paths or [place]) if "auth.conf" not in os.path.basename(path)]
    return [path for path in found if os.path.isfile(path) and os.stat(path).st_mode & stat.S_IROTH]


def _write(place: str, copied: Sequence[str]) -> None:
    os.mkdir(place)
    for name, text in OWN_FILES.items():
        with open(os.path.join(place, name), "w", encoding="utf-8") as file:
            file.write(text)
    for path in copied:
        if os.path.exists(path):
            os.makedirs(os.path.dirname(f"{place}{path[4:]}"), exist_ok=True)
            shutil.copyfile(path, f"{place}{path[4:]}")
    for path in (*launcher.MOUNTED, launcher.TRUST):
        os.makedirs(f"{place}{path[4:]}", exist_ok=True)
