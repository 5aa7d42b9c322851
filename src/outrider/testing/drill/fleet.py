"""The deployment of a drill: its servers and the relays between them, started for it and gone afterwards.

Each server reaches each service through a relay of its own, so that one can be cut off without the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from outrider.testing.drill.chaos import Target
from outrider.testing.drill.shape import NodeShape
from outrider.testing.server_process import ServerProcess, end_sandboxes

STOP_SECONDS = 30.0


class Way(Protocol):
    """How a server reaches a service: by its near end."""

    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...

    def cut(self) -> None: ...
    def heal(self) -> None: ...


@dataclass(slots=True)
class Node:
    """One `outrider serve` of the drill; started again after its whole tree was killed, as a service manager would.

    `ways` lead from this server to the services that it uses, by their names; `prefix` puts it on a host of its own.
    """

    shape: NodeShape
    data: Path
    environment: Mapping[str, str]
    options: Sequence[str]
    ways: dict[str, Way] = field(default_factory=dict[str, Way])
    prefix: Sequence[str] = ()
    server: ServerProcess | None = None
    url: str = ""

    @property
    def name(self) -> str:
        return self.shape.name

    async def start(self) -> None:
        command = [*self.prefix, sys.executable, "-m", "outrider", "serve", "--data", str(self.data), *self.options]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
        self.server = ServerProcess(command, self.data, {**clean, **self.environment})
        self.url = await asyncio.to_thread(self._until_up, self.server)

    def _until_up(self, server: ServerProcess) -> str:
        """The API is asked; of a server that only its peers may ask, the supervisor's word is taken."""
        asked = "api" in self.shape.roles
        return server.until_up() if asked else server.until(server.facts, f"{self.name} is up")["url"]

    def pids(self) -> dict[str, int]:
        """The processes of this server by role, as its supervisor last wrote them down."""
        facts = self.server.facts() if self.server is not None else None
        return facts["children"] if facts is not None else {}

    async def stop(self) -> None:
        """In order if that works within its time, else at once."""
        if self.server is None:
            return
        self.signal_all(signal.SIGCONT)
        self.server.process.terminate()
        try:
            await asyncio.to_thread(self.server.process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.server.process.kill()
            await asyncio.to_thread(self.server.process.wait)
        await asyncio.to_thread(end_sandboxes, self.data)

    def signal_all(self, number: int) -> None:
        for pid in self.pids().values():
            send(pid, number)

    def targets(self) -> list[Target]:
        """What a fault can hit in this server: each child, the whole tree, each way to a service."""
        found = [target for role, pid in self.pids().items() for target in _of_process(f"{self.name}.{role}", pid)]
        found.append(Target("kill", f"{self.name}.tree", self._fall))
        return found + [_cut(self.name, name, way) for name, way in self.ways.items()]

    async def _fall(self) -> None:
        """The children die with their supervisor."""
        if self.server is not None:
            self.server.process.kill()
            await asyncio.to_thread(self.server.process.wait)
        await self.start()


def send(pid: int, number: int) -> None:
    """To a process that may have ended: its number is not used again so soon."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _of_process(name: str, pid: int) -> list[Target]:
    async def kill() -> None:
        send(pid, signal.SIGKILL)

    async def freeze() -> None:
        send(pid, signal.SIGSTOP)

    async def thaw() -> None:
        send(pid, signal.SIGCONT)

    return [Target("kill", name, kill), Target("freeze", name, freeze, thaw)]


def _cut(server: str, service: str, way: Way) -> Target:
    async def cut() -> None:
        way.cut()

    async def heal() -> None:
        way.heal()

    return Target("cut", f"{server}-{service}", cut, heal, service)
