"""Erases workspaces that were deleted: what they have in sandboxes, in the vault, in the blob store and in the records.

The mark comes first and the record goes last, so whoever is killed on the way, another goes on. In the day after that
it is looked at again, at growing distances: a request from before the workspace was closed may have ended late.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta

from outrider import faults
from outrider.clock import Clock, rfc3339
from outrider.errors import Conflict, HeadMoved, NotFound, OutriderError, Overloaded
from outrider.ports.access import Doomed
from outrider.ports.blobs import BlobPrefix, Blobs
from outrider.ports.declarations import Declarations
from outrider.ports.log import SessionKey
from outrider.ports.records import Page, SessionFilter
from outrider.ports.secrets import Secrets
from outrider.ports.vaults import SecretRef
from outrider.store.opening import Store

EVERY_SECONDS = 60.0
SOON_SECONDS = 1.0
LOOKS = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(days=1))  # no request lasts longer
REMEMBERED = timedelta(days=1, hours=1)  # so that the last look is tried again, if it fails
AT_ONCE = 100
WHENEVER = "9999"
TURNS = 20  # of a session whose log is being written to
TURN_SECONDS = 0.1
ALL = SessionFilter()
log = logging.getLogger("outrider.server")

Delete = Callable[[SessionKey, str], Awaitable[bool]]


class WorkspaceErasure:
    """`delete` deletes a session, whatever it is doing; `asked` is set when there is something to do at once. Several
    processes may do this at once."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        secrets: Secrets,
        declarations: Declarations,
        clock: Clock,
        delete: Delete,
        asked: asyncio.Event,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._secrets = secrets
        self._declarations = declarations
        self._clock = clock
        self._delete = delete
        self._asked = asked
        self._looked: dict[str, int] = {}
        """How many of the looks at a workspace that is gone this process has had."""

    async def watching(self) -> None:
        """What fails is tried again, soon at first: when a server starts, the vault may be starting, too."""
        pause = EVERY_SECONDS
        while True:
            if await self._tried(self.run()):
                pause = EVERY_SECONDS
            else:
                pause = SOON_SECONDS if pause == EVERY_SECONDS else min(2 * pause, EVERY_SECONDS / 2)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._asked.wait()
                    self._asked.clear()

    async def run(self) -> None:
        """Every workspace has its turn. Raises Overloaded when something is left."""
        now = datetime.fromisoformat(self._clock.now()).astimezone(UTC)
        await self._store.forget_workspaces(rfc3339(now - REMEMBERED))
        doomed = {one.id: _looks(one, now) for one in await self._store.doomed_workspaces()}
        self._looked = {id: looks for id, looks in self._looked.items() if id in doomed}
        kept, failed = _Kept(self._declarations, self._secrets), list[str]()
        for id, looks in doomed.items():
            if looks is not None and looks <= self._looked.get(id, 0):
                continue
            if await self._tried(self._erase(id, kept)):
                self._looked[id] = looks or 0
            else:
                failed.append(id)
        if failed:
            raise Overloaded(f"not erased yet: {', '.join(failed)}", retry_after=1)

    async def _tried(self, work: Coroutine[None, None, None]) -> bool:
        try:
            await work
        except OutriderError as error:
            log.warning("erasing workspaces: %s", error.message)
            return False
        return True

    async def _erase(self, workspace: str, kept: _Kept) -> None:
        """Endpoints first: nobody is told what is deleted here thing by thing."""
        for endpoint in await self._store.webhooks(workspace, Page(limit=AT_ONCE)):
            await _unless_gone(self._store.delete_webhook(workspace, endpoint.id))
        async for session in self._sessions(workspace):
            await self._delete_session(session)
        await self._erase_secrets(workspace, kept)
        faults.point("workspace.bytes.before")
        await self._blobs.delete_all(BlobPrefix(workspace))
        faults.point("workspace.bytes.after")
        faults.point("workspace.rows.before")
        await self._store.erase_workspace(workspace, self._clock.now())
        faults.point("workspace.rows.after")

    async def _sessions(self, workspace: str) -> AsyncIterator[SessionKey]:
        """Of all statuses, oldest first. Each page is read behind the last one, so it comes to an end."""
        after: tuple[str, str] | None = None
        while True:
            page = Page(limit=AT_ONCE, after=after, descending=False, include_archived=True)
            found = await self._store.sessions(workspace, page, ALL)
            for record in found:
                yield SessionKey(workspace, record.id)
            if len(found) < AT_ONCE:
                return
            after = (found[-1].created_at, found[-1].id)

    async def _delete_session(self, key: SessionKey) -> None:
        """One that is at work writes on until it is gone; what is written between is seen at the next turn."""
        for _ in range(TURNS):
            faults.point("workspace.session.before")
            try:
                await _unless_gone(self._delete(key, WHENEVER))
            except HeadMoved:
                await asyncio.sleep(TURN_SECONDS)
                continue
            faults.point("workspace.session.after")
            return
        raise Conflict(f"Session {key.session} is written to too fast.")

    async def _erase_secrets(self, workspace: str, kept: _Kept) -> None:
        """What came after the vault was asked is seen at the next look."""
        declared, held = await kept.all()
        for session in declared:
            if session.workspace == workspace:
                await self._declarations.withdraw(session)
        for ref in held:
            if ref.workspace == workspace:
                await self._secrets.purge_one(ref)


class _Kept:
    """What the vault has of all workspaces, asked for once in a run."""

    def __init__(self, declarations: Declarations, secrets: Secrets) -> None:
        self._declarations = declarations
        self._secrets = secrets
        self._found: tuple[set[SessionKey], set[SecretRef]] | None = None

    async def all(self) -> tuple[set[SessionKey], set[SecretRef]]:
        if self._found is None:
            self._found = await self._declarations.declared(), await self._secrets.held()
        return self._found


def _looks(doomed: Doomed, now: datetime) -> int | None:
    """How many of the looks at it are due by now; None where all of it is still to be erased."""
    if doomed.erased_at is None:
        return None
    gone = now - datetime.fromisoformat(doomed.erased_at)
    return sum(gone >= distance for distance in LOOKS)


async def _unless_gone(deletion: Awaitable[object]) -> None:
    """Somebody else may have deleted it at the same moment."""
    try:
        await deletion
    except NotFound:
        return
