"""The `Sandboxes` port over several hosts: each session has its sandbox and its files on one of them.

Promised: calls go to the session's host, new sessions to the least used one that answers, and a session never has
sandboxes on two hosts at once. Whether it may leave a host that stays away is the operator's word (`shared`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from outrider.errors import CallLost, SandboxUnavailable
from outrider.links.frames import BEAT_SECONDS
from outrider.links.sandboxes import HostUnreachable, RemoteSandboxes
from outrider.ports.mounted import is_erasure
from outrider.ports.packages import Equipment
from outrider.ports.placements import Placements, given_up_host, moved_text
from outrider.ports.sandbox import (
    Capabilities,
    Left,
    Living,
    NotMounted,
    Output,
    OutputChanged,
    ToolCall,
    ToolOutcome,
    Upload,
)
from outrider.sandbox.gone import GonePlacements, erased

log = logging.getLogger("outrider.sandbox")
T = TypeVar("T")


class PlacedSandboxes:
    """`hosts` by name. `shared`: all of them keep sessions' files on the same storage, so that a session whose host is
    gone goes on elsewhere; `session_ids` gives all stored sessions."""

    def __init__(
        self,
        hosts: Mapping[str, RemoteSandboxes],
        placements: Placements,
        *,
        shared: bool,
    ) -> None:
        self._hosts = hosts
        self._placements = placements
        self._places_of_gone = GonePlacements(placements)
        self._shared = shared
        self._placing: Counter[str] = Counter()  # what a host's own count does not show yet
        self._beginning = asyncio.Lock()

    @property
    def live(self) -> int:
        """Sandboxes that are alive on all hosts, as far as this process knows."""
        return sum(host.live for host in self._hosts.values())

    # -- the port

    async def probe(self) -> Capabilities:
        """Of the first host that answers, with all hosts named."""
        problems: list[str] = []
        for name, host in self._hosts.items():
            try:
                found = await host.probe()
            except SandboxUnavailable as problem:
                problems.append(problem.message)
                continue
            if found.available:
                return found
            problems.append(f"{name}: {found.problem}")
        return Capabilities(False, "none", " ".join(problems), "see the logs of the sandbox hosts")

    async def execute(self, session: str, call: ToolCall, *, epoch: int, resume: bool = False) -> ToolOutcome:
        name = await self._placements.placement(session)
        if name is None:  # also to resume: a host must hear of the epoch, so that no earlier owner begins the call
            return await self._first(session, call, epoch, resume=resume)
        if given_up_host(name) is not None:
            if resume and not self._shared:  # it may have begun where it was, and is not begun anew
                raise CallLost(f"{name} was given up.")
            name = await self._begin_anew(session, name)
        return await self._at(name, session, call, epoch, resume=resume)

    async def _first(self, session: str, call: ToolCall, epoch: int, *, resume: bool) -> ToolOutcome:
        """A session without a place: nothing of it is anywhere, so a host that turns out to be away costs nothing."""
        tried: set[str] = set()
        while True:
            wanted = await self._least_used(tried)
            name = await self._placements.place(session, wanted)
            if name != wanted:
                return await self._at(name, session, call, epoch, resume=resume)
            self._placing[name] += 1
            try:
                return await self._hosts[name].try_execute(session, call, epoch=epoch, resume=resume)
            except HostUnreachable as gone:
                if gone.sent:
                    return await self._gone(name, session, call, epoch, gone, resume=resume)
                tried.add(name)
                await self._placements.unplace(session)
            finally:
                self._placing[name] -= 1

    async def _begin_anew(self, session: str, place: str) -> str:
        """Give a session that was taken off its host a new one, with nothing in it. Returns the host that it has if it
        got one meanwhile. On shared storage nothing was lost: it goes back, and moves with its files if it must."""
        lost = given_up_host(place)
        async with self._beginning:
            if lost is None or await self._placements.placement(session) != place:
                return await self._placements.place(session, lost or place)
            if self._shared:
                return await self._placements.place(session, lost, instead_of=place)
            wanted = await self._least_used(self._hosts.keys() & {lost} if len(self._hosts) > 1 else set())
            await self._hosts[wanted].delete(session)  # what an earlier stay may have left
            found = await self._placements.place(session, wanted, instead_of=place)
        if found != wanted:
            return found
        raise SandboxUnavailable(moved_text(f"sandbox host {lost}"))

    async def _at(self, name: str, session: str, call: ToolCall, epoch: int, *, resume: bool) -> ToolOutcome:
        host = self._hosts.get(name)
        if host is None:
            gone = HostUnreachable(f"Sandbox host {name} is not among the configured ones.", sent=resume)
            return await self._gone(name, session, call, epoch, gone, resume=resume)
        try:
            return await host.try_execute(session, call, epoch=epoch, resume=resume, whole_patience=self._shared)
        except HostUnreachable as gone:
            return await self._gone(name, session, call, epoch, gone, resume=resume)

    async def _gone(
        self, name: str, session: str, call: ToolCall, epoch: int, gone: HostUnreachable, *, resume: bool
    ) -> ToolOutcome:
        """The session's host is away for good, as far as we can tell."""
        begun = gone.sent or resume
        if not self._shared:
            if begun:
                raise CallLost(gone.message) from gone
            raise SandboxUnavailable(
                f"{gone.message} It has this session's files; the session keeps its place there for when it comes back."
            ) from gone
        if name not in self._hosts:
            raise SandboxUnavailable(f"{gone.message} Name it again, or move the session.") from gone
        new = await self._moved(session, name)
        # Its journal came along: a call that had begun is not begun again, and one that had ended has its outcome.
        return await self._hosts[new].execute(session, call, epoch=epoch, resume=begun)

    async def _moved(self, session: str, name: str) -> str:
        """Off a host that is away, on shared storage."""
        new = await self._placements.place(session, await self._least_used({name}), instead_of=name)
        log.warning("session %s moved from sandbox host %s to %s", session, name, new)
        return new

    async def interrupt(self, session: str, call_id: str, *, epoch: int) -> None:
        host = await self._host_of(session)
        if host is not None:
            await host.interrupt(session, call_id, epoch=epoch)

    async def outputs(self, session: str, *, epoch: int) -> Left:
        host = await self._host_of(session)
        return Left([]) if host is None else await host.outputs(session, epoch=epoch)

    async def read_output(self, session: str, output: Output) -> AsyncIterator[bytes]:
        host = await self._host_of(session)
        if host is None:
            raise OutputChanged("its session has left its host")
        async for piece in host.read_output(session, output):
            yield piece

    async def missing_uploads(self, session: str, uploads: Sequence[Upload], *, epoch: int) -> list[Upload]:
        return await self._where_placed(session, lambda host: host.missing_uploads(session, uploads, epoch=epoch))

    async def equip(self, session: str, equipment: Equipment, *, epoch: int) -> None:
        await self._where_placed(session, lambda host: host.equip(session, equipment, epoch=epoch))

    async def _where_placed(self, session: str, ask: Callable[[RemoteSandboxes], Awaitable[T]]) -> T:
        """Ask the session's host what may be asked again elsewhere; a session without a place gets one."""
        tried: set[str] = set()
        while (name := await self._placements.placement(session)) is None:
            wanted = await self._least_used(tried)
            name = await self._placements.place(session, wanted)
            if name != wanted:
                break  # another server was first
            try:
                return await ask(self._hosts[name])
            except HostUnreachable:  # nothing of it is anywhere yet
                tried.add(name)
                await self._placements.unplace(session)
        if given_up_host(name) is not None:
            name = await self._begin_anew(session, name)
        if name not in self._hosts:
            raise SandboxUnavailable(f"Sandbox host {name} is not among the configured ones.")
        try:
            return await ask(self._hosts[name])
        except HostUnreachable:
            if not self._shared:
                raise
            return await ask(self._hosts[await self._moved(session, name)])

    async def put_upload(self, session: str, upload: Upload, content: AsyncIterator[bytes], *, epoch: int) -> None:
        host = await self._host_of(session)
        if host is None:
            raise SandboxUnavailable("The session has left its sandbox host.")
        await host.put_upload(session, upload, content, epoch=epoch)

    async def memory(self, session: str, request: dict[str, Any]) -> dict[str, Any]:
        host = await self._host_of(session)
        if host is not None:
            return await host.memory(session, request)
        if is_erasure(request):
            return {}
        raise NotMounted(f"Session {session} has no sandbox host yet.")

    async def stop(self, session: str) -> None:
        host = await self._host_of(session)
        if host is not None:
            await host.stop(session)

    async def delete(self, session: str) -> None:
        host = await self._host_of(session)
        if host is not None:
            await host.delete(session)
            await self._placements.unplace(session)

    async def sweep(self, living: Living) -> list[str]:
        """Erase what a host has of sessions that are gone, or that live elsewhere. Other processes place sessions, so
        hosts are asked first, and the store after."""
        stored = {name: found for name in self._hosts if (found := await self._stored(name)) is not None}
        held = {session for sessions in stored.values() for session in sessions}
        placements, alive = await self._placements.places(held), await living(held)
        gone: set[str] = set()
        for name, sessions in stored.items():
            moved = {one for one in sessions if not self._shared and placements.get(one, name) != name}
            gone.update(await erased({*sessions} - alive | moved, self._hosts[name].delete))
        await self._places_of_gone.forget(living, lambda name: name in stored or given_up_host(name) is not None)
        return sorted(gone)

    async def close(self) -> None:
        await asyncio.gather(*(host.close() for host in self._hosts.values()))

    # -- beyond it

    async def keep_all(self, sessions: Callable[[], list[str]]) -> None:
        """For as long as it runs, hosts that lease sandboxes hear which sessions this process drives."""
        while True:
            running = sessions()
            await asyncio.gather(*(host.keep(running) for host in self._hosts.values()))
            await asyncio.sleep(BEAT_SECONDS)

    async def reaches(self, name: str) -> bool | None:
        """Whether the host answers now; None for one that is not among ours."""
        return None if name not in self._hosts else await self._hosts[name].load() is not None

    async def _stored(self, name: str) -> list[str] | None:
        try:
            return await self._hosts[name].stored()
        except SandboxUnavailable:
            return None  # it is looked at when it is back

    async def _host_of(self, session: str) -> RemoteSandboxes | None:
        name = await self._placements.placement(session)
        if name is None or given_up_host(name) is not None:
            return None
        if name not in self._hosts:
            raise SandboxUnavailable(f"Sandbox host {name} is not among the configured ones.")
        return self._hosts[name]

    async def _least_used(self, but: set[str]) -> str:
        """Of the hosts that answer now. Raises SandboxUnavailable when none does."""
        asked = [name for name in self._hosts if name not in but]
        loads = await asyncio.gather(*(self._hosts[name].load() for name in asked))
        up = [(load + self._placing[name], name) for name, load in zip(asked, loads, strict=True) if load is not None]
        if not up:
            reasons = "; ".join(f"{name}: {self._hosts[name].reason}" for name in asked) or "there is no other"
            raise SandboxUnavailable(f"No sandbox host can be reached ({reasons}).")
        return min(up)[1]
