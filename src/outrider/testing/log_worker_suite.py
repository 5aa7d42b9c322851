"""The contract of the port `log` about workers: their beats, and what becomes of a dead one's sessions."""

from __future__ import annotations

from outrider.errors import Fenced
from outrider.ports.log import Attendance, SessionKey, SessionPatch
from outrider.testing.store_trial import Contract, Trial, bury_all, event, refused, waiting

WORKER_CONTRACTS: list[Contract] = []


def contract(function: Contract) -> Contract:
    WORKER_CONTRACTS.append(function)
    return function


async def claimed(trial: Trial, limit: int, worker: str) -> list[str]:
    return [lease.key.session for lease in await trial.store.claim(worker, limit=limit)]


@contract
async def a_beat_registers_a_worker_and_counts(trial: Trial) -> None:
    assert await trial.store.beats() == {}
    assert await trial.store.beat("worker_1")
    first = await trial.store.beats()
    assert set(first) == {"worker_1"}
    assert await trial.store.beat("worker_1")
    assert await trial.store.beat("worker_2")
    second = await trial.store.beats()
    assert second["worker_1"] == first["worker_1"] + 1
    assert set(second) == {"worker_1", "worker_2"}


@contract
async def an_owner_that_never_beat_is_seen_with_zero(trial: Trial) -> None:
    await trial.owned("sesn_1", worker="worker_1")
    await trial.owned("sesn_2", worker="worker_1")
    assert await trial.store.beats() == {"worker_1": 0}
    assert await trial.store.beat("worker_1")
    assert (await trial.store.beats())["worker_1"] > 0


@contract
async def a_buried_worker_is_told_so_for_ever_and_is_not_listed(trial: Trial) -> None:
    await trial.store.beat("worker_1")
    assert await trial.store.bury("worker_1") == 0
    assert await trial.store.beats() == {}
    assert not await trial.store.beat("worker_1")
    assert not await trial.store.beat("worker_1")
    assert await trial.store.beats() == {}


@contract
async def a_worker_can_be_buried_that_was_never_registered_and_twice(trial: Trial) -> None:
    await trial.owned("sesn_1", worker="worker_1")
    assert await trial.store.bury("worker_1") == 1
    assert await trial.store.bury("worker_1") == 0
    assert not await trial.store.beat("worker_1")


@contract
async def a_dead_workers_sessions_wait_again_in_their_old_place(trial: Trial) -> None:
    lost = [await trial.owned(f"sesn_{n}", worker="worker_1") for n in range(2)]
    kept = await trial.owned("sesn_kept", worker="worker_2")
    await trial.session("sesn_later", wake=True)
    assert await trial.store.bury("worker_1") == 2
    assert await trial.store.runnable() == 3
    assert await claimed(trial, 9, "worker_3") == ["sesn_0", "sesn_1", "sesn_later"]
    for lease in lost:
        await refused(Fenced, trial.store.append_owned(lease, [event("zombie")]))
    assert (await trial.store.append_owned(kept, [event("a")])).head == 1


@contract
async def a_buried_worker_is_refused_before_anybody_has_claimed(trial: Trial) -> None:
    lease = await trial.owned("sesn_1", worker="worker_1")
    lease = await trial.store.append_owned(lease, [event("a")])
    await trial.store.bury("worker_1")
    await refused(Fenced, trial.store.append_owned(lease, [event("zombie")]))
    await refused(Fenced, trial.store.append_owned(lease, [event("idle")], if_head=1, release=True))
    await refused(Fenced, trial.store.release(lease, if_head=1))
    assert await trial.store.head(lease.key) == 1
    (again,) = await trial.store.claim("worker_2", limit=1)
    assert again.epoch > lease.epoch
    assert (again.head, again.writer_head) == (1, 1)


@contract
async def a_burial_fences_no_session_that_was_given_up_before(trial: Trial) -> None:
    lease = await trial.owned("sesn_1", worker="worker_1")
    assert await trial.store.release(lease, if_head=0)
    assert await trial.store.bury("worker_1") == 0
    await trial.store.append_client(lease.key, [waiting("a")], if_head=None, wake=True)
    (again,) = await trial.store.claim("worker_2", limit=1)
    assert again.epoch == lease.epoch + 1


@contract
async def what_a_buried_worker_still_claims_is_seen_and_taken_from_it(trial: Trial) -> None:
    await trial.store.beat("worker_1")
    await trial.store.bury("worker_1")
    lease = await trial.owned("sesn_1", worker="worker_1")
    assert await trial.store.beats() == {"worker_1": 0}
    assert await trial.store.bury("worker_1") == 1
    await refused(Fenced, trial.store.append_owned(lease, [event("zombie")]))


@contract
async def all_workers_can_be_buried_by_what_their_beats_tell(trial: Trial) -> None:
    await trial.owned("sesn_1", worker="worker_1")
    await trial.owned("sesn_2", worker="worker_2")
    await trial.store.beat("worker_2")
    await trial.store.beat("worker_3")
    assert await bury_all(trial.store) == 2
    assert await bury_all(trial.store) == 0
    assert await claimed(trial, 9, "worker_4") == ["sesn_1", "sesn_2"]


@contract
async def a_burial_reaches_every_workspace(trial: Trial) -> None:
    for name in ("wrkspc_a", "wrkspc_b"):
        key = await trial.session("sesn_1", workspace=name, wake=True)
        assert key == SessionKey(name, "sesn_1")
    assert len(await trial.store.claim("worker_1", limit=9)) == 2
    assert await trial.store.bury("worker_1") == 2
    assert await trial.store.runnable() == 2


@contract
async def what_a_worker_owns_can_be_asked_for(trial: Trial) -> None:
    lease = await trial.owned("sesn_1", worker="worker_1")
    await trial.owned("sesn_2", worker="worker_2")
    await trial.session("sesn_3", wake=True)
    assert await trial.store.owned("worker_1") == [lease.key]
    await trial.store.release(lease, if_head=0)
    assert await trial.store.owned("worker_1") == []


@contract
async def a_session_at_work_that_nobody_attends_is_found_and_can_be_woken(trial: Trial) -> None:
    running = SessionPatch(status="running")
    lost = await trial.session("sesn_lost")
    await trial.store.append_client(lost, [waiting("a")], if_head=0, patch=running, wake=False)
    for name, patch in (("sesn_waits", running), ("sesn_idle", None)):
        key = await trial.session(name)
        await trial.store.append_client(key, [waiting(name)], if_head=0, patch=patch, wake=patch is not None)
    owned = await trial.owned("sesn_owned")
    await trial.store.append_owned(owned, [event("b")], patch=running)
    assert await trial.store.unattended(limit=9) == [lost]
    assert await trial.store.unattended(limit=0) == []
    assert await trial.store.append_client(lost, [], if_head=None, wake=True) == 1
    assert await trial.store.unattended(limit=9) == []
    assert len(await trial.store.claim("worker_2", limit=9)) == 2


@contract
async def attendance_is_a_wait_then_an_owner_then_none(trial: Trial) -> None:
    store, key = trial.store, await trial.session("sesn_1")
    assert await store.attendance(key) is None
    await store.append_client(key, [waiting("a")], if_head=None, wake=True)
    assert await store.attendance(key) == Attendance(None)
    (lease,) = await store.claim("worker_1", limit=1)
    assert await store.attendance(key) == Attendance("worker_1")
    assert await store.attendance(SessionKey("wrkspc_b", key.session)) is None
    assert await store.release(lease, if_head=1)
    assert await store.attendance(key) is None
