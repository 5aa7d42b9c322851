"""Cold logs on PostgreSQL: rows leave and come back in one transaction each. A trigger keeps new rows off cold logs."""

from __future__ import annotations

from functools import partial
from typing import Any

from outrider.ports.cold import Counters, Segment
from outrider.ports.log import Row, SessionKey
from outrider.store.postgres.readers import Readers
from outrider.store.postgres.transaction import Transaction
from outrider.store.postgres.writer import Writer
from outrider.store.shapes import named


class PostgresCold:
    """Implements `ColdLogs`."""

    _writer: Writer
    _readers: Readers

    async def counters(self, key: SessionKey) -> Counters | None:
        return await self._readers.fetch("counters", named(key), _counters)

    async def freeze(self, key: SessionKey, segment: Segment, *, if_head: int, epoch: int) -> bool:
        return await self._writer.run(partial(_freeze, key=key, segment=segment, if_head=if_head, epoch=epoch))

    async def thaw(self, key: SessionKey, segment: Segment, rows: list[Row]) -> bool:
        return await self._writer.run(partial(_thaw, key=key, segment=segment, rows=rows))

    async def resting(self, before: str, limit: int, *, cold_too: bool = False) -> list[SessionKey]:
        values = {"before": before, "limit": limit, "cold_too": cold_too}
        return await self._readers.fetch("resting", values, lambda found: [SessionKey(*row) for row in found])


def _counters(found: list[Any]) -> Counters | None:
    if not found:
        return None
    head, writer_head, epoch, segment = found[0]
    return Counters(head, writer_head, epoch, Segment.read(segment))


async def _freeze(tx: Transaction, key: SessionKey, segment: Segment, if_head: int, epoch: int) -> bool:
    """A wake that another transaction is about to add meets the trigger, or is there before the head is locked."""
    await tx.one("lock_wake", named(key))
    await tx.one("lock_head", named(key))
    found = await tx.one("freeze", named(key, segment=segment.text(), if_head=if_head, epoch=epoch))
    if found is None:
        return False
    await tx.run("erase_history", {"log": found["log"]})
    await tx.run("erase_events", {"log": found["log"]})
    await tx.run("drop_late_snapshot", {"log": found["log"], "head": if_head})
    return True


async def _thaw(tx: Transaction, key: SessionKey, segment: Segment, rows: list[Row]) -> bool:
    found = await tx.one("thaw", named(key, segment=segment.text()))
    if found is None:
        return False
    log = {"log": found["log"]}
    ((told,),) = await tx.all("last_change")
    await tx.run("put_back", {**log, "workspace": key.workspace, **_columns(rows)})
    await tx.run("forget_changes_of", named(key, after=told))  # they were told when they were new
    await tx.run("make_history", log)
    return True


def _columns(rows: list[Row]) -> dict[str, Any]:
    return {
        "seqs": [row.seq for row in rows],
        "ids": [row.id for row in rows],
        "types": [row.type for row in rows],
        "threads": [row.thread for row in rows],
        "publics": [row.public for row in rows],
        "epochs": [row.epoch for row in rows],
        "times": [row.processed_at for row in rows],
        "processes": [row.processes for row in rows],
        "bodies": [row.body for row in rows],
    }
