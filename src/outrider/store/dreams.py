"""Dreams, on every store."""

from __future__ import annotations

from functools import partial
from typing import Any

from outrider.errors import Conflict, InvalidRequest, NotFound
from outrider.ports.dreams import TOO_LARGE, Copying, DreamFilter, DreamRecord, Outcome
from outrider.ports.log import KeptAnswer
from outrider.ports.memory import MemoryStoreRecord
from outrider.ports.records import Page
from outrider.ports.vaults import Change
from outrider.store import shapes
from outrider.store.answers import keep_answer
from outrider.store.deployments import NO_SESSION
from outrider.store.steps import Recorded, Steps, first, rows, run
from outrider.store.vaults import note

Names = dict[str, Any]


class StoredDreams(Recorded):
    """Implements `Dreams`."""

    async def create_dream(self, record: DreamRecord, *, keep: KeptAnswer | None = None) -> None:
        await self._walks.walk(partial(_create, record, keep))

    async def dream(self, workspace: str, dream: str) -> DreamRecord | None:
        return next(iter(await self._reads.one("dream", {"workspace": workspace, "id": dream}, _dreams)), None)

    async def dreams(self, workspace: str, page: Page, where: DreamFilter) -> list[DreamRecord]:
        statuses = f" {' '.join(where.statuses)} " if where.statuses else None
        values = {**shapes.page_values(workspace, page), "statuses": statuses}
        return await self._reads.fetch(shapes.ordered("dreams", descending=page.descending), values, _dreams)

    async def unsettled_dreams(self, *, limit: int) -> list[DreamRecord]:
        return await self._reads.fetch("unsettled_dreams", {"limit": limit}, _dreams)

    async def begin_dream(self, record: DreamRecord, copying: Copying, *, at: str) -> bool:
        return await self._walks.walk(partial(_begin, record, copying, at))

    async def open_dream(self, record: DreamRecord, *, at: str) -> None:
        await self._walks.walk(partial(run, "open_dream", {**_names(record), "at": at}))

    async def decide_dream(self, record: DreamRecord, outcome: Outcome, error: bytes | None, *, at: str) -> bool:
        return await self._walks.walk(partial(_decide, record, outcome, error, at))

    async def settle_dream(self, record: DreamRecord, usage: bytes, *, at: str) -> None:
        await self._walks.walk(partial(run, "settle_dream", {**_names(record), "usage": usage, "at": at}))

    async def archive_dream(self, workspace: str, dream: str, at: str) -> bool:
        values = {"workspace": workspace, "id": dream, "at": at}
        return await self._walks.walk(partial(run, "archive_dream", values)) == 1


def _dreams(found: list[Any]) -> list[DreamRecord]:
    return [DreamRecord(*row) for row in found]


def _names(record: DreamRecord) -> Names:
    return {"workspace": record.workspace, "id": record.id}


def _create(record: DreamRecord, keep: KeptAnswer | None) -> Steps[None]:
    yield from _hold_source(record)
    if record.in_place:
        other = yield from first("dream_in_place", {"workspace": record.workspace, "store": record.source})
        if other is not None:
            raise Conflict(f"Dream {other[0]} writes memory store {record.source}, and has not fully stopped.")
    yield from run("insert_dream", shapes.fields(record))
    yield from keep_answer(record.workspace, keep)


def _hold_source(record: DreamRecord) -> Steps[None]:
    held = yield from first("hold_memory_store", {"workspace": record.workspace, "store": record.source})
    if held is None:
        raise NotFound(f"Memory store {record.source} not found.")
    if held[0] is not None:
        raise InvalidRequest(f"Memory store {record.source} is archived.")


def _begin(record: DreamRecord, copying: Copying, at: str) -> Steps[bool]:
    if (yield from run("begin_dream", {**_names(record), "at": at})) != 1:
        return False
    yield from _hold_source(record)
    if not record.in_place:
        yield from _copy(record, copying, at)
    return True


def _copy(record: DreamRecord, copying: Copying, at: str) -> Steps[None]:
    source = {"workspace": record.workspace, "store": record.source}
    ((size,),) = yield from rows("size_of_memories", source)
    if size > copying.most_bytes:
        raise InvalidRequest(
            f"The memories of {record.source} hold {size} bytes; a dream copies at most {copying.most_bytes}.",
            error_code=TOO_LARGE,
        )
    (found,) = yield from rows("memory_store", {"workspace": record.workspace, "id": record.source})
    made = MemoryStoreRecord(record.workspace, record.output, at, at, None, bytes(found[5]))
    yield from run("insert_memory_store", shapes.fields(made))
    names = {"workspace": record.workspace, "output": record.output}
    copies = {"source": record.source, "memory": copying.memory, "version": copying.version, "at": at}
    yield from run("copy_memory_versions", {**names, **copies, "session": record.session})
    yield from run("copy_memories", names)
    yield from note(Change(record.workspace, "memory_store.created", record.output, at))


def _decide(record: DreamRecord, outcome: Outcome, error: bytes | None, at: str) -> Steps[bool]:
    """The answer under the dream's name is what its session would be kept with, so that there is one of the two."""
    if outcome == "canceled":
        decided = yield from run("cancel_dream", {**_names(record), "at": at})
    else:
        decided = yield from run("decide_dream", {**_names(record), "outcome": outcome, "error": error})
    answer = {"workspace": record.workspace, "idempotency": record.id}
    yield from rows("hold_answer", answer)
    if decided and (yield from first("answer", {**answer, "not_before": ""})) is None:
        yield from run("put_answer", {**answer, "at": at, "status": NO_SESSION, "body": b"", "retries": 0})
    return decided == 1
