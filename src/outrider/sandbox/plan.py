"""The zygote's options from the server's settings: directories, users, the bwrap to use. For the supervisor."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from outrider.config import Limits
from outrider.sandbox import launcher
from outrider.sandbox.options import ZygoteOptions

HIGH_USERS = 1_900_000_000  # above what distributions give to people, services and containers
HIGH_BLOCKS = 10_000  # so that two servers on one host hardly ever share users
LOW_USERS = 50_000  # for containers that have 65,536 users in all
USERS = 10_000


@dataclass(frozen=True, slots=True)
class Hold:
    """What one sandbox may take. Counts are per sandbox; bytes are bytes."""

    memory_bytes: int = 4 * 1024**3
    processes: int = 512
    open_files: int = 4096
    tmp_bytes: int = 256 * 1024**2
    shm_bytes: int = 64 * 1024**2
    run_bytes: int = 16 * 1024**2
    cpus: float | None = None
    allow_tracing: bool = False


def zygote_options(
    root: Path,
    run: Path,
    limits: Limits,
    *,
    egress: Path | None = None,
    harness_uid: int | None = None,
    strict: bool = False,
    hold: Hold | None = None,
    watch: float = 1.0,
    host: str = "",
    folders: Mapping[str, Sequence[object]] | None = None,
    build_environment: Mapping[str, str] | None = None,
    layer_days: float = 30.0,
) -> ZygoteOptions:
    """Options for `zygote.main` in a child that the calling process is about to fork.

    `root` holds everything durable of the sandboxes, `run` their sockets (a short path); as root, both and all above
    them must be enterable by others. `harness_uid` may speak to zygote and shims (default: the caller's).
    `host` names this one among those that share `root`: each takes other users for the sessions that begin there.
    """
    hold = hold or Hold()
    bwrap, problem = launcher.find()
    return {
        "root": str(root),
        "run": str(run),
        "egress": None if egress is None else str(egress),
        "parent": os.getpid(),
        "harness_uid": os.getuid() if harness_uid is None else harness_uid,
        "uid_base": first_user(Path("/proc/self/uid_map").read_text(), root, host) if os.geteuid() == 0 else None,
        "uid_count": USERS,
        "bwrap": bwrap,
        "bwrap_problem": problem,
        "idle": limits.sandbox_idle,
        "watch": watch,
        "workspace_bytes": limits.workspace_bytes,
        "reserve_share": limits.reserve_share,
        "reserve_bytes": limits.reserve_bytes,
        "memory_bytes": hold.memory_bytes,
        "processes": hold.processes,
        "cpus": hold.cpus,
        "open_files": hold.open_files,
        "sizes": {"tmp": hold.tmp_bytes, "shm": hold.shm_bytes, "run": hold.run_bytes},
        "allow_tracing": hold.allow_tracing,
        "strict": strict,
        "faults": None,
        "folders": folders or {},
        "build_environment": build_environment or {},
        "layer_days": layer_days,
    }


def first_user(uid_map: str, root: Path, host: str = "") -> int | None:
    """Where the users for sandboxes that begin under `root` on `host` start, given /proc/self/uid_map; None if there
    are too few."""
    block = zlib.crc32(bytes(root.absolute()) + host.encode()) % HIGH_BLOCKS
    for base in (HIGH_USERS + block * USERS, LOW_USERS):
        for line in uid_map.splitlines():
            start, _, count = (int(word) for word in line.split())
            if start <= base and base + USERS <= start + count:
                return base
    return None
