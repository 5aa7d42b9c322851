"""The watch over what a session's directories hold, in this process, with a disk that tells it nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
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


def options(place: Path, watch: float) -> Any:
    return {
        "own": str(place),
        "watch": watch,
        "workspace_bytes": LIMIT,
        "reserve_share": 0.0,
        "reserve_bytes": 0,
    }


def watched_until(seconds: float, place: Path, grow: Any) -> list[str]:
    """What a session's calls are ended for, when it grows after it was first looked at; given up after `seconds`."""
    reactor = Reactor()
    busy = Busy(reactor)
    room.Watch(reactor, options(place, 0.01), busy).begin()
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


class Ticking(Busy):
    """Runs its calls for so many seconds of its own, one for each look outside of a measurement."""

    def __init__(self, reactor: Reactor, seconds: int) -> None:
        super().__init__(reactor)
        self._until = seconds
        self.now = 0.0
        self.counting = False
        self.counted: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def lives(self) -> bool:
        self.now += not self.counting
        self._reactor.running = self.now < self._until
        return True


def test_a_session_that_stays_as_it_is_is_counted_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "kept").write_bytes(b"x" * 8192)
    reactor = Reactor()
    busy = Ticking(reactor, 200)

    class Noted(room.Measurement):
        def __init__(self, reactor: Reactor, own: str, directories: list[str], done: Callable[[str], None]) -> None:
            def ended(said: str) -> None:
                busy.counting = False
                done(said)

            busy.counting = True
            busy.counted.append(busy.now)
            super().__init__(reactor, own, directories, ended)

    monkeypatch.setattr(room, "disk_used", unchanged)
    monkeypatch.setattr(room, "time", busy)
    monkeypatch.setattr(room, "Measurement", Noted)
    room.Watch(reactor, options(tmp_path, 0.001), busy).begin()
    reactor.run()
    assert [later - earlier for earlier, later in pairwise(busy.counted)] == [5, 10, 20, 40, 60, 60]
    assert not busy.reasons
