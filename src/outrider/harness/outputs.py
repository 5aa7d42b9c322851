"""What agents leave in their outputs folder becomes files of their session, before the session is said to be idle.

A crash in between costs nothing but time: the next owner ends the turn anew, and finds what is there already.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from outrider import faults
from outrider.clock import Clock
from outrider.config import Limits
from outrider.errors import CallLost, InvalidRequest, NotFound, Overloaded, SandboxUnavailable
from outrider.ids import IdSource
from outrider.ports.blobs import Blobs
from outrider.ports.files import FILE, Announced, FileRecord, FileRecords, OutputRecord, all_of, content_of
from outrider.ports.log import Lease
from outrider.ports.sandbox import Left, Output, OutputChanged, Sandboxes
from outrider.resources.announced import withdraw
from outrider.resources.files import FORBIDDEN, LONGEST_NAME, UNKNOWN_TYPE, mime_type_of

MOST_FILES = 500
MOST_SAID = 10
SECONDS = 120.0  # after which the turn ends all the same, and the rest waits for the next one

log = logging.getLogger("outrider.harness")


class Collects(Protocol):
    async def collect(self, lease: Lease) -> list[str]:
        """All that is new or was changed; what could not become a file, and why, in words. Raises Fenced."""
        ...


def said_of(refused: list[str]) -> str:
    """For the client."""
    more = f"; and {len(refused) - MOST_SAID} more" if len(refused) > MOST_SAID else ""
    return f"Not all that is in the outputs folder became files: {'; '.join(refused[:MOST_SAID])}{more}"


def _beyond(left: Left) -> list[str]:
    """What was not looked at, for there is too much: nobody knows its names."""
    many = [f"more than {MOST_FILES} files are there"] if len(left.files) > MOST_FILES else []
    deep = ["there are more entries, or deeper folders, than are looked at"] if left.cut else []
    return many + deep


class CollectsNothing:
    """Implements `Collects`."""

    async def collect(self, lease: Lease) -> list[str]:
        return []


@dataclass(slots=True)
class _Content:
    """One output as it is read; its size and digest are known at the end."""

    sandboxes: Sandboxes
    session: str
    output: Output
    size: int = 0
    digest: str = ""

    async def pieces(self) -> AsyncIterator[bytes]:
        digest = hashlib.sha256()
        async for piece in self.sandboxes.read_output(self.session, self.output):
            digest.update(piece)
            self.size += len(piece)
            yield piece
        self.digest = digest.hexdigest()


class Outputs:
    """Implements `Collects`."""

    def __init__(
        self, files: FileRecords, blobs: Blobs, sandboxes: Sandboxes, limits: Limits, ids: IdSource, clock: Clock
    ) -> None:
        self._files = files
        self._blobs = blobs
        self._sandboxes = sandboxes
        self._limits = limits
        self._ids = ids
        self._clock = clock

    async def collect(self, lease: Lease) -> list[str]:
        session, refused = lease.key.session, list[str]()
        try:
            async with asyncio.timeout(SECONDS):
                known = await self._files.outputs(lease.key)
                left = await self._sandboxes.outputs(session, epoch=lease.epoch)
                refused += _beyond(left)
                for output in left.files[:MOST_FILES]:
                    before = known.get(output.path)
                    if before is None or before.mark != output.mark:
                        refused += await self._take(lease, output, before)
        except (SandboxUnavailable, CallLost, Overloaded, TimeoutError) as problem:
            log.warning("session %s: its outputs are left to its next turn: %s", session, problem or "it took too long")
        return refused

    async def _take(self, lease: Lease, output: Output, before: OutputRecord | None) -> list[str]:
        """What stands in the way, if anything does that will not go by itself."""
        session, named = lease.key.session, repr(output.path[-LONGEST_NAME:])
        if output.size > self._limits.file_bytes:
            return [f"{named} has more than the {self._limits.file_bytes:,} bytes that a file may have"]
        announced = Announced(lease.key.workspace, self._ids.new(FILE))
        await self._files.announce_file(announced.workspace, announced.id, self._clock.now())
        added = False
        try:
            content = _Content(self._sandboxes, session, output)
            faults.point("output.put.before")
            await self._blobs.put(content_of(announced.workspace, announced.id), content.pieces())
            faults.point("output.put.after")
            added = await self._add(lease, announced, content, before)
        except InvalidRequest as problem:
            return [f"{named}: {problem.message}"]
        except (OutputChanged, NotFound) as problem:
            log.warning("session %s: its output %r is not kept: %s", session, output.path, problem.message)
        finally:
            if not added:
                await withdraw(self._files, self._blobs, announced)
        return []

    async def _add(self, lease: Lease, announced: Announced, content: _Content, before: OutputRecord | None) -> bool:
        """Whether the announced bytes are a file now: not if they are what they were."""
        output = content.output
        if before is not None and before.digest == content.digest:
            await self._files.renew_output(lease.key, output.path, output.mark)
            return False
        made = OutputRecord(output.path, announced.id, output.mark, content.digest)
        faults.point("output.add.before")
        unused = await self._files.add_output(
            self._record(lease, announced, content),
            made,
            epoch=lease.epoch,
            most_bytes=self._limits.file_storage_bytes,
        )
        faults.point("output.add.after")
        if unused is not None:
            await self._blobs.delete_all(all_of(announced.workspace, unused))
        return True

    def _record(self, lease: Lease, announced: Announced, content: _Content) -> FileRecord:
        name = filename(content.output.path)
        return FileRecord(
            workspace=announced.workspace,
            id=announced.id,
            created_at=self._clock.now(),
            expires_at=None,
            session=lease.key.session,
            filename=name,
            mime_type=mime_type_of("", name) or UNKNOWN_TYPE,
            size=content.size,
            downloadable=True,
            counted=True,
            blob=announced.id,
        )


def filename(path: str) -> str:
    """The last part of a path, as a name that a file may have."""
    return FORBIDDEN.sub("_", path.rpartition("/")[2])[-LONGEST_NAME:] or "unnamed"
