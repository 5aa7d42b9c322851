"""Named points at which tests stop or kill a process. Without an inherited control socket every point is a no-op.

The test passes one end of a socketpair and its number in `OUTRIDER_FAULTS_FD`. At each point the process writes
`<pid> <name>\\n`, then waits for one byte before it goes on; the test may kill it instead. `POINTS` lists them.
"""

from __future__ import annotations

import os
import socket

POINTS: frozenset[str] = frozenset(
    {
        "store.commit.before",
        "store.commit.after",
        "harness.model.before",
        "harness.model.after",
        "harness.tool.before",
        "harness.tool.after",
    }
)

_control: socket.socket | None = None


def connect_from_environment() -> None:
    """Take the control socket over, once, at process start. The variable is removed so that no child inherits it."""
    global _control
    number = os.environ.pop("OUTRIDER_FAULTS_FD", None)
    if number is not None:
        _control = socket.socket(fileno=int(number))


def point(name: str) -> None:
    """Stand still at `name` until the test lets go; does nothing in ordinary runs."""
    if _control is None:
        return
    _control.sendall(f"{os.getpid()} {name}\n".encode())
    _control.recv(1)
