"""The files that a session was given, its agent's skills and its environment's packages, brought into its sandbox
before the next tool call runs there.

Nothing of it is in the log but what was given: the sandbox knows which files it holds as a whole, so whoever takes over
asks it anew. While files are missing no call begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from outrider import faults
from outrider.errors import CallLost, Fenced, NotFound, OutriderError, SandboxUnavailable
from outrider.harness.journal import Journal
from outrider.ports.blobs import Blobs
from outrider.ports.files import FileRecord, FileRecords, content_of
from outrider.ports.log import Lease
from outrider.ports.packages import Equipment, wanted_packages
from outrider.ports.records import Page
from outrider.ports.sandbox import UPLOAD_PIECE, Sandboxes, Upload
from outrider.ports.skills import SkillRecords
from outrider.resources.given import UPLOADS
from outrider.resources.skills.prebuilt import prebuilt
from outrider.session.events import text_blocks
from outrider.session.inbox import close_call
from outrider.session.state import GivenFile

SECONDS = 600.0  # for all that is missing at once
STOP_SECONDS = 10.0
EVERY = Page(limit=1_000_000)

Packages = Mapping[str, tuple[str, ...]]
Skill = dict[str, Any]
"""As the session's log tells of it."""
Content = Callable[[], AsyncIterator[bytes]]

log = logging.getLogger("outrider.harness")


class Brings(Protocol):
    async def equip(self, lease: Lease, packages: Packages) -> None:
        """Have the sandbox hold these packages. Raises Fenced, SandboxUnavailable."""
        ...

    async def bring(self, lease: Lease, files: Sequence[GivenFile], skills: Sequence[Skill]) -> None:
        """Have the sandbox hold these and nothing else. Raises Fenced, SandboxUnavailable and what the stores raise."""
        ...


class BringsNothing:
    """Implements `Brings`, where no session is given files or packages."""

    async def equip(self, lease: Lease, packages: Packages) -> None:
        return None

    async def bring(self, lease: Lease, files: Sequence[GivenFile], skills: Sequence[Skill]) -> None:
        return None


class Uploads:
    """Implements `Brings`."""

    def __init__(self, files: FileRecords, skills: SkillRecords, blobs: Blobs, sandboxes: Sandboxes) -> None:
        self._files = files
        self._skills = skills
        self._blobs = blobs
        self._sandboxes = sandboxes

    async def equip(self, lease: Lease, packages: Packages) -> None:
        faults.point("harness.equip.before")
        equipment = Equipment(lease.key.workspace, packages)
        await self._sandboxes.equip(lease.key.session, equipment, epoch=lease.epoch)
        faults.point("harness.equip.after")

    async def bring(self, lease: Lease, files: Sequence[GivenFile], skills: Sequence[Skill]) -> None:
        wanted = await self._given(lease, files) | await self._taught(lease.key.workspace, skills)
        faults.point("harness.upload.before")
        session, epoch = lease.key.session, lease.epoch
        for upload in await self._sandboxes.missing_uploads(session, list(wanted), epoch=epoch):
            await self._sandboxes.put_upload(session, upload, _pieces(wanted[upload]()), epoch=epoch)
        faults.point("harness.upload.after")

    async def _given(self, lease: Lease, files: Sequence[GivenFile]) -> dict[Upload, Content]:
        """Without those that were deleted: they are about to be taken away."""
        found = await self._files.files(lease.key.workspace, EVERY, session=lease.key.session) if files else []
        records = {record.id: record for record in found}
        return {
            Upload(one.mount_path.removeprefix(f"{UPLOADS}/"), one.file_id, one.size): partial(
                self._content, records[one.file_id]
            )
            for one in files
            if one.file_id in records
        }

    async def _taught(self, workspace: str, skills: Sequence[Skill]) -> dict[Upload, Content]:
        """Without versions that were deleted. Of one that comes with the server, what it is in this release."""
        found: dict[Upload, Content] = {}
        for one in skills:
            skill, version, place = one["skill_id"], one["version"], one["directory"]
            shared = prebuilt().get(skill)
            if shared is not None:
                file = f"{skill}-{shared.version.id}"
                found[Upload(place, file, shared.version.size, "skills")] = partial(_whole, shared.packed)
            elif await self._skills.skill_version(workspace, skill, version) is not None:
                content = partial(self._blobs.get, content_of(workspace, version))
                found[Upload(place, version, one["size"], "skills")] = content
        return found

    async def _content(self, record: FileRecord) -> AsyncIterator[bytes]:
        if record.blob is None:
            raise NotFound(f"The bytes of file {record.id} are gone.")
        async for piece in self._blobs.get(content_of(record.workspace, record.blob)):
            yield piece


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _pieces(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in content:
        for start in range(0, len(piece), UPLOAD_PIECE):
            yield piece[start : start + UPLOAD_PIECE]


class Bringing:
    """One drive's. `news` is set when something has come to an end."""

    def __init__(
        self,
        brings: Brings,
        journal: Journal,
        news: asyncio.Event,
        spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
    ) -> None:
        self._brings = brings
        self._journal = journal
        self._news = news
        self._spawn = spawn
        self._there: list[GivenFile] | None = None
        self._task: asyncio.Task[None] | None = None
        self._problem = ""

    def under_way(self) -> list[asyncio.Task[None]]:
        return [] if self._task is None else [self._task]

    def again(self) -> None:
        """The sandbox may be another one now."""
        self._there = None

    async def settled(self, calls: Sequence[str]) -> bool:
        """Whether these calls may begin. If not, either something has happened since, or they have their results, which
        say why the files could not be had."""
        context = self._journal.context
        if self._task is None:
            given = context.had_files or context.skills or wanted_packages(context.environment)
            if not given or self._there == context.files:
                return True
            self._task = self._spawn(self._bring(list(context.files)))
        if not self._task.done():
            await self._journal.flush()  # results too: nothing may stay staged meanwhile
            await self._news.wait()
            return False
        self._task, problem = None, self._problem
        if problem:
            self._refuse(calls, problem)
        return False

    async def _bring(self, files: list[GivenFile]) -> None:
        self._problem = ""
        context, lease = self._journal.context, self._journal.lease
        try:
            if packages := wanted_packages(context.environment):
                await self._brings.equip(lease, packages)
            if context.had_files or context.skills:
                async with asyncio.timeout(SECONDS):
                    await self._brings.bring(lease, files, context.skills)
            self._there = files
        except Fenced:
            raise
        except (SandboxUnavailable, CallLost) as problem:
            self._problem = problem.message
        except TimeoutError:
            self._problem = f"The files that the user gave could not be had within {SECONDS:.0f} s."
        except (OutriderError, ValueError) as problem:
            said = problem.message if isinstance(problem, OutriderError) else str(problem)
            log.warning("session %s: its files could not be had: %s", self._journal.lease.key.session, said)
            self._problem = f"The files that the user gave could not be had: {said}"
        self._news.set()

    def _refuse(self, calls: Sequence[str], problem: str) -> None:
        text = text_blocks(f"{problem} The call was not run.")
        found = [self._journal.state.call(call_id) for call_id in calls]
        self._journal.stage(*(close_call(self._journal.factory, call, text) for call in found if call is not None))

    async def stop(self) -> None:
        """An interrupt: what is there as a whole stays, the rest is fetched when it is needed next."""
        for task in self.under_way():
            task.cancel()
            await asyncio.wait([task], timeout=STOP_SECONDS)
        self._task = self._there = None
