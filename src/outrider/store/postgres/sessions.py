"""A session's end. A job of the writer."""

from __future__ import annotations

from outrider.errors import HeadMoved, NotFound
from outrider.ports.log import SessionKey
from outrider.ports.vaults import Change
from outrider.store import files, memory
from outrider.store.answers import erase_about
from outrider.store.postgres.transaction import Transaction
from outrider.store.shapes import answers_of, named
from outrider.store.vaults import note
from outrider.store.work import erase_work

ERASURES = ("erase_session", "erase_snapshot", "erase_wake", "erase_history", "erase_events", "erase_head")


async def delete_session(tx: Transaction, key: SessionKey, if_head: int, opened_by: str, at: str) -> None:
    await tx.one("lock_wake", named(key))
    found = await tx.one("lock_head", named(key))
    if found is None:
        raise NotFound(f"Session {key.session} was not found.")
    if found["head"] != if_head:
        raise HeadMoved(f"The log's head is {found['head']}, not {if_head}.")
    for erasure in ERASURES:
        await tx.run(erasure, {"log": found["log"]})
    await tx.run("erase_answers", answers_of(key, opened_by))
    await tx.walk(erase_about(key.workspace, key.session))
    await tx.walk(files.erase_with_session(key))
    await tx.walk(memory.erase_with_session(key))
    await tx.walk(note(Change(key.workspace, "session.deleted", key.session, at)))
    await tx.walk(erase_work(key))
