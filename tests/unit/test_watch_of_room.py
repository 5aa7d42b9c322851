"""The watch over what a session's directories hold, in this process, with a disk that tells it nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from outrider.sandbox import room
from outrider.sandbox.reactor import Reactor

LIMIT = 1024**2


class Busy:
    """A sandbox in which calls run until they are ended."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self.reasons: list[str] = []

    def lives(self) -> bool:
        return True

    def busy(self) -> bool:
        return True

    def end_calls(self, reason: str) -> None:
        self.reasons.append(reason)
        self._reactor.running = False

    end_all = end_calls


def unchanged(path: str) -> int:
    """The disk as it looks when others delete as much as this session writes."""
    return 10**9


def watched_until(seconds: float, place: Path, grow: Any) -> list[str]:
    """What a session's calls are ended for, when it grows after it was first looked at; given up after `seconds`."""
    reactor = Reactor()
    busy = Busy(reactor)
    options: Any = {
        "own": str(place),
        "watch": 0.01,
        "workspace_bytes": LIMIT,
        "reserve_share": 0.0,
        "reserve_bytes": 0,
    }
    room.Watch(reactor, options, busy).begin()
    reactor.after(0.1, grow)
    reactor.after(seconds, lambda: setattr(reactor, "running", False))
    reactor.run()
    return busy.reasons


def test_a_session_that_outgrows_its_limit_is_found_though_others_free_as_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workspace").mkdir()
    monkeypatch.setattr(room, "disk_used", unchanged)
    monkeypatch.setattr(room, "UNSEEN_SECONDS", 0.2)
    (reason,) = watched_until(20, tmp_path, lambda: (tmp_path / "workspace" / "big").write_bytes(b"x" * 2 * LIMIT))
    assert "over its limit of 1,048,576" in reason
