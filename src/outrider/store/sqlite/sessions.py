"""A session's own record, from creation with its log to erasure with all that belongs to it. Jobs of the writer."""

from __future__ import annotations

from typing import Literal

from outrider.errors import Conflict, HeadMoved
from outrider.ports.copies import FileChanges
from outrider.ports.log import NewEvent, SessionKey, SessionPatch
from outrider.ports.records import SessionRecord
from outrider.ports.vaults import Change
from outrider.store import memory
from outrider.store.answers import erase_about
from outrider.store.files import change_files, erase_with_session
from outrider.store.shapes import answers_of, fields, named
from outrider.store.sqlite.appends import enter, find_log, patch_record
from outrider.store.sqlite.transaction import Transaction
from outrider.store.vaults import note
from outrider.store.work import erase_work

ERASURES = ("erase_session", "erase_snapshot", "erase_wake", "erase_history", "erase_events", "erase_head")


def create_session(
    tx: Transaction, record: SessionRecord, events: list[NewEvent], wake: bool, files: FileChanges
) -> None:
    key = SessionKey(record.workspace, record.id)
    if tx.one("head", named(key)) is not None:
        raise Conflict(f"Session {record.id} exists already.")
    ((log,),) = tx.all("insert_head", named(key, head=len(events)))
    tx.run("insert_session", {"log": log, **fields(record)})
    enter(tx, log, key, events, head=0, epoch=0)
    tx.walk(change_files(key, files))
    if wake:
        tx.run("wake", {"log": log, "workspace": key.workspace})


def update_session(
    tx: Transaction,
    record: SessionRecord,
    events: list[NewEvent],
    *,
    if_head: int,
    columns: Literal["details", "archive"],
    files: FileChanges,
    patch: SessionPatch | None,
    wake: bool,
) -> None:
    key = SessionKey(record.workspace, record.id)
    log = _unmoved(tx, key, if_head)
    tx.run(f"update_{columns}", {"log": log, **fields(record)})
    tx.run("advance_client", {"log": log, "count": len(events)})
    enter(tx, log, key, events, head=if_head, epoch=0)
    tx.walk(change_files(key, files))
    patch_record(tx, log, patch)
    if wake:
        tx.run("wake", {"log": log, "workspace": key.workspace})


def delete_session(tx: Transaction, key: SessionKey, if_head: int, opened_by: str, at: str) -> None:
    log = _unmoved(tx, key, if_head, cold_too=True)
    for erasure in ERASURES:
        tx.run(erasure, {"log": log})
    tx.run("erase_answers", answers_of(key, opened_by))
    tx.walk(erase_about(key.workspace, key.session))
    tx.walk(erase_with_session(key))
    tx.walk(memory.erase_with_session(key))
    tx.walk(note(Change(key.workspace, "session.deleted", key.session, at)))
    tx.walk(erase_work(key))
    tx.deleted.append(key)
    tx.erases = True


def _unmoved(tx: Transaction, key: SessionKey, if_head: int, *, cold_too: bool = False) -> int:
    log, head = find_log(tx, key, cold_too=cold_too)
    if head != if_head:
        raise HeadMoved(f"The log's head is {head}, not {if_head}.")
    return log
