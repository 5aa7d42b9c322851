"""Hosts of a drill: network namespaces, each joined to the drill's own by one link a service, which can be cut.

It takes the right to administer the network of the namespace that the drill runs in, which must be no host's own: see
`OWN`. Nothing is left behind, because namespaces and links end with the processes in them.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from outrider.errors import InvalidRequest
from outrider.testing.relay import Relay

SECONDS = 10.0
OWN = "unshare --net (as an ordinary user: unshare --user --map-current-user --keep-caps --net)"
MOST_LINKS = 200
PLAIN = ("setpriv", "--ambient-caps=-all", "--inh-caps=-all", "--")
"""Before a server's command: an ordinary user's server has no rights over the network, and bubblewrap refuses any."""


def prepare() -> None:
    """Raises InvalidRequest where the network is not the drill's own, or may not be changed."""
    found = _ip("-o", "link", "show", "up")
    names = {line.split(":")[1].strip() for line in found.stdout.splitlines()}
    if found.returncode or names - {"lo"}:
        raise InvalidRequest(f"--hosts: run the drill in a network namespace of its own: {OWN} outrider drill ...")
    if _ip("link", "set", "lo", "up").returncode:
        raise InvalidRequest(f"--hosts: this user may not change the network here: use {OWN}")


def near(number: int) -> str:
    """The drill's end of link `number`, counted from 1."""
    return f"10.99.{number}.1"


def _far(number: int) -> str:
    return f"10.99.{number}.2"


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, timeout=SECONDS, check=False)


def _must(*words: str) -> None:
    done = _ip(*words)
    if done.returncode:
        raise InvalidRequest(f"--hosts: ip {' '.join(words)}: {done.stderr.strip()}")


@dataclass(slots=True)
class Link:
    """A way from one host to one service. Cut, it loses every packet, in both directions."""

    number: int
    relay: Relay

    @property
    def address(self) -> str:
        return near(self.number)

    @property
    def port(self) -> int:
        return self.relay.port

    def cut(self) -> None:
        _must("link", "set", f"v{self.number}", "down")

    def heal(self) -> None:
        _must("link", "set", f"v{self.number}", "up")


class Host:
    """A namespace. `prefix` goes before a command that is to run there."""

    def __init__(self, holder: subprocess.Popen[bytes]) -> None:
        self._holder = holder
        self.prefix = ("nsenter", f"--net=/proc/{holder.pid}/ns/net", "--")

    @asynccontextmanager
    async def link(self, number: int, target: tuple[str, int]) -> AsyncGenerator[Link]:
        """A new link to the service at `target`, an address of the drill's own namespace."""
        if number > MOST_LINKS:
            raise InvalidRequest(f"--hosts: at most {MOST_LINKS} links: fewer servers or services")
        await asyncio.to_thread(self._join, number)
        async with Relay(*target, address=near(number)).running() as relay:
            yield Link(number, relay)

    def _join(self, number: int) -> None:
        own, other = f"v{number}", f"w{number}"
        _must("link", "add", own, "type", "veth", "peer", "name", other, "netns", str(self._holder.pid))
        _must("addr", "add", f"{near(number)}/30", "dev", own)
        _must("link", "set", own, "up")
        for words in (("addr", "add", f"{_far(number)}/30", "dev", other), ("link", "set", other, "up")):
            done = subprocess.run([*self.prefix, "ip", *words], capture_output=True, timeout=SECONDS, check=False)
            if done.returncode:
                raise InvalidRequest(f"--hosts: ip {' '.join(words)} failed in the new namespace")


@asynccontextmanager
async def host() -> AsyncGenerator[Host]:
    holder = await asyncio.to_thread(_hold)
    try:
        yield Host(holder)
    finally:
        await asyncio.to_thread(holder.communicate, None, SECONDS)


def _hold() -> subprocess.Popen[bytes]:
    """A process in a namespace of its own, which ends when its input does."""
    command = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    if holder.stdout.readline() != b"up\n":
        raise InvalidRequest(f"--hosts: no network namespace could be made: use {OWN}")
    return holder
