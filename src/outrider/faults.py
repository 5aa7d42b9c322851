"""Named points at which tests stop, freeze or kill a process. Without an inherited control socket each is a no-op.

The test passes one end of a `SOCK_SEQPACKET` pair and its number in `OUTRIDER_FAULTS_FD`. At a point a process sends
`<pid> <name>` with one end of a new socket pair, and stands still until a byte (or the end) comes on it. `POINTS` lists
the points of all processes; those of the zygote and the shims are in `sandbox/stops.py`, which speaks the same way.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

VARIABLE = "OUTRIDER_FAULTS_FD"
PLACES: frozenset[str] = frozenset(
    {
        "store.commit",
        "harness.claim",
        "harness.release",
        "harness.snapshot",
        "harness.model",
        "harness.tool",
        "harness.interrupt",
        "harness.mcp",
        "harness.bury",
        "api.take",
        "api.delete",
        "api.token",
        "api.webhook",
        "harness.repository",
        "harness.checkout",
        "harness.upload",
        "harness.equip",
        "shim.upload",
        "resource.add",
        "resource.drop",
        "vault.mirror",
        "vault.mint",
        "vault.epoch",
        "vault.declare",
        "vault.put",
        "vault.purge",
        "vault.tell",
        "vault.forget",
        "vault.audit",
        "vault.refresh",
        "vault.probe",
        "vault.webhook",
        "webhook.fan_out",
        "webhook.send",
        "webhook.settle",
        "vault.forward",
        "vault.mcp",
        "zygote.start",
        "zygote.delete",
        "layer.seal",
        "shim.start",
        "shim.exec",
        "shim.result",
        "supervisor.fork",
        "blob.put",
        "cold.put",
        "file.put",
        "file.add",
        "file.delete",
        "skill.put",
        "skill.add",
        "skill.delete",
        "output.put",
        "output.add",
        "memory.mount",
        "memory.write",
        "memory.settle",
        "shim.settle",
        "run.add",
        "run.fire",
        "run.end",
        "dream.add",
        "dream.begin",
        "dream.put",
        "dream.decide",
        "dream.close",
        "dream.settle",
        "cold.freeze",
        "cold.thaw",
        "workspace.mark",
        "workspace.session",
        "workspace.bytes",
        "workspace.rows",
        "work.enlist",
        "work.claim",
        "work.ack",
        "work.beat",
        "work.stop",
        "work.lapse",
    }
)
"""What is done there: a durable write, or a call of something outside the process."""

POINTS: frozenset[str] = frozenset(f"{place}.{when}" for place in PLACES for when in ("before", "after"))

_control: socket.socket | None = None


def connect_from_environment() -> None:
    """Take the control socket over, once, at process start. The variable is removed; forked children inherit the
    socket as long as they keep its descriptor."""
    global _control
    number = os.environ.pop(VARIABLE, None)
    if number is not None:
        _control = socket.socket(fileno=int(number))


def descriptor() -> int | None:
    """What a child must keep in order to have the points too; None in ordinary runs."""
    return None if _control is None else _control.fileno()


def point(name: str) -> None:
    """Stand still at `name` until the test lets go; does nothing in ordinary runs."""
    if _control is None:
        return
    ours, theirs = socket.socketpair()
    with ours, suppress(OSError):  # a test that has gone lets everybody go
        with theirs:
            socket.send_fds(_control, [f"{os.getpid()} {name}".encode()], [theirs.fileno()])
        ours.recv(1)
