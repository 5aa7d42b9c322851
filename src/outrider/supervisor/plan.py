"""What the first process hands to the clean one that replaces it: two memory files, one of them secret.

Owns their format. Both are sealed, so that nobody who inherits one can change it.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from outrider.config import Settings
from outrider.endpoints import Endpoints

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@dataclass(frozen=True, slots=True)
class Roles:
    """Where each process begins, as `module:function`, imported in that process alone.

    server(settings, listener, endpoints=, key_digest=), vault(settings, secrets, listener, endpoints=, peer=),
    sandboxes(settings, listener, peers=), async scripted(listener), zygote(control_path, options) with what
    zygote_options(...) made. Where roles stand apart, server
    gets peers=, too, and vault remote= and peers=; where there are any, server gets credentials=.
    """

    server: str = "outrider.server:main"
    vault: str = "outrider.vaultd:main"
    scripted: str = "outrider.models.scripted:serve_on"
    zygote: str = "outrider.sandbox.zygote:main"
    zygote_options: str = "outrider.sandbox.plan:zygote_options"
    sandboxes: str = "outrider.sandboxd:main"


@dataclass(frozen=True, slots=True)
class Users:
    """The uid (and gid) of each role. Not `apart`: all are the invoking user, and none is changed to."""

    apart: bool
    server: int
    vault: int
    scripted: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the clean process needs. Holds no secret; `lock`, `secrets` (the vault's), `credentials` (the
    server's, for its infrastructure) and `peers` (our certificate with its key) are inherited descriptors."""

    settings: Settings
    roles: Roles
    users: Users
    endpoints: Endpoints
    key_digest: str
    zygote_options: Mapping[str, Any]
    path: tuple[str, ...]
    lock: int
    secrets: int
    credentials: int
    peers: int | None = None


def memory_file(name: str, content: bytes) -> int:
    """A sealed anonymous file that survives an exec; its descriptor is the caller's to close."""
    fd = os.memfd_create(name, os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(content)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except OSError:
        os.close(fd)
        raise
    return fd


def read_memory(fd: int) -> bytes:
    """All of a memory file; its position stays, so that every new child finds the same."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def write(plan: Plan) -> int:
    return memory_file("outrider-plan", pickle.dumps(plan))


def read(fd: int) -> Plan:
    """Take the plan over from the process that we were. Whoever may set our descriptors may run code as us anyway."""
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) != SEALS:
        raise ValueError("the plan is not sealed")
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        plan: Plan = pickle.load(file)
    sys.path.extend(entry for entry in plan.path if entry not in sys.path)
    os.set_inheritable(plan.lock, False)
    os.set_inheritable(plan.secrets, False)
    os.set_inheritable(plan.credentials, False)
    if plan.peers is not None:
        os.set_inheritable(plan.peers, False)
    return plan
