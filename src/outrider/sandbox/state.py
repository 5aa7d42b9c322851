"""Which processes a session has on this host, kept beside its journal so that whoever comes later can end them.

A number alone is never trusted: it counts only with the process's start time and this boot's id. Standard library only.
"""

from __future__ import annotations

import json
import os
from typing import Any

from outrider.sandbox import namespaces


def write(own: str, session: str, init: int) -> None:
    """Note this process as the shim and `init` as the sandbox's process 1."""
    document = {
        "session": session,
        "boot": boot_id(),
        "uid": os.getuid(),
        "pid": os.getpid(),
        "start": namespaces.start_time(os.getpid()),
        "init": init,
        "init_start": namespaces.start_time(init),
    }
    path = os.path.join(own, "state.json")
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.rename(f"{path}.new", path)


def read(own: str) -> dict[str, Any] | None:
    """The last note, if it was written whole since this host started."""
    try:
        with open(os.path.join(own, "state.json"), encoding="utf-8") as file:
            found: dict[str, Any] = json.load(file)
    except (FileNotFoundError, ValueError):  # torn by a power cut, which its processes did not outlive
        return None
    return found if found["boot"] == boot_id() else None


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()
