"""Small stand-ins for the server's roles, so that the process tree can be tried by itself; and how to start it so."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

from outrider import faults
from outrider.config import Settings
from outrider.endpoints import Endpoints

PROGRAM = """
import os, sys
from pathlib import Path
from outrider import config, supervisor
sys.path.extend(sys.argv[2].split(os.pathsep))
parts = "supervisor_parts"
roles = supervisor.Roles(server=f"{parts}:{sys.argv[3]}", scripted=f"{parts}:scripted")
environment = dict(os.environ)
sys.exit(supervisor.run(config.load(environment, data=Path(sys.argv[1]), port=0), environment, roles))
"""


def command(data: Path, server: str = "server", *paths: Path) -> list[str]:
    """Starts the tree with the stand-in called `server`; vault and zygote are the real ones. `paths`: more code."""
    search = os.pathsep.join(map(str, (Path(__file__).parent, *paths)))
    return [sys.executable, "-c", PROGRAM, str(data), search, server]


def server(settings: Settings, listener: socket.socket, *, endpoints: Endpoints, key_digest: str) -> None:
    """Answers each request with its pid, user, the digest of the first key, and the environment's names."""
    del settings, endpoints
    words = [os.getpid(), os.getuid(), key_digest, threading.active_count(), *sorted(os.environ)]
    _answer(listener, " ".join(str(word) for word in words))


def lasting_server(settings: Settings, listener: socket.socket, *, endpoints: Endpoints, key_digest: str) -> None:
    """Takes no notice of SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server(settings, listener, endpoints=endpoints, key_digest=key_digest)


def draining_server(settings: Settings, listener: socket.socket, *, endpoints: Endpoints, key_digest: str) -> None:
    """On SIGTERM checks that the vault still answers, says so in a file, and ends."""
    del endpoints, key_digest

    def drain(_: int, __: FrameType | None) -> None:
        with socket.socket(socket.AF_UNIX) as vault:
            vault.connect(str(settings.vault_socket))
            vault.sendall(b"GET /healthz HTTP/1.1\r\nhost: vault\r\n\r\n")
            (settings.run / "drained").write_bytes(vault.recv(15))
        sys.exit(0)

    signal.signal(signal.SIGTERM, drain)
    _answer(listener, "here")


def late_server(settings: Settings, listener: socket.socket, *, endpoints: Endpoints, key_digest: str) -> None:
    """Imports modules only when it is its own user: one of the library's, one of the test's."""
    del settings, endpoints, key_digest
    late = [importlib.import_module(name).__name__ for name in ("tabnanny", "late_module")]
    _answer(listener, " ".join(late))


def stopping_server(settings: Settings, listener: socket.socket, *, endpoints: Endpoints, key_digest: str) -> None:
    """Stands still at a named point before it serves, when the test holds the other end."""
    faults.connect_from_environment()
    faults.point("store.commit.before")
    server(settings, listener, endpoints=endpoints, key_digest=key_digest)


def broken_server(settings: Settings, listener: socket.socket, *, endpoints: Endpoints, key_digest: str) -> None:
    del settings, listener, endpoints, key_digest
    raise RuntimeError("can never serve")


async def scripted(listener: socket.socket) -> None:
    _answer(listener, "scripted")


def _answer(listener: socket.socket, text: str) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            body = text.encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
