"""Cold logs on SQLite: rows leave and come back in one transaction each. Triggers make the history anew."""

from __future__ import annotations

from functools import partial
from typing import Any

from outrider.ports.cold import Counters, Segment
from outrider.ports.log import Row, SessionKey
from outrider.store.shapes import named
from outrider.store.sqlite.appends import event_values
from outrider.store.sqlite.readers import Readers
from outrider.store.sqlite.transaction import Transaction
from outrider.store.sqlite.writer import Writer


class SqliteCold:
    """Implements `ColdLogs`."""

    _writer: Writer
    _readers: Readers

    async def counters(self, key: SessionKey) -> Counters | None:
        return await self._readers.one("counters", named(key), _counters)

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


def _freeze(tx: Transaction, key: SessionKey, segment: Segment, if_head: int, epoch: int) -> bool:
    values = named(key, segment=segment.text(), if_head=if_head, epoch=epoch)
    found = tx.one("freeze", values)
    if found is None:
        return False
    (log,) = found
    tx.run("erase_history", {"log": log})
    tx.run("erase_events", {"log": log})
    tx.run("drop_late_snapshot", {"log": log, "head": if_head})
    return True


def _thaw(tx: Transaction, key: SessionKey, segment: Segment, rows: list[Row]) -> bool:
    found = tx.one("thaw", named(key, segment=segment.text()))
    if found is None:
        return False
    (log,) = found
    (told,) = tx.all("last_change")[0]
    tx.many("insert_event", [event_values(log, key, row) for row in rows])
    tx.run("forget_changes_of", named(key, after=told))  # they were told when they were new
    return True
