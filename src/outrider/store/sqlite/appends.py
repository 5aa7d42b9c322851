"""How rows enter a log: the owner's fenced append and the client's. Each function is one job of the writer."""

from __future__ import annotations

import json
from typing import Any

from outrider.errors import Conflict, Fenced, HeadMoved, LogCold, NotFound
from outrider.ports.log import KeptAnswer, Lease, NewEvent, Row, SessionKey, SessionPatch, Snapshot
from outrider.store.answers import check_unanswered
from outrider.store.shapes import named
from outrider.store.sqlite.transaction import Transaction

NO_PATCH = SessionPatch()


def find_log(tx: Transaction, key: SessionKey, *, cold_too: bool = False) -> tuple[int, int]:
    """(log, head). Raises NotFound; LogCold, unless rows are of no concern."""
    found = tx.one("head", named(key))
    if found is None:
        raise NotFound(f"Session {key.session} was not found.")
    if found[4] is not None and not cold_too:
        raise LogCold(f"The log of session {key.session} is cold.")
    return found[0], found[1]


def event_values(log: int, key: SessionKey, row: Row) -> tuple[Any, ...]:
    return (
        *(log, row.seq, row.id, key.workspace, row.type, row.thread, row.public, row.epoch),
        *(row.processed_at, row.processes, row.body),
    )


def enter(tx: Transaction, log: int, key: SessionKey, events: list[NewEvent], *, head: int, epoch: int) -> None:
    """Write the rows that follow `head`, and note them for the live feed."""
    if not events:
        return
    rows = [
        Row(seq, e.id, e.type, e.body, e.thread, e.public, epoch, e.processed_at, e.processes)
        for seq, e in enumerate(events, head + 1)
    ]
    tx.many("insert_event", [event_values(log, key, row) for row in rows])
    tx.appended.append((key, rows))


def append_client(
    tx: Transaction,
    key: SessionKey,
    events: list[NewEvent],
    *,
    if_head: int | None,
    patch: SessionPatch | None,
    wake: bool,
    keep: KeptAnswer | None = None,
) -> int:
    log, head = find_log(tx, key)
    if _stored(tx, log, events):
        return head
    tx.walk(check_unanswered(key.workspace, keep))
    if if_head is not None and if_head != head:
        raise HeadMoved(f"The log's head is {head}, not {if_head}.")
    tx.run("advance_client", {"log": log, "count": len(events)})
    enter(tx, log, key, events, head=head, epoch=0)
    patch_record(tx, log, patch)
    if wake:
        tx.run("wake", {"log": log, "workspace": key.workspace})
    return head + len(events)


def append_owned(
    tx: Transaction,
    lease: Lease,
    events: list[NewEvent],
    *,
    patch: SessionPatch | None,
    snapshot: Snapshot | None,
    if_head: int | None,
    release: bool,
) -> Lease:
    key = lease.key
    fence = named(key, count=len(events), epoch=lease.epoch, writer_head=lease.writer_head, if_head=if_head)
    moved = tx.one("advance_owned", fence)
    if moved is None:
        return _repeated_or_refused(tx, lease, events)
    log, head, writer_head = moved
    enter(tx, log, key, events, head=head - len(events), epoch=lease.epoch)
    patch_record(tx, log, patch)
    if snapshot is not None:
        put_snapshot(tx, log, key, snapshot)
    if release:
        tx.run("drop_wake", {"log": log})
    return Lease(key, lease.worker, lease.epoch, head, writer_head)


def put_snapshot(tx: Transaction, log: int, key: SessionKey, snapshot: Snapshot) -> None:
    values = {"seq": snapshot.seq, "version": snapshot.version, "body": snapshot.body}
    tx.run("put_snapshot", {"log": log, "workspace": key.workspace, **values})


def _repeated_or_refused(tx: Transaction, lease: Lease, events: list[NewEvent]) -> Lease:
    """Why the fence did not let an append through. A repetition of a stored one is none: it succeeded."""
    found = tx.one("head", named(lease.key))
    if found is None or found[3] != lease.epoch:
        raise Fenced(f"Session {lease.key.session} has another owner.")
    log, head, writer_head, epoch = found[:4]
    if writer_head == lease.writer_head:  # so nothing of the owner's has come since: this can be no repetition
        raise HeadMoved(f"The log's head is {head}.")
    if not _stored(tx, log, events):
        raise Fenced(f"Session {lease.key.session} was written to by its owner since.")
    return Lease(lease.key, lease.worker, epoch, head, writer_head)


def _stored(tx: Transaction, log: int, events: list[NewEvent]) -> bool:
    """Whether all events are in the log already. Raises Conflict when only some are."""
    if not events:
        return False
    if len(events) == 1:  # nearly always
        return tx.one("is_stored", {"log": log, "id": events[0].id}) is not None
    ids = {event.id for event in events}
    row = tx.one("count_stored", {"log": log, "ids": json.dumps(list(ids))})
    count = row[0] if row else 0
    if 0 < count < len(ids):
        raise Conflict("Some of these events are stored already, but not all.")
    return count > 0


def patch_record(tx: Transaction, log: int, patch: SessionPatch | None) -> None:
    if patch is not None and patch != NO_PATCH:
        values = {"status": patch.status, "usage": patch.usage, "stats": patch.stats, "updated_at": patch.updated_at}
        tx.run("patch_session", {"log": log, **values})
