"""The test's side of the points at which processes stand still (`outrider.faults`): lets all go on but the one wanted.

A thread answers them, so that a test waits only for what it is about.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

DEADLINE = 30.0


@dataclass(frozen=True, slots=True)
class Stop:
    """A process that stands at a point. `go` lets it on; one that was killed needs no answer."""

    pid: int
    point: str
    reply: socket.socket

    def go(self) -> None:
        with self.reply, suppress(OSError):
            self.reply.send(b".")


class Stops:
    """`theirs` is the end for the processes. With nothing asked for, nobody stands still for longer than it takes to
    be let go."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._changed = threading.Condition()
        self._wanted = ""
        self._left = 0
        self._found: Stop | None = None
        self._ended = self._given_up = False
        self._held: list[Stop] = []  # or a forgotten one would be let go when it is collected
        self.seen: list[tuple[int, str]] = []
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def __enter__(self) -> Stops:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Everybody goes on, now and at every later point."""
        self.run()
        for stop in self._held:
            stop.go()
        self._ours.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE)
        self._ours.close()
        self.theirs.close()

    def want(self, point: str, times: int = 1) -> None:
        """From now on, hold the process that comes to this point for the nth time."""
        with self._changed:
            self._wanted, self._left, self._given_up = point, times, False

    def run(self) -> None:
        """Hold nobody, and let go whoever is held."""
        with self._changed:
            self._wanted = ""
            found, self._found = self._found, None
        if found is not None:
            found.go()

    def give_up(self) -> None:
        """`run`, and whoever waits in `held` gets None."""
        self.run()
        with self._changed:
            self._given_up = True
            self._changed.notify_all()

    def held(self, seconds: float = DEADLINE) -> Stop | None:
        """The process that stands at the wanted point, once it does: the caller's to let go or to kill. None if none
        came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._found is not None or self._ended or self._given_up, seconds)
            found, self._found = self._found, None
            if found is not None:
                self._held.append(found)
            return found

    def until(self, point: str, times: int = 1, seconds: float = DEADLINE) -> Stop:
        """`want` and `held`; fails when nobody comes."""
        self.want(point, times)
        found = self.held(seconds)
        assert found is not None, f"nobody came to {point} within {seconds} s"
        return found

    def let_on(self, stop: Stop, until: str, seconds: float = DEADLINE) -> None:
        """Let it go on until it has come to another point; fails if it does not. Others may come there, too."""
        there = (stop.pid, until)
        with self._changed:
            before = self.seen.count(there)
            stop.go()
            came = self._changed.wait_for(lambda: self.seen.count(there) > before, seconds)
        assert came, f"{stop.pid} did not come to {until} within {seconds} s"

    def _answer(self) -> None:
        while True:
            data, fds, _, _ = socket.recv_fds(self._ours, 200, 1)
            if not data:
                break
            pid, point = data.decode().split()
            self._take(Stop(int(pid), point, socket.socket(fileno=fds[0])))
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, stop: Stop) -> None:
        with self._changed:
            self.seen.append((stop.pid, stop.point))
            self._changed.notify_all()
            self._left -= stop.point == self._wanted
            if stop.point == self._wanted and self._left == 0 and self._found is None:
                self._found = stop
                return
        stop.go()
