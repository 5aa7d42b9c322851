"""Processes of a command's own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def child(main: Callable[[], object]) -> Generator[None]:
    """A fork that runs `main` until SIGTERM, which it gets at the end of the block."""
    pid = os.fork()
    if pid == 0:
        try:
            main()
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
