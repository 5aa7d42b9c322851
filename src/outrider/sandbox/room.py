"""How much room is left: the reserve of the data's file system, and what a session's directories hold.

Looks at directories only through descriptors and never follows a link. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Protocol

from outrider.sandbox import linux, process, walk
from outrider.sandbox.options import ShimOptions
from outrider.sandbox.reactor import Reactor

GROWING = ("workspace", "outputs", "memory", "layer")
"""What an agent can fill, of the directories that a session may have."""
UNSEEN_SECONDS = 5.0
"""What others free on the same disk hides for so long what a session with running calls writes."""
UNSEEN_FACTOR = 60  # how much longer where no call runs
UNSEEN_MOST = 12  # how much longer at most where calls run and nothing grows: it doubles with each look
IDLE_FACTOR = 5  # how much less often a sandbox without running calls is looked at
UNCOUNTABLE = "?"
LATER = "later"
TRIES = 2
TANGLED = "can't be measured, because directories in it are moved about or closed while they are looked at"
NEARLY_FULL = "the disk that holds the sandboxes is nearly full; free some space on the server, then try again"


def low(path: str, share: float, least: int) -> bool:
    """Whether the file system at `path` has less free than the share of its size, or less than `least` bytes."""
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    return free < least or free < share * found.f_blocks * found.f_frsize


def used(directory: str) -> int:
    """Bytes on disk of everything beneath, each file counted once a name. Raises as `walk.walk`."""
    return sum(entry.status.st_blocks * 512 for entry in walk.walk(directory))


class Watched(Protocol):
    """The sandbox as the watch sees it."""

    def lives(self) -> bool: ...
    def busy(self) -> bool: ...

    def end_calls(self, reason: str) -> None: ...
    def end_all(self, reason: str) -> None: ...


class Watch:
    """While a sandbox lives, keeps the disk's reserve and the session's limit: ends what would go on past them.

    A session over its limit may still work, as long as it does not grow: deleting must be possible.
    """

    def __init__(self, reactor: Reactor, options: ShimOptions, watched: Watched) -> None:
        self._reactor = reactor
        self._options = options
        self._watched = watched
        self._on = False
        self._measurement: Measurement | None = None
        self._measured = 0
        self._unseen = 1  # how many times UNSEEN_SECONDS
        self._next_measurement = self._measured_at = 0.0
        self._disk_then = 0

    def begin(self) -> None:
        """Look now and then until the sandbox has ended."""
        if not self._on:
            self._on = True
            self._reactor.after(self._options["watch"], self._look)

    def _look(self) -> None:
        if not self._watched.lives():
            self._on = False
            return
        options = self._options
        if low(options["own"], options["reserve_share"], options["reserve_bytes"]):
            self._watched.end_all(f"stopped: {NEARLY_FULL}")
        elif self._measurement is None and time.monotonic() >= self._next_measurement and self._may_have_grown():
            self._measure()
        self._reactor.after(options["watch"] * (1 if self._watched.busy() else IDLE_FACTOR), self._look)

    def _may_have_grown(self) -> bool:
        """The disk as a whole is cheap to ask: unless others freed some, the session can't have grown more."""
        limit = self._options["workspace_bytes"]
        unseen = self._unseen if self._watched.busy() else UNSEEN_FACTOR
        if time.monotonic() >= self._measured_at + UNSEEN_SECONDS * unseen:
            return True
        return self._measured > limit or disk_used(self._options["own"]) - self._disk_then > limit // 64

    def _measure(self) -> None:
        own = self._options["own"]
        places = [place for name in GROWING if os.path.isdir(place := os.path.join(own, name))]
        began, disk = time.monotonic(), disk_used(own)

        def done(said: str) -> None:
            # At most a twentieth of one core goes into counting.
            self._next_measurement = time.monotonic() + 20 * (time.monotonic() - began)
            self._measurement = None
            if said == UNCOUNTABLE or said.isdigit():
                self._disk_then, self._measured_at = disk, began
                self._judge(None if said == UNCOUNTABLE else int(said))

        try:
            self._measurement = Measurement(self._reactor, own, places, done)
        except OSError:
            return  # out of processes or descriptors: the next look does it

    def _judge(self, total: int | None) -> None:
        """None: it can't be counted, which is the agent's own doing, so it may be anything."""
        limit, before = self._options["workspace_bytes"], self._measured
        self._measured = limit + 1 if total is None else total
        self._unseen = min(2 * self._unseen, UNSEEN_MOST) if self._watched.busy() and self._measured == before else 1
        if total is not None and total <= max(limit, before if before > limit else 0):
            return
        holds = TANGLED if total is None else f"holds {total:,} bytes, over its limit of {limit:,}; delete some files"
        reason = f"stopped: the workspace {holds}"
        if self._watched.busy():
            self._watched.end_calls(reason)
        else:
            self._watched.end_all(reason)  # what grows was left in the background


def disk_used(path: str) -> int:
    found = os.statvfs(path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


class Measurement:
    """Counts in a child process what directories in `own` hold, and gives the bytes in digits to `done`; UNCOUNTABLE if
    they are why that failed, something else if anything else is. Raises OSError when there can be no child."""

    def __init__(self, reactor: Reactor, own: str, directories: list[str], done: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._done = done
        self._said = b""
        self._pipe, writer = os.pipe()
        shim = os.getpid()
        self._pid = process.forked((self._pipe, writer))
        if self._pid == 0:
            _count(own, directories, writer, shim)
        os.close(writer)
        reactor.watch(self._pipe, self._collect)

    def _collect(self) -> None:
        chunk = os.read(self._pipe, 64)
        self._said += chunk
        if not chunk:
            self.end()
            self._done(self._said.decode(errors="replace"))

    def end(self) -> None:
        self._reactor.forget(self._pipe)
        os.close(self._pipe)
        os.kill(self._pid, signal.SIGKILL)  # our own child, not yet reaped
        os.waitpid(self._pid, 0)


def _count(own: str, directories: list[str], writer: int, shim: int) -> None:
    try:
        linux.die_with_parent(shim)
        os.dup2(writer, 3)
        linux.close_from(4)  # above all the session's lock: it must be free as soon as the shim is dead
        os.write(3, counted(own, directories).encode())
    finally:
        os._exit(0)


def counted(own: str, directories: list[str]) -> str:
    """LATER while a backup reads them. What changes is looked at once more: it need not be the agent's purpose."""
    with walk.alone(own) as alone:
        if not alone:
            return LATER
        for _ in range(TRIES):
            with contextlib.suppress(walk.Moved, PermissionError):
                return str(sum(used(directory) for directory in directories))
    return UNCOUNTABLE
