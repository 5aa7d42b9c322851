"""Agents with versions, environments, stored answers, a session's end. Jobs of the writer; reads: `records`."""

from __future__ import annotations

from outrider.errors import Conflict, HeadMoved, NotFound
from outrider.ports.log import SessionKey, StoredAnswer
from outrider.ports.records import AgentRecord, EnvironmentRecord
from outrider.store.files import erase_with_session
from outrider.store.postgres.transaction import Transaction
from outrider.store.shapes import answers_of, fields, named

ERASURES = ("erase_session", "erase_snapshot", "erase_wake", "erase_history", "erase_events", "erase_head")


async def put_agent(tx: Transaction, record: AgentRecord, if_version: int | None) -> None:
    values = {**fields(record), "if_version": if_version}
    if await tx.run("insert_agent" if if_version is None else "advance_agent", values) != 1:
        await _refuse(tx, record, if_version)
    await tx.run("insert_agent_version", values)


async def _refuse(tx: Transaction, record: AgentRecord, if_version: int | None) -> None:
    latest = await tx.one("agent", {"workspace": record.workspace, "id": record.id, "version": None})
    if latest is None:
        raise NotFound(f"Agent {record.id} was not found.")
    if if_version is None:
        raise Conflict(f"Agent {record.id} exists already.")
    raise Conflict(f"Agent {record.id} is at version {latest[2]}, not {if_version}.")


async def archive_agent(tx: Transaction, workspace: str, agent_id: str, at: str) -> None:
    if await tx.run("archive_agent", {"workspace": workspace, "id": agent_id, "at": at}) != 1:
        raise NotFound(f"Agent {agent_id} was not found.")


async def put_environment(tx: Transaction, record: EnvironmentRecord) -> None:
    await tx.run("put_environment", fields(record))


async def delete_environment(tx: Transaction, workspace: str, environment_id: str) -> None:
    values = {"workspace": workspace, "id": environment_id}
    if await tx.one("environment_in_use", values) is not None:
        raise Conflict(f"Environment {environment_id} is in use by a session.")
    if await tx.run("delete_environment", values) != 1:
        raise NotFound(f"Environment {environment_id} was not found.")


async def delete_session(tx: Transaction, key: SessionKey, if_head: int, opened_by: str) -> None:
    await tx.one("lock_wake", named(key))
    found = await tx.one("lock_head", named(key))
    if found is None:
        raise NotFound(f"Session {key.session} was not found.")
    if found["head"] != if_head:
        raise HeadMoved(f"The log's head is {found['head']}, not {if_head}.")
    for erasure in ERASURES:
        await tx.run(erasure, {"log": found["log"]})
    await tx.run("erase_answers", answers_of(key, opened_by))
    await tx.walk(erase_with_session(key))


async def put_answer(tx: Transaction, workspace: str, idempotency: str, at: str, answer: StoredAnswer) -> None:
    names = {"workspace": workspace, "idempotency": idempotency, "at": at}
    await tx.run("put_answer", {**names, "status": answer.status, "body": answer.body})


async def forget_answers(tx: Transaction, before: str) -> None:
    await tx.run("forget_answers", {"before": before})
