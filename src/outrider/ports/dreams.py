"""Durable records of dreams: sessions that write a memory store anew from what other sessions did.

A dream is a row before anything is made for it. It begins once, its outcome is decided once, and it is settled when
nothing of it is under way any more; whoever goes on with it finds in the row how far it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from outrider.ports.log import KeptAnswer
from outrider.ports.records import Page

Status = Literal["pending", "running", "completed", "failed", "canceled"]
Outcome = Literal["completed", "failed", "canceled"]
TOO_LARGE = "input_memory_store_too_large"


@dataclass(frozen=True, slots=True)
class DreamRecord:
    """`source` is the memory store that it reads, `output` the one that it writes, which may be the same; `session` the
    one that it works in, which was made if there is an `opened_at`. `outcome` is what it will end with once it is
    settled; `error` and `usage` are JSON, `body` that of the client-set fields."""

    workspace: str
    id: str
    status: Status
    created_at: str
    source: str
    output: str
    session: str
    body: bytes
    begun_at: str | None = None
    opened_at: str | None = None
    outcome: Outcome | None = None
    ended_at: str | None = None
    settled_at: str | None = None
    archived_at: str | None = None
    error: bytes | None = None
    usage: bytes | None = None

    @property
    def in_place(self) -> bool:
        return self.output == self.source


@dataclass(frozen=True, slots=True)
class DreamFilter:
    """Of a list of dreams; empty means any."""

    statuses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Copying:
    """What the copies of memories and their versions are made with: their ids are these with a number behind each.
    `most_bytes` is what the contents of a store that is copied may hold together."""

    memory: str
    version: str
    most_bytes: int


class Dreams(Protocol):
    """Another workspace's id behaves like an unknown one (NotFound or None)."""

    async def create_dream(self, record: DreamRecord, *, keep: KeptAnswer | None = None) -> None:
        """With the answer that is kept for retries. Raises NotFound (no such memory store), InvalidRequest (it is
        archived), Conflict (it is to be written in place, and another dream that does so is not settled)."""
        ...

    async def dream(self, workspace: str, dream: str) -> DreamRecord | None: ...
    async def dreams(self, workspace: str, page: Page, where: DreamFilter) -> list[DreamRecord]: ...
    async def unsettled_dreams(self, *, limit: int) -> list[DreamRecord]:
        """Of all workspaces, oldest first."""
        ...

    async def begin_dream(self, record: DreamRecord, copying: Copying, *, at: str) -> bool:
        """From pending to running; and unless it writes in place, the output is made, with a copy of every memory of
        the source, whose versions say that the dream's session created them. False: it is not pending any more. Raises
        NotFound, InvalidRequest (`TOO_LARGE`, or archived); then it is pending still."""
        ...

    async def open_dream(self, record: DreamRecord, *, at: str) -> None:
        """Note that its session was made. A second call changes nothing."""
        ...

    async def decide_dream(self, record: DreamRecord, outcome: Outcome, error: bytes | None, *, at: str) -> bool:
        """What it will end with: it makes no session any more, also if somebody else is about to, as a session is kept
        as the answer named by its dream. Canceled it is at once, whatever was decided before. False: something was
        decided already, or it is settled."""
        ...

    async def settle_dream(self, record: DreamRecord, usage: bytes, *, at: str) -> None:
        """It ends with what was decided; `usage` is JSON of what it used. Once; a second call changes nothing."""
        ...

    async def archive_dream(self, workspace: str, dream: str, at: str) -> bool:
        """Once; a second call changes nothing. False: it has not ended, or there is none."""
        ...
