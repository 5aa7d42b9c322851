"""The points of the zygote and the shims at which tests stop them, as `outrider.faults` has them for the others.

Apart from it because these processes import no part of outrider but their own. Standard library only.
"""

from __future__ import annotations

import os
import socket

_control: socket.socket | None = None


def connect(fd: int | None) -> None:
    """`fd` None, as in every ordinary run: the points do nothing. What was connected before is forgotten, not closed:
    in a fork its number may have become another's."""
    global _control
    if _control is not None:
        _control.detach()
    _control = None if fd is None else socket.socket(fileno=fd)


def point(name: str) -> None:
    if _control is None:
        return
    ours, theirs = socket.socketpair()
    try:
        socket.send_fds(_control, [f"{os.getpid()} {name}".encode()], [theirs.fileno()])
        theirs.close()
        ours.recv(1)
    except OSError:
        pass  # a test that has gone lets everybody go
    finally:
        ours.close()
        theirs.close()
