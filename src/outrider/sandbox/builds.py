"""Installs an environment's packages, each manager's into a layer of its own, which sandboxes of one workspace share.

Promised: a layer is there as a whole or not at all, whoever dies meanwhile; who needs one that is being built waits for
it; whoever comes after a crash joins the build that still runs. A build is a sandbox without a workspace or a secret
that reaches the hosts of package registries only.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from outrider.errors import CallLost, SandboxUnavailable
from outrider.ports.packages import BUILD, Equipment
from outrider.ports.sandbox import ToolCall, ToolOutcome
from outrider.sandbox import launcher, linux, managers

BUILD_SECONDS = 1800.0
MARGIN_SECONDS = 60.0
SEAL_SECONDS = 600.0
FAILED_SECONDS = 30.0  # for which a build that failed is not tried again
TRIES = 3
PAUSE_SECONDS = 0.2
SHOWN_CHARACTERS = 2_000
NAMED_CHARACTERS = 200

log = logging.getLogger("outrider.sandbox")


class Host(Protocol):
    """What a driver gives to its builds."""

    async def ask(self, session: str, request: dict[str, Any]) -> dict[str, Any]: ...
    async def ask_zygote(self, request: dict[str, Any], *, within: float | None = None) -> dict[str, Any]: ...
    async def execute(self, session: str, call: ToolCall, *, epoch: int, resume: bool = False) -> ToolOutcome: ...
    async def delete(self, session: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Layer:
    id: str
    manager: str
    packages: tuple[str, ...]
    workspace: str
    beneath: tuple[tuple[str, str], ...] = ()
    """[manager, layer] of what it is built upon: the system's packages."""

    @property
    def session(self) -> str:
        return f"{BUILD}{self.id}"

    def about(self) -> dict[str, Any]:
        return {"manager": self.manager, "packages": self.packages, "workspace": self.workspace}

    def __str__(self) -> str:
        named = ", ".join(self.packages)
        return f"{self.manager} ({named if len(named) <= NAMED_CHARACTERS else named[:NAMED_CHARACTERS] + ' ...'})"


class _Broken(Exception):
    """The build came to no end of its own."""


def layers_of(equipment: Equipment) -> list[Layer]:
    """In the order in which they are built. Raises SandboxUnavailable where a manager is not installed here."""
    found: list[Layer] = []
    beneath: tuple[tuple[str, str], ...] = ()
    for manager, packages in equipment.packages.items():
        program = managers.MANAGERS[manager].program
        path = shutil.which(program, path=launcher.ENVIRONMENT["PATH"])
        if path is None:
            raise SandboxUnavailable(_not_installed(manager))
        about = [managers.VERSION, manager, packages, equipment.workspace, _system(), _fingerprint(path), beneath]
        layer = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
        found.append(Layer(layer, manager, packages, equipment.workspace, beneath))
        if manager == managers.LAID_OVER:
            beneath = ((manager, layer),)
    return found


def _not_installed(manager: str) -> str:
    one = managers.MANAGERS[manager]
    return (
        f"The environment's packages of {manager} can't be installed: {manager} is not there on this server. Its"
        f" operator can install it where sandboxes see it (on Debian and its like: apt install {one.debian})."
    )


def _system() -> list[str]:
    """What a layer must fit to."""
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            release = file.read()
    except OSError:
        release = ""
    return [linux.MACHINE, release]


def _fingerprint(program: str) -> list[Any]:
    """Another one once the program is: a layer of one version of a language is none for the next."""
    real = os.path.realpath(program)
    found = os.stat(real)
    return [real, found.st_size, found.st_mtime_ns]


