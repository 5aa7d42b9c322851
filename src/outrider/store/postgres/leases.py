"""Who owns which session: claims in fair turns, what a lost worker held, giving one up. Jobs of the writer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outrider.ports.log import Lease, SessionKey
from outrider.store.postgres.transaction import Transaction
from outrider.store.shapes import named


async def claim(tx: Transaction, worker: str, limit: int) -> list[list[Any]]:
    return [list(found) for found in await tx.all("claim_waiting", {"worker": worker, "limit": limit})]


async def claim_one(tx: Transaction, worker: str, key: SessionKey) -> list[list[Any]]:
    return [list(found) for found in await tx.all("claim_one", named(key, worker=worker))]


def leases(worker: str, found: list[list[Any]]) -> list[Lease]:
    return [Lease(SessionKey(w, s), worker, epoch, head, writer_head) for w, s, epoch, head, writer_head in found]


async def beat(tx: Transaction, worker: str) -> bool:
    return await tx.run("beat", {"worker": worker}) > 0


async def bury(tx: Transaction, worker: str, writer: str) -> int:
    logs = [found["log"] for found in await tx.all("lock_owned_wakes", {"worker": worker})]
    if logs:
        values: Mapping[str, Any] = {"logs": logs, "worker": worker, "writer": writer}
        await tx.all("lock_heads", values)
        for query in ("fence_off", "let_wait", "tell_of_waiting"):
            await tx.run(query, values)
    await tx.run("mark_buried", {"worker": worker})
    return len(logs)


async def surrender(tx: Transaction, key: SessionKey, worker: str, epoch: int | None, writer: str) -> None:
    if await tx.run("surrender", named(key, worker=worker, epoch=epoch)):
        await tx.run("tell_of_waiting", {"writer": writer})
