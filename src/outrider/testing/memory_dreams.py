"""Dreams in memory, for tests and trials."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from outrider.errors import Conflict, InvalidRequest
from outrider.ports.dreams import TOO_LARGE, Copying, DreamFilter, DreamRecord, Outcome
from outrider.ports.log import KeptAnswer
from outrider.ports.memory import MemoryStoreRecord, Write
from outrider.ports.records import Page, StoredAnswer
from outrider.testing.memory_deployments import MemoryDeployments, Place
from outrider.testing.paging import one_page, one_stretch


class MemoryDreams(MemoryDeployments):
    """Implements `Dreams`."""

    def __init__(self) -> None:
        super().__init__()
        self._dreams: dict[Place, DreamRecord] = {}

    async def create_dream(self, record: DreamRecord, *, keep: KeptAnswer | None = None) -> None:
        self._usable_source(record)
        others = [one for one in self._dreams.values() if one.in_place and one.settled_at is None]
        if record.in_place and any((one.workspace, one.source) == (record.workspace, record.source) for one in others):
            raise Conflict(f"Another dream writes memory store {record.source}.")
        self._dreams[record.workspace, record.id] = record
        if keep is not None:
            self._keep(record.workspace, keep)

    def _usable_source(self, record: DreamRecord) -> MemoryStoreRecord:
        found = self._known_store(record.workspace, record.source)
        if found.archived_at is not None:
            raise InvalidRequest(f"Memory store {record.source} is archived.")
        return found

    async def dream(self, workspace: str, dream: str) -> DreamRecord | None:
        return self._dreams.get((workspace, dream))

    async def dreams(self, workspace: str, page: Page, where: DreamFilter) -> list[DreamRecord]:
        of = [one for one in self._dreams.values() if one.workspace == workspace]
        return one_page((one for one in of if not where.statuses or one.status in where.statuses), page)

    async def unsettled_dreams(self, *, limit: int) -> list[DreamRecord]:
        left = [one for one in self._dreams.values() if one.settled_at is None]
        return one_stretch(left, Page(limit, descending=False))

    async def begin_dream(self, record: DreamRecord, copying: Copying, *, at: str) -> bool:
        current = self._dreams[record.workspace, record.id]
        if (current.status, current.outcome) != ("pending", None):
            return False
        source = self._usable_source(record)
        if not record.in_place:
            await self._copy(record, source, copying, at)
        self._change(record, status="running", begun_at=at)
        return True

    async def _copy(self, record: DreamRecord, source: MemoryStoreRecord, copying: Copying, at: str) -> None:
        held = sorted(self._memories[record.workspace, record.source].values(), key=lambda one: one.path.encode())
        if sum(one.size for one in held) > copying.most_bytes:
            raise InvalidRequest("The memories hold too much.", error_code=TOO_LARGE)
        new = {"id": record.output, "created_at": at, "updated_at": at}
        await self.create_memory_store(replace(source, **new))
        contents = await self.contents(record.workspace, record.source, [one.version for one in held])
        for number, one in enumerate(held, 10001):
            names = (record.workspace, record.output, f"{copying.version}{number}", at, "session_actor", record.session)
            content = contents[one.version]
            self._put(Write(*names), f"{copying.memory}{number}", one.path, content, "created", at)

    def _change(self, record: DreamRecord, **changes: Any) -> None:
        self._dreams[record.workspace, record.id] = replace(self._dreams[record.workspace, record.id], **changes)

    async def open_dream(self, record: DreamRecord, *, at: str) -> None:
        if self._dreams[record.workspace, record.id].opened_at is None:
            self._change(record, opened_at=at)

    async def decide_dream(self, record: DreamRecord, outcome: Outcome, error: bytes | None, *, at: str) -> bool:
        current = self._dreams[record.workspace, record.id]
        if current.settled_at is not None or outcome == current.status:
            return False
        if outcome == "canceled":
            self._change(record, outcome=outcome, status=outcome, error=None, ended_at=at)
        elif current.outcome is not None:
            return False
        else:
            self._change(record, outcome=outcome, error=error)
        self._answers.setdefault((record.workspace, record.id), (at, StoredAnswer(204, b"")))
        return True

    async def settle_dream(self, record: DreamRecord, usage: bytes, *, at: str) -> None:
        current = self._dreams[record.workspace, record.id]
        if current.outcome is not None and current.settled_at is None:
            ended = current.ended_at or at
            self._change(record, status=current.outcome, ended_at=ended, settled_at=at, usage=usage)

    async def archive_dream(self, workspace: str, dream: str, at: str) -> bool:
        current = self._dreams.get((workspace, dream))
        if current is None or current.ended_at is None:
            return False
        self._change(current, archived_at=current.archived_at or at)
        return True

    def _sessions_of_settled_dreams(self) -> set[str]:
        return {one.session for one in self._dreams.values() if one.settled_at is not None}
