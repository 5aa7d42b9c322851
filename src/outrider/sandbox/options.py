"""What the zygote and the shims are told, as plain JSON-like values. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypedDict

from outrider.sandbox.launcher import Sizes

SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What may name a session here: it becomes the name of a directory and of a socket."""

BUILD = "bld-"
"""Begins the names of those in which packages are installed."""


class ZygoteOptions(TypedDict):
    """`uid_base` None: all sandboxes run as the zygote's own user. Bytes are bytes, times are seconds.

    `egress`: the socket of the egress proxy, None for no way out. `faults`: see `stops`.
    `folders`: by name the operator's, as [path, writable]. `build_environment`: what package managers get when they
    install. `layer_days`: for how long a layer of packages stays that nobody uses.
    """

    root: str
    run: str
    egress: str | None
    parent: int
    harness_uid: int
    uid_base: int | None
    uid_count: int
    bwrap: str | None
    bwrap_problem: str
    idle: float
    watch: float
    workspace_bytes: int
    reserve_share: float
    reserve_bytes: int
    memory_bytes: int
    processes: int
    cpus: float | None
    open_files: int
    sizes: Sizes
    allow_tracing: bool
    strict: bool
    faults: int | None
    folders: Mapping[str, Sequence[object]]
    build_environment: Mapping[str, str]
    layer_days: float


class ShimOptions(ZygoteOptions):
    """`own` is the directory that holds all of the session; `cgroups` are joined by what runs inside; `etc`: see
    `etc.made`."""

    session: str
    etc: str
    warm: bool
    own: str
    uid: int
    gid: int
    shim_cgroups: list[str]
    cgroups: list[str]
