"""The contract of the port `log` about who owns a session: wakes, claims, releases, lost workers."""

from __future__ import annotations

import anyio

from outrider.errors import HeadMoved
from outrider.ports.log import Lease, SessionKey
from outrider.testing.store_trial import Contract, Trial, event, record, refused, waiting

LEASE_CONTRACTS: list[Contract] = []


def contract(function: Contract) -> Contract:
    LEASE_CONTRACTS.append(function)
    return function


async def claimed(trial: Trial, limit: int, worker: str = "worker_1") -> list[str]:
    return [lease.key.session for lease in await trial.store.claim(worker, limit=limit)]


@contract
async def a_session_without_a_wake_is_not_claimed(trial: Trial) -> None:
    key = await trial.session(wake=False)
    await trial.store.append_client(key, [waiting("a")], if_head=0, wake=False)
    assert await trial.store.claim("worker_1", limit=5) == []
    assert await trial.store.claim("worker_1", limit=5, key=key) == []
    assert await trial.store.runnable() == 0


@contract
async def a_wake_comes_with_its_append(trial: Trial) -> None:
    key = await trial.session()
    await trial.store.append_client(key, [waiting("a"), waiting("b")], if_head=0, wake=True)
    assert await trial.store.runnable() == 1
    (lease,) = await trial.store.claim("worker_1", limit=5)
    assert lease == Lease(key, "worker_1", epoch=1, head=2, writer_head=0)
    assert await trial.store.runnable() == 0


@contract
async def a_new_session_can_be_born_awake_with_its_first_events(trial: Trial) -> None:
    await trial.store.create_session(record("sesn_1"), [event("a"), waiting("b")], wake=True)
    (lease,) = await trial.store.claim("worker_1", limit=1)
    assert (lease.head, lease.writer_head) == (2, 0)
    assert [row.epoch for row in await trial.store.read(lease.key)] == [0, 0]


@contract
async def a_refused_append_wakes_nobody(trial: Trial) -> None:
    key = await trial.session()
    await refused(HeadMoved, trial.store.append_client(key, [waiting("a")], if_head=7, wake=True))
    assert await trial.store.runnable() == 0


