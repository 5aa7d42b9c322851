"""How what a build filled becomes a layer, and how layers end: done by the zygote's children, in one step each.

What was built is untrusted: it is tidied as its own user once nothing of the build runs, and only moved as a whole.
Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from outrider.sandbox import ending, erase, stops, walk
from outrider.sandbox.layers import DRAFT, FOLDER, LAYER, place
from outrider.sandbox.options import BUILD

DRAFTS = ".new-"
REMOVED = ".old-"
FAILED = ".failed"
DAY = 86_400.0
HOUR = 3600.0


def is_build_of(session: str, layer: str) -> bool:
    """Whether this sandbox's name is that of the layer's build. Who asks may be a harness that was taken over, and what
    it says becomes a path."""
    return LAYER.fullmatch(layer) is not None and session == f"{BUILD}{layer}"


def missing(root: str, layers: Sequence[str]) -> list[str]:
    """Those that are not there; the others count as used now."""
    return [layer for layer in layers if not _used(root, layer)]


def _used(root: str, layer: str) -> bool:
    if not LAYER.fullmatch(layer):
        raise ValueError(f"{layer!r} is no layer")
    try:
        os.utime(os.path.join(place(root, layer), "used"))
    except FileNotFoundError:
        return False
    return True


def finished(own: str, lock: int) -> bool:
    """As the build's own user: end all that runs of it, then leave of what it made plain files, directories and links,
    which everybody may read and nobody change."""
    ending.end_living(own)
    if not ending.lock_in_time(lock):
        return False
    draft = os.path.join(own, DRAFT)
    at = walk.opened(None, draft, walk.DIRECTORY)
    os.fchmod(at, 0o755)
    os.close(at)
    for entry in walk.walk(draft):
        _tidy(entry)
    return True


def _tidy(entry: walk.Entry) -> None:
    mode = entry.status.st_mode
    if stat.S_ISDIR(mode):
        os.chmod(entry.name, 0o755, dir_fd=entry.at)
    elif stat.S_ISREG(mode):
        os.chmod(entry.name, 0o755 if mode & 0o111 else 0o644, dir_fd=entry.at)
    elif not stat.S_ISLNK(mode):
        os.unlink(entry.name, dir_fd=entry.at)


def sealed(root: str, own: str, layer: str, about: Mapping[str, Any], log: str) -> None:
    """Move what was built and tidied into its place. As root it is nobody's but root's from then on. Of two who built
    the same one stays."""
    draft = os.path.join(root, FOLDER, f"{DRAFTS}{layer}-{os.getpid()}")
    os.makedirs(draft)
    os.chmod(draft, 0o755)  # whatever the umask
    os.rename(os.path.join(own, DRAFT), os.path.join(draft, "tree"))
    if os.geteuid() == 0:
        _give_to_root(os.path.join(draft, "tree"))
    for name, text in (("about.json", json.dumps(about)), ("log", log), ("used", "")):
        with open(os.path.join(draft, name), "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.chmod(file.name, 0o600)
    os.sync()
    stops.point("layer.seal.before")
    try:
        os.rename(draft, place(root, layer))
    except FileExistsError:
        _erase(draft)
    except OSError:
        if not os.path.isdir(place(root, layer)):
            raise
        _erase(draft)
    stops.point("layer.seal.after")
    _unlink(os.path.join(root, FOLDER, f"{layer}{FAILED}"))


def _give_to_root(tree: str) -> None:
    os.chown(tree, 0, 0, follow_symlinks=False)
    for entry in walk.walk(tree):
        os.chown(entry.name, 0, 0, dir_fd=entry.at, follow_symlinks=False)


def buried(root: str, layer: str, log: str) -> None:
    """Keep what a failed build said, for the operator."""
    path = os.path.join(root, FOLDER, f"{layer}{FAILED}")
    new = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(new, "w", encoding="utf-8", errors="replace") as file:
        file.write(log)
    os.rename(f"{path}.new", path)


def collect(root: str, days: float, low: Callable[[], bool]) -> list[str]:
    """Remove layers that were not used for so long and that no sandbox has, and what broken builds left; and while the
    disk is `low`, more layers that no sandbox has, those first that were not used for longest. Returns their names."""
    removed = _collect_old(root, days)
    for layer in _by_use(root) if low() else ():
        if not low():
            break
        if _removed(root, layer):
            removed.append(layer)
    return removed


def _by_use(root: str) -> list[str]:
    """The layers, those first that were not used for longest."""
    now, folder = time.time(), os.path.join(root, FOLDER)
    layers = [name for name in os.listdir(folder) if LAYER.fullmatch(name)]
    return sorted(layers, key=lambda layer: _age(os.path.join(folder, layer, "used"), now), reverse=True)


def _collect_old(root: str, days: float) -> list[str]:
    now, removed = time.time(), list[str]()
    for name in sorted(os.listdir(os.path.join(root, FOLDER))):
        path = os.path.join(root, FOLDER, name)
        if LAYER.fullmatch(name):
            if _age(os.path.join(path, "used"), now) >= days * DAY and _removed(root, name):
                removed.append(name)
        elif name.startswith((DRAFTS, REMOVED)) and _age(path, now) >= HOUR:
            with contextlib.suppress(OSError):  # the next round does it
                _erase(path)
        elif name.endswith((FAILED, f"{FAILED}.new")) and _age(path, now) >= days * DAY:
            _unlink(path)
    return removed


def _age(path: str, now: float) -> float:
    try:
        return now - os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _removed(root: str, layer: str) -> bool:
    """Unless a sandbox has it: then its lock is held."""
    path = place(root, layer)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        away = os.path.join(root, FOLDER, f"{REMOVED}{layer}-{os.getpid()}")
        os.rename(path, away)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    _erase(away)
    return True


def _erase(path: str) -> None:
    erase.empty(path)
    os.rmdir(path)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
