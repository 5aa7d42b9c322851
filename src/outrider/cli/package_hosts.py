"""`outrider doctor --learn-package-hosts`: runs each package manager's client in a sandbox as an environment's packages
are installed in, whose way out notes what it asks, and writes the hosts into the config file when the operator agrees.
"""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import tomllib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from outrider.cli import package_config
from outrider.cli.findings import Findings
from outrider.cli.forks import child
from outrider.cli.package_clients import CLIENTS, LEARNED, MISSING, SECONDS, Asked, command
from outrider.config import Settings
from outrider.errors import OutriderError

SESSION = "sesn_learn_"
LINES_SHOWN = 6


@dataclass(slots=True)
class Learned:
    """What one client said, and what it asked: hosts that it got through to, and hosts that were refused to it."""

    said: str = ""
    hosts: set[str] = field(default_factory=set[str])
    refused: dict[str, str] = field(default_factory=dict[str, str])


def learn(settings: Settings, config: Path, found: Findings, asked: Asked, *, sure: bool) -> None:
    """`sure` asks nobody before it writes."""
    hosts: dict[str, list[str]] = {}
    for manager, one in _tried(settings, asked).items():
        _tell(manager, one, found)
        if one.said.endswith(LEARNED) and one.hosts:
            hosts[manager] = sorted(one.hosts)
    if hosts:
        _keep(config, hosts, found, sure=sure)
    elif not found.failed:
        found.note("no client is installed in the sandboxes here, so there is nothing to learn")


def _tell(manager: str, one: Learned, found: Findings) -> None:
    if one.said == MISSING:
        found.note(f"{manager}: not installed")
    elif one.said.endswith(LEARNED) and one.hosts:
        found.good(f"{manager}: {', '.join(sorted(one.hosts))}")
    elif one.said.endswith(LEARNED):
        found.note(f"{manager}: asked no host")
    else:
        found.bad(f"{manager}: its client failed, so its hosts are not known")
        for line in one.said.splitlines()[-LINES_SHOWN:]:
            found.note(f"  {line}")
    for host, reason in sorted(one.refused.items()):
        found.note(f"  {host} was not reached: {reason}")


def _keep(config: Path, hosts: Mapping[str, Sequence[str]], found: Findings, *, sure: bool) -> None:
    text = config.read_text() if config.exists() else ""
    after = package_config.with_hosts(text, hosts)
    if after is None:
        found.bad(f"{config} can't be changed by a program; put this into it:")
        click.echo(package_config.table(hosts))
    elif tomllib.loads(after) == tomllib.loads(text):
        found.good(f"{config} has these hosts already")
    elif sure or click.confirm(f"Sessions whose environment allows package managers may reach them: into {config}?"):
        package_config.write(config, after)
        found.good(f"{config}: written; a server takes it up when it is started again")
    else:
        found.note("nothing was changed")


# -- trying


def _tried(settings: Settings, asked: Asked) -> dict[str, Learned]:
    with tempfile.TemporaryDirectory(prefix="outrider-learn-", dir="/tmp") as name:
        place = Path(name)
        place.chmod(0o711)
        with _zygote(settings, place), _way_out(settings, place):
            said = asyncio.run(_run(settings, place, asked))
        found = {manager: Learned(text) for manager, text in said.items()}
        _read(place / "out" / "egress.jsonl", found)  # whole, since the way out has been closed
        return found


@contextmanager
def _zygote(settings: Settings, place: Path) -> Generator[None]:
    from outrider.sandbox import plan, zygote

    options = plan.zygote_options(
        place / "root",
        place / "run",
        settings.limits,
        strict=settings.strict_sandbox,
        egress=place / "egress.sock",
        build_environment=settings.packages.environment,
    )
    with child(lambda: zygote.main(str(place / "z.sock"), options)):
        yield


@contextmanager
def _way_out(settings: Settings, place: Path) -> Generator[None]:
    """The egress proxy in a process of its own, as in a server: without keys, and open to every public host."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(place / "egress.sock"))
    (place / "egress.sock").chmod(0o666)
    listener.listen(16)
    (place / "out").mkdir()

    def serve() -> None:
        from outrider import vaultd

        vaultd.watch(settings, listener, place / "root", place / "out", [SESSION + manager for manager in CLIENTS])

    with listener, child(serve):
        yield


async def _run(settings: Settings, place: Path, asked: Asked) -> dict[str, str]:
    from outrider.ports.sandbox import ToolCall
    from outrider.sandbox.driver import BubblewrapSandboxes

    sandboxes = BubblewrapSandboxes(place / "root", place / "z.sock", place / "run", settings.limits)
    said: dict[str, str] = {}
    for manager in asked.managers:
        given = {"command": command(manager, asked), "timeout_ms": (SECONDS + 20) * 1000}
        call = ToolCall(f"sevt_{manager}", "sthr_learn", "bash", given)
        as_in_a_build: dict[str, Any] = {"op": "equip", "layers": [], "build": manager, "epoch": 1}
        try:
            await sandboxes.ask(SESSION + manager, as_in_a_build)
            outcome = await sandboxes.execute(SESSION + manager, call, epoch=1)
            said[manager] = str(outcome.content[0]["text"])
            await sandboxes.delete(SESSION + manager)
        except OutriderError as error:
            said[manager] = error.message
    return said


def _read(record: Path, found: Mapping[str, Learned]) -> None:
    for line in record.read_bytes().splitlines() if record.exists() else ():
        entry = json.loads(line)
        one = found.get(entry["session"].removeprefix(SESSION))
        if one is not None and entry["host"]:
            if entry["verdict"] == "allowed":
                one.hosts.add(entry["host"])
            else:
                one.refused[entry["host"]] = entry["reason"]
