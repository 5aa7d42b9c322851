"""The contract of the port `log` about appends and reads, one function a promise: a store must keep all of them.

Not covered: durability, which needs a process to kill. Claims and histories have suites of their own.
"""

from __future__ import annotations

import anyio

from outrider.errors import Conflict, Fenced, HeadMoved, NotFound
from outrider.ports.log import Lease, NewEvent, SessionKey, SessionPatch, Snapshot
from outrider.testing.store_trial import Contract, Trial, bury_all, event, internal, processed, refused, waiting

LOG_CONTRACTS: list[Contract] = []


def contract(function: Contract) -> Contract:
    LOG_CONTRACTS.append(function)
    return function


async def ids(trial: Trial, key: SessionKey) -> list[str]:
    """The log's ids, in order, once its numbering has been checked."""
    rows = await trial.store.read(key)
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1)), "seq has a gap"
    assert len(rows) == await trial.store.head(key)
    return [row.id for row in rows]


@contract
async def rows_come_back_as_they_were_written(trial: Trial) -> None:
    lease = await trial.owned()
    new = NewEvent(
        "sevt_1", "agent.message", b'{"text":"\xc3\xa9\\u0000"}', "sthr_x", True, "2026-01-01T00:00:00.000000Z"
    )
    await trial.store.append_owned(lease, [new, internal("sevt_2")])
    await trial.store.append_client(lease.key, [waiting("sevt_3")], if_head=None, wake=False)
    first, second, third = await trial.store.read(lease.key)
    assert (first.seq, first.id, first.type, first.body) == (1, new.id, new.type, new.body)
    assert (first.thread, first.public, first.epoch, first.processed_at) == ("sthr_x", True, 1, new.processed_at)
    assert (second.public, second.processes) == (False, None)
    assert (third.epoch, third.processed_at) == (0, None)


@contract
async def seq_is_gapless_across_both_kinds_of_writer(trial: Trial) -> None:
    lease = await trial.owned()
    lease = await trial.store.append_owned(lease, [event("a"), event("b")])
    assert await trial.store.append_client(lease.key, [waiting("c")], if_head=None, wake=True) == 3
    lease = await trial.store.append_owned(lease, [event("d")])
    assert (lease.head, lease.writer_head) == (4, 4)
    assert await ids(trial, lease.key) == ["a", "b", "c", "d"]


