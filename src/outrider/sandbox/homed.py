"""The `Sandboxes` port over this server's own sandboxes, where several servers share a store: a session whose files
are on another server is left to that one.

Promised: a session's calls run on one server only, that of its first call, until `outrider session move` moves it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

from outrider.errors import CallLost, SandboxUnavailable
from outrider.ports.mounted import is_erasure
from outrider.ports.packages import Equipment
from outrider.ports.placements import Placements, Whereabouts, given_up_host, moved_text
from outrider.ports.sandbox import (
    Capabilities,
    Left,
    Living,
    NotMounted,
    Output,
    Sandboxes,
    ToolCall,
    ToolOutcome,
    Upload,
)
from outrider.sandbox.gone import GonePlacements, erased


class OwnSandboxes(Sandboxes, Protocol):
    """What this machine's driver has beyond the port."""

    async def stored(self) -> list[str]: ...

    @property
    def live(self) -> int: ...


class HomedSandboxes:
    """`node`: this server's name; `own`: its sandboxes. `alive` says whether a harness works on the node of that
    name. A node that is away is waited for, for `patience` seconds in all."""

    def __init__(
        self,
        node: str,
        own: OwnSandboxes,
        placements: Placements,
        alive: Callable[[str], Awaitable[bool]],
        *,
        patience: float = 15.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._own = own
        self._placements = placements
        self._places_of_gone = GonePlacements(placements)
        self._alive = alive
        self._patience = patience
        self._monotonic = monotonic
        self._away_since: dict[str, float] = {}
        self._beginning = asyncio.Lock()

    @property
    def live(self) -> int:
        return self._own.live

    # -- the port

    async def probe(self) -> Capabilities:
        return await self._own.probe()

    async def execute(self, session: str, call: ToolCall, *, epoch: int, resume: bool = False) -> ToolOutcome:
        await self._settle(session, resume=resume)
        return await self._own.execute(session, call, epoch=epoch, resume=resume)

    async def _settle(self, session: str, *, resume: bool = False) -> None:
        """Make sure that its place is here. Raises CallLost to resume what was elsewhere, SandboxUnavailable."""
        place = await self._placements.placement(session)
        if place is None:
            place = await self._placements.place(session, self._node)
        if given_up_host(place) is not None:
            if resume:  # it may have begun where it was, and is not begun anew
                raise CallLost(f"{place} was given up.")
            place = await self._begin_anew(session)
        if place == self._node:
            return
        if resume:
            raise CallLost(f"{place} can't be reached.")
        raise SandboxUnavailable(
            f"This session's files are on {place}, which can't be reached; the session keeps its place there for when"
            " it comes back."
        )

    async def interrupt(self, session: str, call_id: str, *, epoch: int) -> None:
        if await self._is_here(session):
            await self._own.interrupt(session, call_id, epoch=epoch)

    async def outputs(self, session: str, *, epoch: int) -> Left:
        if not await self._is_here(session):
            raise SandboxUnavailable(f"The files of session {session} are elsewhere.")
        return await self._own.outputs(session, epoch=epoch)

    def read_output(self, session: str, output: Output) -> AsyncIterator[bytes]:
        return self._own.read_output(session, output)

    async def missing_uploads(self, session: str, uploads: Sequence[Upload], *, epoch: int) -> list[Upload]:
        await self._settle(session)
        return await self._own.missing_uploads(session, uploads, epoch=epoch)

    async def equip(self, session: str, equipment: Equipment, *, epoch: int) -> None:
        await self._settle(session)
        await self._own.equip(session, equipment, epoch=epoch)

    async def put_upload(self, session: str, upload: Upload, content: AsyncIterator[bytes], *, epoch: int) -> None:
        if not await self._is_here(session):
            raise SandboxUnavailable(f"The files of session {session} are elsewhere.")
        await self._own.put_upload(session, upload, content, epoch=epoch)

    async def memory(self, session: str, request: dict[str, Any]) -> dict[str, Any]:
        place = await self._placements.placement(session)
        if place is None and not is_erasure(request):
            raise NotMounted(f"Session {session} has no sandbox yet.")
        if place not in (None, self._node):
            raise SandboxUnavailable(f"The files of session {session} are elsewhere.")
        return await self._own.memory(session, request)

    async def stop(self, session: str) -> None:
        if await self._is_here(session):
            await self._own.stop(session)

    async def delete(self, session: str) -> None:
        if not await self._is_here(session):
            raise SandboxUnavailable(f"The files of session {session} are elsewhere: they are erased there.")
        await self._own.delete(session)
        await self._placements.unplace(session)

    async def sweep(self, living: Living) -> list[str]:
        """Erase what this server has of sessions that are gone, or that live elsewhere by now. Our disk is looked at
        first, and the store after."""
        stored = await self._own.stored()
        places, alive = await self._placements.places(stored), await living(stored)
        strays = [name for name in stored if name not in alive or places.get(name, self._node) != self._node]
        gone = await erased(strays, self._own.delete)
        await self._places_of_gone.forget(living, lambda _: True)
        return gone

    async def close(self) -> None:
        await self._own.close()

    # -- beyond it

    async def whereabouts(self, session: str) -> Whereabouts:
        """`away` for as long as we have patience; then calls may as well be told that their place can't be reached."""
        place = await self._placements.placement(session)
        if place in (None, self._node) or given_up_host(place) is not None:
            return "here"
        if await self._alive(place):
            self._away_since.pop(place, None)
            return "elsewhere"
        now = self._monotonic()
        return "away" if now < self._away_since.setdefault(place, now) + self._patience else "here"

    async def _begin_anew(self, session: str) -> str:
        """Give a session that was taken off its host its place here, with nothing in it. Returns the place that it has
        if it got one meanwhile."""
        async with self._beginning:
            place = await self._placements.placement(session) or self._node
            lost = given_up_host(place)
            if lost is None:
                return place
            await self._own.delete(session)  # what an earlier stay may have left
            found = await self._placements.place(session, self._node, instead_of=place)
        if found != self._node:
            return found
        raise SandboxUnavailable(moved_text(lost))

    async def _is_here(self, session: str) -> bool:
        return await self._placements.placement(session) in (None, self._node)