@contract
async def an_owned_session_is_not_claimed_again_even_when_it_is_woken(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_client(lease.key, [waiting("a")], if_head=None, wake=True)
    assert await trial.store.claim("worker_2", limit=5) == []
    assert await trial.store.claim("worker_2", limit=5, key=lease.key) == []
    assert (await trial.store.append_owned(lease, [event("b")])).head == 2


@contract
async def a_claim_may_name_one_session(trial: Trial) -> None:
    await trial.session("sesn_1", wake=True)
    key = await trial.session("sesn_2", wake=True)
    (lease,) = await trial.store.claim("worker_1", limit=5, key=key)
    assert lease.key == key
    assert await claimed(trial, 5) == ["sesn_1"]


@contract
async def a_claim_takes_no_more_than_its_limit(trial: Trial) -> None:
    for n in range(5):
        await trial.session(f"sesn_{n}", wake=True)
    assert await trial.store.claim("worker_1", limit=0) == []
    assert await claimed(trial, 2) == ["sesn_0", "sesn_1"]
    assert await trial.store.runnable() == 3
    assert await claimed(trial, 9) == ["sesn_2", "sesn_3", "sesn_4"]


@contract
async def each_claim_has_a_higher_epoch_and_knows_the_writer_head(trial: Trial) -> None:
    lease = await trial.owned()
    lease = await trial.store.append_owned(lease, [event("a"), event("b")])
    await trial.store.append_client(lease.key, [waiting("c")], if_head=None, wake=True)
    assert await trial.store.release(lease, if_head=3)
    await trial.store.append_client(lease.key, [waiting("d")], if_head=None, wake=True)
    (again,) = await trial.store.claim("worker_2", limit=1)
    assert again == Lease(lease.key, "worker_2", epoch=2, head=4, writer_head=2)
    again = await trial.store.append_owned(again, [event("e")])
    assert [row.epoch for row in await trial.store.read(lease.key)] == [1, 1, 0, 0, 2]


@contract
async def a_release_is_refused_while_there_is_something_unread(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_client(lease.key, [waiting("a")], if_head=None, wake=True)
    assert await trial.store.release(lease, if_head=0) is False
    assert await trial.store.claim("worker_2", limit=1) == []
    assert await trial.store.release(lease, if_head=1) is True
    assert await trial.store.runnable() == 0
    assert await trial.store.release(lease, if_head=1) is True, "a repeated release is no failure"


@contract
async def an_append_can_release_but_not_over_something_unread(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_client(lease.key, [waiting("a")], if_head=None, wake=True)
    await refused(HeadMoved, trial.store.append_owned(lease, [event("idle")], if_head=0, release=True))
    after = await trial.store.append_owned(lease, [event("idle")], if_head=1, release=True)
    assert after.head == 2
    assert await trial.store.runnable() == 0
    again = await trial.store.append_owned(lease, [event("idle")], if_head=1, release=True)
    assert again.head == 2, "a repeated append that released is no failure"
    await trial.store.append_client(lease.key, [waiting("b")], if_head=None, wake=True)
    (new,) = await trial.store.claim("worker_2", limit=1)
    assert new.epoch == 2


@contract
async def release_with_an_append_needs_the_head_that_was_read(trial: Trial) -> None:
    lease = await trial.owned()
    raised = False
    try:
        await trial.store.append_owned(lease, [event("idle")], release=True)
    except ValueError:
        raised = True
    assert raised
    assert await trial.store.head(lease.key) == 0


@contract
async def no_wake_is_lost_between_a_release_and_an_append(trial: Trial) -> None:
    """A client and an owner race; however it ends, a session with unread events is owned or runnable."""
    key = await trial.session()

    async def send() -> None:
        for n in range(40):
            await trial.store.append_client(key, [waiting(f"c{n}")], if_head=None, wake=True)

    async def serve(worker: str) -> None:
        for _ in range(40):
            for lease in await trial.store.claim(worker, limit=1):
                read = lease.head
                while not await trial.store.release(lease, if_head=read):
                    read = await trial.store.head(key)
                seen.append(read)

    seen: list[int] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        tasks.start_soon(serve, "worker_1")
        tasks.start_soon(serve, "worker_2")
    left = await trial.store.claim("worker_3", limit=1)
    assert max([*seen, *(lease.head for lease in left)]) == 40


@contract
async def workers_that_claim_at_once_share_without_overlap(trial: Trial) -> None:
    names = {f"sesn_{n}" for n in range(30)}
    for name in sorted(names):
        await trial.session(name, workspace=f"wrkspc_{name[-1]}", wake=True)
    taken: list[str] = []

    async def take(worker: str) -> None:
        while leases := await trial.store.claim(worker, limit=3):
            taken.extend(lease.key.session for lease in leases)

    async with anyio.create_task_group() as tasks:
        for n in range(5):
            tasks.start_soon(take, f"worker_{n}")
    assert len(taken) == 30
    assert set(taken) == names


@contract
async def the_longest_waiting_session_of_a_workspace_goes_first(trial: Trial) -> None:
    one, two = await trial.session("sesn_1"), await trial.session("sesn_2")
    await trial.store.append_client(two, [waiting("a")], if_head=None, wake=True)
    await trial.store.append_client(one, [waiting("a")], if_head=None, wake=True)
    await trial.store.append_client(two, [waiting("b")], if_head=None, wake=True)
    assert await claimed(trial, 2) == ["sesn_2", "sesn_1"]


@contract
async def workspaces_take_turns_within_a_claim(trial: Trial) -> None:
    for n in range(4):
        await trial.session(f"sesn_a{n}", workspace="wrkspc_a", wake=True)
    for n in range(2):
        await trial.session(f"sesn_b{n}", workspace="wrkspc_b", wake=True)
    assert await claimed(trial, 9) == ["sesn_a0", "sesn_b0", "sesn_a1", "sesn_b1", "sesn_a2", "sesn_a3"]


@contract
async def workspaces_take_turns_from_claim_to_claim(trial: Trial) -> None:
    for n in range(3):
        await trial.session(f"sesn_a{n}", workspace="wrkspc_a", wake=True)
    assert await claimed(trial, 1) == ["sesn_a0"]
    await trial.session("sesn_b0", workspace="wrkspc_b", wake=True)
    await trial.session("sesn_c0", workspace="wrkspc_c", wake=True)
    assert [await claimed(trial, 1) for _ in range(4)] == [["sesn_b0"], ["sesn_c0"], ["sesn_a1"], ["sesn_a2"]]


async def taken_in(trial: Trial, key: SessionKey, head: int = 0) -> Lease | None:
    events = [waiting(f"{key.session}-{head}")]
    return (await trial.store.take_in(key, events, if_head=head, patch=None, wake=True, worker="worker_1"))[1]


@contract
async def a_session_is_claimed_with_its_append_unless_another_waits(trial: Trial) -> None:
    one, two, three = [await trial.session(f"sesn_{n}") for n in range(3)]
    assert await taken_in(trial, one) == Lease(one, "worker_1", epoch=1, head=1, writer_head=0)
    assert await taken_in(trial, one, head=1) is None
    await trial.store.append_client(two, [waiting("a")], if_head=None, wake=True)
    assert await taken_in(trial, three) is None
    assert await claimed(trial, 9) == ["sesn_1", "sesn_2"]


@contract
async def a_session_claimed_with_its_append_has_taken_its_workspaces_turn(trial: Trial) -> None:
    assert await taken_in(trial, await trial.session("sesn_a0", workspace="wrkspc_a")) is not None
    await trial.session("sesn_a1", workspace="wrkspc_a", wake=True)
    await trial.session("sesn_b0", workspace="wrkspc_b", wake=True)
    assert await claimed(trial, 9) == ["sesn_b0", "sesn_a1"]


@contract
async def an_owner_can_surrender_one_session_but_not_anothers(trial: Trial) -> None:
    lease = await trial.owned("sesn_1", worker="worker_1")
    other = await trial.owned("sesn_2", worker="worker_1")
    await trial.store.surrender(lease.key, "worker_2")
    await trial.store.surrender(SessionKey("wrkspc_a", "sesn_unknown"), "worker_1")
    assert await trial.store.runnable() == 0
    await trial.store.surrender(lease.key, "worker_1")
    (again,) = await trial.store.claim("worker_2", limit=9)
    assert (again.key, again.epoch) == (lease.key, 2)
    await trial.store.surrender(lease.key, "worker_1")
    assert await trial.store.runnable() == 0
    assert (await trial.store.append_owned(other, [event("a")])).head == 1


@contract
async def an_owner_that_was_fenced_off_surrenders_nothing_of_what_its_worker_has_claimed_since(trial: Trial) -> None:
    first = await trial.owned("sesn_1", worker="worker_1")
    await trial.store.surrender(first.key, "worker_1")
    (again,) = await trial.store.claim("worker_1", limit=1)
    await trial.store.surrender(first.key, "worker_1", epoch=first.epoch)
    assert await trial.store.owned("worker_1") == [first.key]
    await trial.store.surrender(first.key, "worker_1", epoch=again.epoch)
    assert await trial.store.runnable() == 1


@contract
async def a_session_of_another_workspace_is_not_claimed_by_name(trial: Trial) -> None:
    await trial.session("sesn_1", workspace="wrkspc_a", wake=True)
    assert await trial.store.claim("worker_1", limit=1, key=SessionKey("wrkspc_b", "sesn_1")) == []
    assert await trial.store.runnable() == 1