@contract
async def reading_goes_on_after_a_seq_and_stops_at_the_limit(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_owned(lease, [event(f"e{n}") for n in range(1, 8)])
    assert [row.id for row in await trial.store.read(lease.key, after=2, limit=3)] == ["e3", "e4", "e5"]
    assert await trial.store.read(lease.key, after=7) == []


@contract
async def events_are_found_by_id_and_unknown_ids_left_out(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_owned(lease, [event("a"), internal("b"), event("c")])
    found = await trial.store.find(lease.key, ["c", "b", "nowhere"])
    assert {name: row.seq for name, row in found.items()} == {"b": 2, "c": 3}
    assert await trial.store.find(lease.key, []) == {}


@contract
async def a_session_nobody_made_has_no_log(trial: Trial) -> None:
    store, key = trial.store, SessionKey("wrkspc_a", "sesn_unknown")
    await refused(NotFound, store.head(key))
    await refused(NotFound, store.append_client(key, [waiting("a")], if_head=None, wake=True))
    await refused(Fenced, store.append_owned(Lease(key, "worker_1", 0, 0, 0), [event("a")]))
    await refused(Fenced, store.release(Lease(key, "worker_1", 0, 0, 0), if_head=0))
    assert await store.read(key) == []
    assert await store.find(key, ["a"]) == {}
    assert await store.snapshot(key) is None
    assert await store.claim("worker_1", limit=1, key=key) == []


@contract
async def an_older_epoch_writes_nothing(trial: Trial) -> None:
    old = await trial.owned()
    await trial.store.bury("worker_1")
    (new,) = await trial.store.claim("worker_2", limit=1)
    assert new.epoch > old.epoch
    await refused(Fenced, trial.store.append_owned(old, [event("zombie")], patch=SessionPatch(status="running")))
    await refused(Fenced, trial.store.append_owned(old, [], snapshot=Snapshot(0, 1, b"zombie")))
    await refused(Fenced, trial.store.release(old, if_head=0))
    assert await ids(trial, old.key) == []
    assert await trial.store.snapshot(old.key) is None
    record = await trial.store.session(old.key)
    assert record is not None
    assert record.status == "idle"
    assert trial.commits == []


@contract
async def an_owner_that_lost_count_of_its_own_rows_is_fenced(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_owned(lease, [event("a")])
    await refused(Fenced, trial.store.append_owned(lease, [event("b")]))
    assert await ids(trial, lease.key) == ["a"]


@contract
async def client_appends_never_make_the_owner_fail(trial: Trial) -> None:
    lease = await trial.owned()
    for n in range(5):
        await trial.store.append_client(lease.key, [waiting(f"c{n}")], if_head=None, wake=True)
        lease = await trial.store.append_owned(lease, [event(f"o{n}")])
    assert await ids(trial, lease.key) == [f"{who}{n}" for n in range(5) for who in "co"]


@contract
async def if_head_refuses_an_append_to_a_log_that_has_grown(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_client(lease.key, [waiting("a")], if_head=0, wake=False)
    patch = SessionPatch(status="running")
    await refused(HeadMoved, trial.store.append_client(lease.key, [waiting("b")], if_head=0, patch=patch, wake=False))
    await refused(HeadMoved, trial.store.append_owned(lease, [event("b")], if_head=0, patch=patch))
    assert await ids(trial, lease.key) == ["a"]
    record = await trial.store.session(lease.key)
    assert record is not None
    assert record.status == "idle"
    lease = await trial.store.append_owned(lease, [event("c")], if_head=1)
    assert lease.head == 2


@contract
async def a_fenced_owner_hears_of_the_fence_before_the_head(trial: Trial) -> None:
    old = await trial.owned()
    await trial.store.append_client(old.key, [waiting("a")], if_head=None, wake=False)
    await trial.store.bury("worker_1")
    await trial.store.claim("worker_2", limit=1)
    await refused(Fenced, trial.store.append_owned(old, [event("b")], if_head=0))


@contract
async def repeating_a_stored_owned_append_succeeds_without_writing(trial: Trial) -> None:
    lease = await trial.owned()
    after = await trial.store.append_owned(lease, [event("a"), event("b")], if_head=0)
    assert await trial.store.append_owned(lease, [event("a"), event("b")], if_head=0) == after
    await trial.store.append_client(lease.key, [waiting("c")], if_head=None, wake=False)
    again = await trial.store.append_owned(lease, [event("a"), event("b")])
    assert (again.head, again.writer_head) == (3, 2)
    assert await ids(trial, lease.key) == ["a", "b", "c"]
    assert (await trial.store.append_owned(again, [event("d")])).head == 4
    assert len(trial.commits) == 3


@contract
async def repeating_an_owned_append_under_an_old_epoch_is_fenced(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_owned(lease, [event("a")])
    await trial.store.bury("worker_1")
    await trial.store.claim("worker_2", limit=1)
    await refused(Fenced, trial.store.append_owned(lease, [event("a")]))


@contract
async def repeating_a_stored_client_append_succeeds_without_writing(trial: Trial) -> None:
    key = await trial.session()
    assert await trial.store.append_client(key, [waiting("a"), waiting("b")], if_head=0, wake=True) == 2
    assert await trial.store.append_client(key, [waiting("a"), waiting("b")], if_head=0, wake=True) == 2
    assert await ids(trial, key) == ["a", "b"]
    assert len(trial.commits) == 1


@contract
async def twins_of_an_append_in_flight_at_once_are_stored_once(trial: Trial) -> None:
    lease = await trial.owned()
    heads: list[int] = []

    async def send() -> None:
        heads.append(await trial.store.append_client(lease.key, [waiting("a"), waiting("b")], if_head=0, wake=True))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(send)
    assert heads == [2] * 5
    assert await ids(trial, lease.key) == ["a", "b"]


@contract
async def an_append_that_is_stored_in_part_is_refused_whole(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_client(lease.key, [waiting("a")], if_head=None, wake=False)
    both = [waiting("new"), waiting("a")]
    await refused(Conflict, trial.store.append_client(lease.key, both, if_head=None, wake=False))
    await refused(Conflict, trial.store.append_owned(lease, [event("new"), event("a")]))
    await refused(Conflict, trial.store.append_owned(lease, [event("twice"), event("twice")]))
    assert await ids(trial, lease.key) == ["a"]
    assert (await trial.store.append_owned(lease, [event("b")])).head == 2


@contract
async def one_refused_append_spoils_none_that_are_made_at_the_same_time(trial: Trial) -> None:
    leases = [await trial.owned(f"sesn_{n}") for n in range(6)]
    outcomes: dict[int, str] = {}

    async def append(n: int, lease: Lease) -> None:
        twin = event("same") if n % 2 else event("other")
        try:
            await trial.store.append_owned(lease, [event("same"), twin])
            outcomes[n] = "stored"
        except Conflict:
            outcomes[n] = "refused"

    async with anyio.create_task_group() as tasks:
        for n, lease in enumerate(leases):
            tasks.start_soon(append, n, lease)
    assert outcomes == {n: "refused" if n % 2 else "stored" for n in range(6)}
    for n, lease in enumerate(leases):
        assert len(await ids(trial, lease.key)) == (0 if n % 2 else 2)


@contract
async def the_same_event_id_may_stand_in_two_logs(trial: Trial) -> None:
    one, two = await trial.session("sesn_1"), await trial.session("sesn_2")
    for key in (one, two):
        await trial.store.append_client(key, [waiting("a")], if_head=0, wake=False)
        assert await ids(trial, key) == ["a"]


@contract
async def a_patch_changes_the_record_with_the_append(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_owned(lease, [event("a")], patch=SessionPatch(status="running", usage=b'{"n":1}'))
    await trial.store.append_client(
        lease.key, [], if_head=None, patch=SessionPatch(stats=b'{"s":2}', updated_at="2027"), wake=False
    )
    record = await trial.store.session(lease.key)
    assert record is not None
    assert (record.status, record.usage, record.stats, record.updated_at) == ("running", b'{"n":1}', b'{"s":2}', "2027")


@contract
async def an_append_without_events_can_still_patch_and_keep_a_snapshot(trial: Trial) -> None:
    lease = await trial.owned()
    lease = await trial.store.append_owned(lease, [event("a")])
    same = await trial.store.append_owned(
        lease, [], patch=SessionPatch(status="running"), snapshot=Snapshot(1, 1, b"s")
    )
    assert same == lease
    assert await trial.store.snapshot(lease.key) == Snapshot(1, 1, b"s")
    assert len(trial.commits) == 1


@contract
async def the_latest_snapshot_is_kept(trial: Trial) -> None:
    lease = await trial.owned()
    assert await trial.store.snapshot(lease.key) is None
    lease = await trial.store.append_owned(lease, [event("a")], snapshot=Snapshot(1, 7, b"one"))
    lease = await trial.store.append_owned(lease, [event("b")])
    await trial.store.append_owned(lease, [event("c")], snapshot=Snapshot(3, 7, b"three"))
    assert await trial.store.snapshot(lease.key) == Snapshot(3, 7, b"three")


@contract
async def an_appender_goes_on_only_after_its_rows_were_announced(trial: Trial) -> None:
    lease = await trial.owned()
    lease = await trial.store.append_owned(lease, [event("a"), internal("b")])
    assert [(key, [row.id for row in rows]) for key, rows in trial.commits] == [(lease.key, ["a", "b"])]
    await trial.store.append_client(lease.key, [waiting("c")], if_head=None, wake=False)
    announced = [row for _, rows in trial.commits for row in rows]
    assert announced == await trial.store.read(lease.key)


@contract
async def many_writers_at_once_leave_every_log_whole_and_announced_in_order(trial: Trial) -> None:
    leases = [await trial.owned(f"sesn_{n}", workspace=f"wrkspc_{n % 3}") for n in range(8)]

    async def own(lease: Lease) -> None:
        for n in range(20):
            lease = await trial.store.append_owned(lease, [event(f"o{n}.{i}") for i in range(1 + n % 3)])

    async def send(key: SessionKey, who: int) -> None:
        for n in range(10):
            await trial.store.append_client(key, [waiting(f"c{who}.{n}")], if_head=None, wake=True)

    async with anyio.create_task_group() as tasks:
        for lease in leases:
            tasks.start_soon(own, lease)
            tasks.start_soon(send, lease.key, 1)
            tasks.start_soon(send, lease.key, 2)
    for lease in leases:
        stored = await ids(trial, lease.key)
        assert len(stored) == sum(1 + n % 3 for n in range(20)) + 20
        assert [name for name in stored if name.startswith("c1.")] == [f"c1.{n}" for n in range(10)]
        announced = [row.id for key, rows in trial.commits if key == lease.key for row in rows]
        assert announced == stored


@contract
async def takeovers_in_mid_turn_leave_one_owner_a_stretch(trial: Trial) -> None:
    lease = await trial.owned()
    refusals: list[str] = []

    async def own(lease: Lease, name: str) -> None:
        for n in range(30):
            try:
                lease = await trial.store.append_owned(lease, [event(f"{name}.{n}")])
            except Fenced:
                refusals.append(name)
                break

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(own, lease, "w0")
        for n in range(1, 4):
            await bury_all(trial.store)
            (lease,) = await trial.store.claim(f"w{n}", limit=1)
            tasks.start_soon(own, lease, f"w{n}")
    rows = await trial.store.read(lease.key)
    await ids(trial, lease.key)
    assert [row.epoch for row in rows] == sorted(row.epoch for row in rows)
    assert [row.id for row in rows if row.id.startswith("w3.")] == [f"w3.{n}" for n in range(30)]
    assert len(refusals) + sum(row.id.endswith(".29") for row in rows) == 4


@contract
async def workspaces_do_not_see_each_others_logs(trial: Trial) -> None:
    mine = await trial.owned("sesn_same", workspace="wrkspc_a")
    theirs = SessionKey("wrkspc_b", "sesn_same")
    await trial.store.append_owned(mine, [event("a")], snapshot=Snapshot(1, 1, b"s"))
    await refused(NotFound, trial.store.head(theirs))
    await refused(NotFound, trial.store.append_client(theirs, [waiting("b")], if_head=None, wake=True))
    await refused(Fenced, trial.store.append_owned(Lease(theirs, mine.worker, mine.epoch, 1, 1), [event("b")]))
    assert await trial.store.read(theirs) == []
    assert await trial.store.find(theirs, ["a"]) == {}
    assert await trial.store.snapshot(theirs) is None
    other = await trial.owned("sesn_same", workspace="wrkspc_b")
    await trial.store.append_owned(other, [event("a"), event("b")])
    assert (await ids(trial, mine.key), await ids(trial, theirs)) == (["a"], ["a", "b"])


@contract
async def an_event_that_takes_another_up_may_come_with_it(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_owned(lease, [waiting("a"), processed("p", "a")])
    assert await ids(trial, lease.key) == ["a", "p"]


@contract
async def many_heads_are_told_at_once(trial: Trial) -> None:
    first, second = await trial.owned("sesn_1"), await trial.session("sesn_2", workspace="wrkspc_b")
    await trial.store.append_owned(first, [event("a"), event("b")])
    asked = [first.key, second, SessionKey("wrkspc_b", "sesn_1"), SessionKey("wrkspc_a", "sesn_none")]
    assert await trial.store.heads(asked) == {first.key: 2, second: 0}
    assert await trial.store.heads([]) == {}