class Builds:
    """Of one driver. `seconds`: the most that one manager's packages may take."""

    def __init__(
        self, host: Host, seconds: float = BUILD_SECONDS, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._host = host
        self._seconds = seconds
        self._monotonic = monotonic
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, tuple[float, str]] = {}

    async def have(self, equipment: Equipment) -> list[list[str]]:
        """[manager, layer] each, built now where they are not there. Raises SandboxUnavailable, which says why they
        can't be had."""
        wanted = layers_of(equipment)
        missing = await self._missing(wanted)
        for layer in wanted:
            if layer.id in missing:
                await self._wait_for(layer)
        return [[layer.manager, layer.id] for layer in wanted]

    async def _missing(self, layers: Sequence[Layer]) -> set[str]:
        answer = await self._host.ask_zygote({"op": "layers", "layers": [layer.id for layer in layers]})
        if "error" in answer:
            raise SandboxUnavailable(answer["message"])
        return set(answer["missing"])

    async def _wait_for(self, layer: Layer) -> None:
        """It goes on when who waits is gone."""
        task = self._running.get(layer.id)
        if task is None:
            task = self._running[layer.id] = asyncio.create_task(self._build(layer))
            task.add_done_callback(lambda done: self._ended(layer, done))
        await asyncio.shield(task)

    def _ended(self, layer: Layer, task: asyncio.Task[None]) -> None:
        del self._running[layer.id]
        if not task.cancelled():
            task.exception()  # looked at, also when nobody waits any more

    async def _build(self, layer: Layer) -> None:
        until, problem = self._failed.pop(layer.id, (0.0, ""))
        if self._monotonic() < until:
            self._failed[layer.id] = until, problem
            raise SandboxUnavailable(problem)
        reason = ""
        for _ in range(TRIES):
            try:
                return await self._try(layer)
            except (CallLost, _Broken) as broken:
                reason = str(broken)
            if not await self._missing([layer]):
                return  # another process was at the same
            with suppress(SandboxUnavailable):
                await self._host.delete(layer.session)
            await asyncio.sleep(PAUSE_SECONDS)
        raise SandboxUnavailable(f"The environment's packages of {layer} could not be installed: {reason}")

    async def _try(self, layer: Layer) -> None:
        began = self._monotonic()
        answer = await self._host.ask(
            layer.session, {"op": "equip", "layers": layer.beneath, "build": layer.manager, "epoch": 1}
        )
        if "error" in answer:
            raise _Broken(answer["message"])
        outcome = await self._host.execute(layer.session, self._call(layer), epoch=1)
        said, _, resolved = str(outcome.content[0]["text"]).partition(managers.RESOLVED)
        if outcome.is_error:
            await self._fail(layer, str(outcome.content[0]["text"]))
        await self._seal(layer, said, {**layer.about(), "resolved": resolved.split()})
        with suppress(SandboxUnavailable):  # what is left of it is found later
            await self._host.delete(layer.session)
        log.info("installed %s in %.1f s as layer %s", layer, self._monotonic() - began, layer.id)

    def _call(self, layer: Layer) -> ToolCall:
        """Always the same one, so that who comes later joins it."""
        text = managers.script(layer.manager, layer.packages, self._seconds)
        timeout = int((self._seconds + MARGIN_SECONDS) * 1000)
        return ToolCall("build", "build", "bash", {"command": text, "timeout_ms": timeout})

    async def _seal(self, layer: Layer, said: str, about: Mapping[str, Any], *, failed: bool = False) -> None:
        request = {"op": "seal", "session": layer.session, "layer": layer.id, "about": about, "log": said}
        answer = await self._host.ask_zygote({**request, "failed": failed}, within=SEAL_SECONDS)
        if "error" in answer:
            raise _Broken(answer["message"])

    async def _fail(self, layer: Layer, said: str) -> None:
        """Raises SandboxUnavailable."""
        if said.strip() == managers.MISSING:
            problem = _not_installed(layer.manager)
        else:
            end = said.strip()[-SHOWN_CHARACTERS:]
            problem = f"The environment's packages could not be installed. {layer} said:\n{end}\n"
        log.warning("layer %s: %s", layer.id, problem)
        await self._seal(layer, said, layer.about(), failed=True)
        with suppress(SandboxUnavailable):
            await self._host.delete(layer.session)
        now = self._monotonic()
        self._failed = {one: (until, said) for one, (until, said) in self._failed.items() if until > now}
        self._failed[layer.id] = now + FAILED_SECONDS, problem
        raise SandboxUnavailable(problem)
