"""Roles of one deployment as servers of their own, each with a data directory and a certificate, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
from pki import Authority

from outrider.testing.ports import free_port
from outrider.testing.server_process import end_sandboxes

START_SECONDS = 40.0
PAUSE = 0.05


class Part:
    """One `outrider serve --role ...`. `start` and `stop` at will; its data stays."""

    def __init__(self, name: str, role: str, place: Path, config: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self.role = role
        self.data = place / name
        self.data.mkdir()
        self.data.chmod(0o711)
        (self.data / "config.toml").write_text(config)
        self.environment = dict(environment)
        self.faults: socket.socket | None = None
        """The end at which its processes stand still, see `outrider.faults`."""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
        command = [sys.executable, "-m", "outrider", "serve", "--role", self.role, "--port", "0"]
        fds = [] if self.faults is None else [self.faults.fileno()]
        held = {"OUTRIDER_FAULTS_FD": str(fds[0])} if fds else {}
        (self.data / "server.json").unlink(missing_ok=True)
        with self._log().open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--data", str(self.data)],
                env=ours | self.environment | held,
                stdout=log,
                stderr=log,
                pass_fds=fds,
            )

    def facts(self) -> dict[str, Any]:
        """What its supervisor has published, once all its children were started."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, self.said()
            with contextlib.suppress(FileNotFoundError):
                found: dict[str, Any] = json.loads((self.data / "server.json").read_text())
                if found["supervisor"] == self.process.pid:
                    return found
            time.sleep(PAUSE)
        raise AssertionError(f"{self.name} did not start: {self.said()}")

    def url(self) -> str:
        """Once it can take work."""
        url: str = self.facts()["url"]
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"{url}/readyz", timeout=10).status_code == 200:
                    return url
            time.sleep(PAUSE)
        raise AssertionError(f"{self.name} does not answer: {self.said()}")

    def pid(self, child: str) -> int:
        return self.facts()["children"][child]

    def said(self) -> str:
        return self._log().read_text()[-4000:]

    def refusal(self) -> str:
        """What it says when it won't start."""
        self.start()
        assert self.process is not None
        assert self.process.wait(START_SECONDS) == 2, self.said()
        return self.said()

    def signal(self, number: int) -> None:
        """To the supervisor and each of its children."""
        found = self.facts()
        for pid in (found["supervisor"], *found["children"].values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        end_sandboxes(self.data)

    def kill(self) -> None:
        """All of it at once, as a machine that loses its power; sandboxes too."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(START_SECONDS)
        end_sandboxes(self.data)

    def _log(self) -> Path:
        return self.data.with_name(f"{self.name}.log")


class Deployment:
    """Makes certificates and parts; knows where each listens."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        self.place = place
        self.authority = Authority(place / "pki")
        self.ports: dict[str, int] = {}
        self._stack = stack

    def part(self, name: str, role: str, config: str = "", environment: Mapping[str, str] | None = None) -> Part:
        """Not started yet; its certificate has its roles. `config` is added to the table [peers]."""
        self.authority.issue(name, *role.split(","))
        part = Part(name, role, self.place, self.authority.table(name) + config, environment or {})
        self._stack.callback(part.stop)
        return part

    def vault(self, environment: Mapping[str, str], config: str = "", name: str = "vault") -> Part:
        port = self.ports[name] = free_port()
        return self.part(name, "vault", f'[server]\nvault_listen = "127.0.0.1:{port}"\n{config}', environment)

    def sandbox(self, name: str, config: str = "", tables: str = "") -> Part:
        port = self.ports[name] = free_port()
        settings = (
            f'[sandbox]\nlisten = "127.0.0.1:{port}"\n{config}[limits]\nreserve_share = 0\nreserve_bytes = 0\n{tables}'
        )
        return self.part(name, "sandbox", settings)

    def reach(self, *hosts: str, vault: str = "vault") -> dict[str, str]:
        """The environment of a harness: where its vault and its sandbox hosts are."""
        listed = ",".join(f"{name}=https://127.0.0.1:{self.ports[name]}" for name in hosts)
        return {"OUTRIDER_VAULT_URL": f"https://127.0.0.1:{self.ports[vault]}", "OUTRIDER_SANDBOX_HOSTS": listed}


@contextmanager
def deployment() -> Generator[Deployment]:
    place = Path(tempfile.mkdtemp(prefix="otr", dir="/tmp"))
    place.chmod(0o711)
    try:
        with ExitStack() as stack:
            yield Deployment(place, stack)
    finally:
        shutil.rmtree(place, ignore_errors=True)
