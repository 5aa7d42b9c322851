"""A real sandbox host for tests: a zygote, and the host's process that serves its sandboxes over mutual TLS."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

from outrider.config import Settings
from outrider.links import peers
from outrider.links.peers import Identity
from outrider.links.sandboxes import RemoteSandboxes
from outrider.supervisor.places import listen_tcp
from outrider.supervisor.plan import memory_file
from outrider.testing.sandbox_host import SandboxHost

PROGRAM = """
import json, pickle, socket, sys
from outrider import sandboxd
told = json.loads(sys.argv[1])
with open(told["settings"], "rb", closefd=False) as file:
    file.seek(0)
    settings = pickle.load(file)
sandboxd.main(settings, socket.socket(fileno=told["listener"]), peers=told["peers"])
"""


class RemoteHost:
    """`start` before use, `close` after. The listener stays open in this process, as the supervisor keeps it."""

    def __init__(self, identity: Identity, *, lease: float | None = None, local: SandboxHost | None = None) -> None:
        self.local = local or SandboxHost()
        self._identity = identity
        self._listener = listen_tcp("127.0.0.1", 0)
        self._lease = lease
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._listener.getsockname()[1]

    def start(self) -> None:
        if not self.local.pid:
            self.local.start()
        self.serve()

    def serve(self) -> None:
        """Start the host's process (anew)."""
        import pickle

        settings = memory_file("settings", pickle.dumps(self._settings()))
        identity = memory_file("peers", peers.packed(self._identity))
        told = {"listener": self._listener.fileno(), "settings": settings, "peers": identity}
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, json.dumps(told)], pass_fds=list(told.values()))
        os.close(settings)
        os.close(identity)

    def _settings(self) -> Settings:
        settings = Settings(data=self.local.place, limits=self.local.limits)
        return settings if self._lease is None else replace(settings, shared_workspaces=True, sandbox_lease=self._lease)

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(10)

    def vanish(self) -> None:
        """From now on nothing listens here."""
        self.kill()
        self._listener.close()

    def client(self, identity: Identity, name: str, **more: object) -> RemoteSandboxes:
        return RemoteSandboxes(name, self.address, peers.client_context(identity), **more)  # pyright: ignore[reportArgumentType]

    async def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            await asyncio.to_thread(self.process.wait, 20)
        self._listener.close()
        await self.local.close()
