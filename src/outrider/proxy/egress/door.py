"""Where sandboxes' listeners come in: each shim hands over the one that it made in its sandbox's network namespace.

Which session a connection belongs to follows from the listener that it came by; no request says it. Who may hand over a
session's listener is decided by the kernel's word: the user who owns that session's directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outrider.links.ways import ASK_SECONDS, accepted, handed_over, hung_up
from outrider.ports.packages import is_build
from outrider.proxy.egress.connection import Connection, Terms
from outrider.proxy.egress.policy import Policy, build_policy

MOST_SESSIONS = 10_000
REFUSING = 16  # connections over the limit that are answered at once; more are just closed

log = logging.getLogger("outrider.egress")

HOSTS = "PACKAGE_HOSTS"
"""A build's variable with the hosts that it may reach, so that it can say when there are none."""
NOTHING: Mapping[str, Any] = {"environment": {}, "trust": ""}
Told = Callable[[Policy], Mapping[str, Any]]
"""What a session's sandbox has to be told under a policy: `environment` and `trust`."""


def nothing_to_tell(_policy: Policy) -> Mapping[str, Any]:
    return NOTHING


@dataclass(slots=True)
class Way:
    """One sandbox's way out: its listener, the line to its shim, its connections."""

    session: str
    link: socket.socket
    listener: socket.socket
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    refusing: int = 0
    said: bytes = b""
    speaking: asyncio.Task[None] | None = None


class Door:
    """`sandboxes` is the directory with the sessions' own; `connections` the most that one session may have;
    `packages` the hosts that builds of packages may reach, by manager."""

    def __init__(
        self,
        sandboxes: Path,
        terms: Terms,
        connections: int,
        tell: Told = nothing_to_tell,
        packages: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._sessions = sandboxes / "sessions"
        self._terms = terms
        self._most = connections
        self._tell = tell
        self._packages = packages or {}
        self._policies: dict[str, Policy] = {}
        self._ways: dict[str, Way] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def settle(self, policy: Policy) -> None:
        """From now on this is what the session may reach; its sandbox is told what changes for it."""
        self._policies.pop(policy.session, None)
        self._policies[policy.session] = policy
        if len(self._policies) > MOST_SESSIONS:
            idle = next((session for session in self._policies if session not in self._ways), None)
            if idle is not None:
                del self._policies[idle]
        way = self._ways.get(policy.session)
        if way is not None:
            self._say(way)

    def told(self, policy: Policy | None) -> Mapping[str, Any]:
        """What a sandbox under this policy has to know."""
        if policy is not None and policy.build:
            hosts = " ".join(sorted({host for hosts in policy.packages.values() for host in hosts}))
            return {"environment": {HOSTS: hosts}, "trust": ""}
        return NOTHING if policy is None else self._tell(policy)

    def policy(self, session: str) -> Policy | None:
        """A build's needs no owner who speaks for it."""
        return build_policy(session, self._packages) if is_build(session) else self._policies.get(session)

    @asynccontextmanager
    async def open(self, listener: socket.socket) -> AsyncGenerator[None]:
        """Take listeners in while the block runs."""
        listener.setblocking(False)
        greeter = asyncio.create_task(self._greet(listener))
        try:
            yield
        finally:
            for task in (greeter, *self._tasks):
                task.cancel()
            await asyncio.gather(greeter, *self._tasks, return_exceptions=True)

    async def _greet(self, listener: socket.socket) -> None:
        while True:
            try:
                link = await accepted(listener)
            except OSError as error:
                log.warning("a sandbox's listener can't be taken in: %s", error)
                await asyncio.sleep(0.1)
                continue
            task = asyncio.create_task(self._host(link))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _, link=link: link.close())  # also of one that never began

    async def _host(self, link: socket.socket) -> None:
        """One sandbox, from its shim's request until the shim hangs up."""
        found = await handed_over(link, self._sessions)
        if found is None:
            return
        way = Way(found[0], link, found[1])
        before = self._ways.get(way.session)
        if before is not None:
            _close(before)
        self._ways[way.session] = way
        try:
            self._say(way)
            await self._serve(way)
        finally:
            if self._ways.get(way.session) is way:
                del self._ways[way.session]
            _close(way)
            await asyncio.gather(*way.tasks, return_exceptions=True)

    def _say(self, way: Way) -> None:
        """Tell the shim what its sandbox has to know, if that is new; one that does not listen is dropped."""
        told = self.told(self.policy(way.session))
        line = json.dumps(told).encode() + b"\n"
        if line != way.said:
            way.said = line
            way.speaking = asyncio.create_task(_say_after(way.speaking, way.link, line))

    async def _serve(self, way: Way) -> None:
        accepting = asyncio.create_task(self._accept(way))
        try:
            await hung_up(way.link)
        finally:
            accepting.cancel()
            for task in way.tasks:
                task.cancel()
            await asyncio.gather(accepting, return_exceptions=True)

    async def _accept(self, way: Way) -> None:
        while True:
            try:
                client = await accepted(way.listener)
            except OSError:
                await asyncio.sleep(0.1)  # out of descriptors, or the other end left already
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(client, lambda: self.policy(way.session), self._terms)
            if len(way.tasks) - way.refusing < self._most:
                work = connection.run()
            elif way.refusing < REFUSING:
                work = self._refuse(way, connection)
            else:
                client.close()
                continue
            task = asyncio.create_task(work)
            way.tasks.add(task)
            task.add_done_callback(way.tasks.discard)
            task.add_done_callback(lambda _, client=client: client.close())

    async def _refuse(self, way: Way, connection: Connection) -> None:
        way.refusing += 1
        try:
            await connection.refuse(503, f"this session has {self._most} connections open ([egress] connections)")
        finally:
            way.refusing -= 1


async def _say_after(before: asyncio.Task[None] | None, link: socket.socket, line: bytes) -> None:
    if before is not None:
        await asyncio.wait([before])
    try:
        async with asyncio.timeout(ASK_SECONDS):
            await asyncio.get_running_loop().sock_sendall(link, line)
    except (OSError, TimeoutError):
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)


def _close(way: Way) -> None:
    for task in (*way.tasks, *([] if way.speaking is None else [way.speaking])):
        task.cancel()
    way.listener.close()
    with contextlib.suppress(OSError):
        way.link.shutdown(socket.SHUT_RDWR)
