"""A real server tree for tests: started as a user would, looked at from outside, gone at the end.

Owns no knowledge of what the processes do. Waits poll, because what they wait for happens in processes of others;
each has a deadline and fails with the server's log.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

DEADLINE = 30.0
ERASE_SECONDS = 10.0
SETTLED_SECONDS = 1.2  # a child that has once lived for a second may die as often as it likes
_PAUSE = 0.01

Found = TypeVar("Found")


class ServerProcess:
    """`command` runs `outrider serve` (or a stand-in) on the data directory; its log goes to a file beside it."""

    def __init__(
        self, command: Sequence[str], data: Path, environment: Mapping[str, str], pass_fds: Sequence[int] = ()
    ) -> None:
        self.data = data
        self._log = data.with_name(f"{data.name}.log")
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
            )

    def said(self) -> str:
        return self._log.read_text()

    def until(self, look: Callable[[], Found | None], what: str, seconds: float = DEADLINE) -> Found:
        """The first answer of `look` that is not None (or False)."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            time.sleep(_PAUSE)
        raise AssertionError(f"not within {seconds} s: {what}\n{self.said()[-4000:]}")

    def facts(self) -> dict[str, Any] | None:
        """What the supervisor of this very process has published, once all its children were started."""
        try:
            found = json.loads((self.data / "server.json").read_text())
        except FileNotFoundError:
            return None
        return found if found["supervisor"] == self.process.pid else None

    def until_up(self) -> str:
        """The server's URL, once it answers there. (It can be connected to earlier: the supervisor listens.)"""
        url: str = self.until(self.facts, "the server is up")["url"]
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"{url}/healthz", timeout=DEADLINE).close()
        return url

    def children(self) -> dict[str, int]:
        """Role to pid."""
        return self.until(self.facts, "the server is up")["children"]

    def until_settled(self) -> None:
        """All children have lived so long that no number of deaths ends the server from now on."""
        self.until(
            lambda: all(_age(pid) > SETTLED_SECONDS for pid in self.children().values()), "the server is settled"
        )

    def until_replaced(self, role: str, pid: int) -> int:
        """The pid of the process that took over `role` from `pid`."""

        def look() -> int | None:
            now = self.children().get(role)
            return now if now != pid else None

        return self.until(look, f"{role} {pid} is replaced")

    def key(self) -> str:
        return (self.data / "api-key").read_text().strip()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal to the supervisor; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


def _age(pid: int) -> float:
    """Seconds since a process was started; 0 when it is gone."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def alive(pid: int) -> bool:
    """Whether the process runs (one that ended but was not waited for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def end_sandboxes(data: Path) -> None:
    """Sandboxes outlive their server for a while; a test's are ended, known by the log that each keeps open."""
    for log in Path("/proc").glob("[0-9]*/fd/2"):
        with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):
            if os.readlink(log).startswith(f"{data}/"):
                os.kill(int(log.parts[2]), signal.SIGKILL)


@contextmanager
def data_directory() -> Generator[Path]:
    """A place that users other than ours may enter, which pytest's own are not."""
    place = Path(tempfile.mkdtemp(prefix="otr"))
    place.chmod(0o711)
    try:
        yield place / "data"
    finally:
        _erase(place)


def _erase(place: Path) -> None:
    """Remove the tree, although a child of the zygote may be ending and still make or remove something there."""
    deadline = time.monotonic() + ERASE_SECONDS
    while place.exists():
        try:
            shutil.rmtree(place)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


@contextmanager
def running_server(
    data: Path,
    *,
    command: Sequence[str] | None = None,
    options: Sequence[str] = ("--port", "0"),
    environment: Mapping[str, str] | None = None,
    faults: socket.socket | None = None,
    keep_sandboxes: bool = False,
) -> Generator[ServerProcess]:
    """`outrider serve` on a free port, or `command`. `environment` is added to ours, less what names a model.

    `faults` is the end of a socket pair at which its processes stand still, see `outrider.faults`. The sandboxes of the
    data directory are ended with it, unless the next server is to find them.
    """
    serve = [sys.executable, "-m", "outrider", "serve", *options, "--data", str(data)]
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
    fds = [] if faults is None else [faults.fileno()]
    held = {"OUTRIDER_FAULTS_FD": str(fds[0])} if fds else {}
    server = ServerProcess(command or serve, data, {**ours, **(environment or {}), **held}, fds)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait(DEADLINE)
        if not keep_sandboxes:
            end_sandboxes(data)
