"""Who owns which session: claims in fair turns, releases, taking back what lost workers held. Jobs of the writer."""

from __future__ import annotations

from outrider.errors import Fenced
from outrider.ports.log import KeptAnswer, Lease, SessionKey
from outrider.store.shapes import named
from outrider.store.sqlite import answers
from outrider.store.sqlite.transaction import Transaction


def claim(tx: Transaction, worker: str, limit: int) -> list[Lease]:
    """One session a workspace and round, the workspace longest without a turn first."""
    leases: list[Lease] = []
    while len(leases) < limit:
        waiting = tx.all("waiting_workspaces")
        if not waiting:
            break
        for (workspace,) in waiting[: limit - len(leases)]:
            (log,) = tx.all("longest_waiting", {"workspace": workspace})[0]
            tx.run("take_turn", {"workspace": workspace})
            leases.append(_own(tx, worker, log))
    return leases


def claim_one(tx: Transaction, worker: str, key: SessionKey) -> list[Lease]:
    found = tx.one("waiting_one", named(key))
    return [] if found is None else [_own(tx, worker, found[0])]


def settle(tx: Transaction, key: SessionKey, worker: str | None, keep: KeptAnswer | None) -> Lease | None:
    """The rest of a client's transaction: its answer is kept, its session claimed if it's alone in waiting."""
    if keep is not None:
        answers.put_answer(tx, key.workspace, keep.name, keep.at, keep.answer, retry=keep.retry)
    return _claim_at_once(tx, worker, key) if worker is not None else None


def _claim_at_once(tx: Transaction, worker: str, key: SessionKey) -> Lease | None:
    """Its workspace's turn, like any claim; while others wait it gets none, so that nobody is passed over."""
    found = tx.one("waiting_alone", named(key))
    if found is None:
        return None
    tx.run("take_turn", {"workspace": key.workspace})
    return _own(tx, worker, found[0])


def release(tx: Transaction, lease: Lease, if_head: int) -> bool:
    found = tx.one("head", named(lease.key))
    if found is None or found[3] != lease.epoch:
        raise Fenced(f"Session {lease.key.session} has another owner.")
    if found[1] != if_head:
        return False
    tx.run("drop_wake", {"log": found[0]})
    return True


def beat(tx: Transaction, worker: str) -> bool:
    return tx.run("beat", {"worker": worker}) > 0


def bury(tx: Transaction, worker: str) -> int:
    tx.run("fence_off", {"worker": worker})
    tx.run("mark_buried", {"worker": worker})
    return tx.run("let_wait", {"worker": worker})


def surrender(tx: Transaction, key: SessionKey, worker: str, epoch: int | None) -> int:
    return tx.run("surrender", named(key) | {"worker": worker, "epoch": epoch})


def _own(tx: Transaction, worker: str, log: int) -> Lease:
    tx.run("own", {"log": log, "worker": worker})
    ((workspace, session, epoch, head, writer_head),) = tx.all("next_epoch", {"log": log})
    return Lease(SessionKey(workspace, session), worker, epoch, head, writer_head)
