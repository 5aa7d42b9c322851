"""Agents with versions, environments and stored answers. Jobs of the writer; reading them is in `records`."""

from __future__ import annotations

from outrider.errors import AlreadyAnswered, Conflict, NotFound
from outrider.ports.log import KeptAnswer
from outrider.ports.records import AgentRecord, EnvironmentRecord, StoredAnswer
from outrider.store.shapes import fields
from outrider.store.sqlite.transaction import Transaction


def put_agent(tx: Transaction, record: AgentRecord, if_version: int | None) -> None:
    values = {**fields(record), "if_version": if_version}
    if tx.run("insert_agent" if if_version is None else "advance_agent", values) != 1:
        _refuse(tx, record, if_version)
    tx.run("insert_agent_version", values)


def _refuse(tx: Transaction, record: AgentRecord, if_version: int | None) -> None:
    latest = tx.one("agent", {"workspace": record.workspace, "id": record.id, "version": None})
    if latest is None:
        raise NotFound(f"Agent {record.id} was not found.")
    if if_version is None:
        raise Conflict(f"Agent {record.id} exists already.")
    raise Conflict(f"Agent {record.id} is at version {latest[2]}, not {if_version}.")


def archive_agent(tx: Transaction, workspace: str, agent_id: str, at: str) -> None:
    if tx.run("archive_agent", {"workspace": workspace, "id": agent_id, "at": at}) != 1:
        raise NotFound(f"Agent {agent_id} was not found.")


def put_environment(tx: Transaction, record: EnvironmentRecord) -> None:
    tx.run("put_environment", fields(record))


def delete_environment(tx: Transaction, workspace: str, environment_id: str) -> None:
    values = {"workspace": workspace, "id": environment_id}
    if tx.one("environment_in_use", values) is not None:
        raise Conflict(f"Environment {environment_id} is in use by a session.")
    if tx.run("delete_environment", values) != 1:
        raise NotFound(f"Environment {environment_id} was not found.")


def put_answer(
    tx: Transaction, workspace: str, idempotency: str, at: str, answer: StoredAnswer, *, retry: bool = False
) -> None:
    names = {"workspace": workspace, "idempotency": idempotency, "at": at}
    tx.run("put_answer", {**names, "status": answer.status, "body": answer.body, "retries": int(retry)})


def check_unanswered(tx: Transaction, workspace: str, keep: KeptAnswer | None) -> None:
    """Raises AlreadyAnswered when another attempt of the request was taken meanwhile."""
    if keep is None or (keep.if_none_since is None and keep.if_retries is None):
        return
    names = {"workspace": workspace, "idempotency": keep.name}
    if tx.one("answered", {**names, "since": keep.if_none_since, "retries": keep.if_retries}) is not None:
        raise AlreadyAnswered("The request was answered meanwhile.")


def forget_answers(tx: Transaction, before: str) -> None:
    tx.run("forget_answers", {"before": before})
