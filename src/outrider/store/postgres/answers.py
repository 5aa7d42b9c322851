"""Answers that are kept for retries. Jobs of the writer; reading them is in `records`."""

from __future__ import annotations

from outrider.ports.log import StoredAnswer
from outrider.store.postgres.transaction import Transaction


async def put_answer(tx: Transaction, workspace: str, idempotency: str, at: str, answer: StoredAnswer) -> None:
    names = {"workspace": workspace, "idempotency": idempotency, "at": at}
    await tx.run("put_answer", {**names, "status": answer.status, "body": answer.body})


async def forget_answers(tx: Transaction, before: str) -> None:
    await tx.run("forget_answers", {"before": before})
