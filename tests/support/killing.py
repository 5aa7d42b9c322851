"""Kills whoever comes to a point while something goes on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager

from outrider.testing.stops import Stops

JOIN_SECONDS = 30.0


@contextmanager
def killed_at(stops: Stops, point: str, seconds: float = 60.0) -> Generator[None]:
    """The first process that comes to it within these seconds; it fails at the block's end if none did."""
    killed: list[int] = []

    def kill() -> None:
        stop = stops.held(seconds)
        if stop is not None:
            killed.append(stop.pid)
            os.kill(stop.pid, signal.SIGKILL)
            stop.go()

    stops.want(point)
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    yield
    stops.give_up()
    killer.join(JOIN_SECONDS)
    assert killed, f"nobody came to {point}"
