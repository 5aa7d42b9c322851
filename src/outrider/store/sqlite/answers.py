"""Answers that are committed together with a session's events. Jobs of the writer; the others are `StoredAnswers`."""

from __future__ import annotations

from outrider.errors import AlreadyAnswered
from outrider.ports.log import KeptAnswer
from outrider.ports.records import StoredAnswer
from outrider.store.sqlite.transaction import Transaction


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
