"""Erases workspaces that were deleted: what they have in sandboxes, in the vault, in the blob store and in the records.

The mark comes first and the record goes last, so whoever is killed on the way, another goes on. For a day after that
it is looked at again: a request from before the workspace was closed may have ended late.
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
from outrider.ports.blobs import BlobPrefix, Blobs
from outrider.ports.declarations import Declarations
from outrider.ports.log import SessionKey
from outrider.ports.records import Page, SessionFilter
from outrider.ports.secrets import Secrets
from outrider.store.opening import Store

EVERY_SECONDS = 60.0
SOON_SECONDS = 1.0
LOOKED_AFTER = timedelta(days=1)  # no request lasts longer
AT_ONCE = 100
WHENEVER = "9999"
TURNS = 20  # of a session whose log is being written to
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
        await self._store.forget_workspaces(rfc3339(now - LOOKED_AFTER))
        doomed = await self._store.doomed_workspaces()
        failed = [one for one in doomed if not await self._tried(self._erase(one))]
        if failed:
            raise Overloaded(f"not erased yet: {', '.join(failed)}", retry_after=1)

    async def _tried(self, work: Coroutine[None, None, None]) -> bool:
        try:
            await work
        except OutriderError as error:
            log.warning("erasing workspaces: %s", error.message)
            return False
        return True

    async def _erase(self, workspace: str) -> None:
        """Endpoints first: nobody is told what is deleted here thing by thing."""
        for endpoint in await self._store.webhooks(workspace, Page(limit=AT_ONCE)):
            await _unless_gone(self._store.delete_webhook(workspace, endpoint.id))
        async for session in self._sessions(workspace):
            await self._delete_session(session)
        await self._erase_secrets(workspace)
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
                continue
            faults.point("workspace.session.after")
            return
        raise Conflict(f"Session {key.session} is written to too fast.")

    async def _erase_secrets(self, workspace: str) -> None:
        for session in await self._declarations.declared():
            if session.workspace == workspace:
                await self._declarations.withdraw(session)
        for ref in await self._secrets.held():
            if ref.workspace == workspace:
                await self._secrets.purge_one(ref)


async def _unless_gone(deletion: Awaitable[object]) -> None:
    """Somebody else may have deleted it at the same moment."""
    try:
        await deletion
    except NotFound:
        return
