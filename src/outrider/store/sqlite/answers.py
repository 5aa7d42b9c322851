"""Answers that are committed together with a session's events. Jobs of the writer; the others are `StoredAnswers`."""

from __future__ import annotations

from outrider.ports.records import StoredAnswer
from outrider.store.sqlite.transaction import Transaction


def put_answer(
    tx: Transaction, workspace: str, idempotency: str, at: str, answer: StoredAnswer, *, retry: bool = False
) -> None:
    names = {"workspace": workspace, "idempotency": idempotency, "at": at}
    tx.run("put_answer", {**names, "status": answer.status, "body": answer.body, "retries": int(retry)})
