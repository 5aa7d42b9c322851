"""The contract of the port `cold`, one function a promise: every store must keep all of them."""

from __future__ import annotations

from outrider.errors import Fenced, HeadMoved, LogCold, NotFound
from outrider.ports.cold import Counters, Segment
from outrider.ports.copies import FileChanges
from outrider.ports.log import HistoryQuery, Lease, SessionKey, Snapshot
from outrider.testing.store_trial import Contract, Trial, event, internal, processed, record, refused, waiting

COLD_CONTRACTS: list[Contract] = []
SEGMENT = Segment("cold.1.5", 5, "ab" * 32)
LATER = "2027-01-01T00:00:00.000000Z"


def contract(function: Contract) -> Contract:
    COLD_CONTRACTS.append(function)
    return function


async def resting(trial: Trial) -> Lease:
    """A session with five rows whose owner has left, as the lease that it had."""
    lease = await trial.owned()
    await trial.store.append_client(lease.key, [waiting("q")], if_head=None, wake=True)
    lease = await trial.store.append_owned(lease, [event("a"), processed("p", "q"), internal("i"), event("b")])
    assert await trial.store.release(lease, if_head=5)
    return lease


@contract
async def counters_tell_head_epoch_and_place(trial: Trial) -> None:
    lease = await resting(trial)
    assert await trial.store.counters(lease.key) == Counters(5, 5, 1, None)
    assert await trial.store.freeze(lease.key, SEGMENT, if_head=5, epoch=1)
    assert await trial.store.counters(lease.key) == Counters(5, 5, 2, SEGMENT)
    assert await trial.store.counters(SessionKey("wrkspc_b", lease.key.session)) is None


@contract
async def a_cold_log_has_no_rows_here_and_comes_back_exactly(trial: Trial) -> None:
    lease = await resting(trial)
    await trial.store.append_client(lease.key, [waiting("w")], if_head=5, wake=False)
    rows, asked = await trial.store.read(lease.key), HistoryQuery(9)
    history = await trial.store.history(lease.key, asked)
    told = list(trial.commits)
    assert await trial.store.freeze(lease.key, SEGMENT, if_head=6, epoch=1)
    assert await trial.store.read(lease.key) == []
    assert await trial.store.find(lease.key, ["a"]) == {}
    assert await trial.store.history(lease.key, asked) == []
    assert await trial.store.head(lease.key) == 6
    assert await trial.store.thaw(lease.key, SEGMENT, rows)
    assert await trial.store.read(lease.key) == rows
    assert await trial.store.history(lease.key, asked) == history
    assert await trial.store.history(lease.key, HistoryQuery(9, descending=True)) == history[::-1]
    assert trial.commits == told, "rows that come back are not news"


@contract
async def a_log_comes_back_once(trial: Trial) -> None:
    lease = await resting(trial)
    rows = await trial.store.read(lease.key)
    assert not await trial.store.thaw(lease.key, SEGMENT, rows)
    await trial.store.freeze(lease.key, SEGMENT, if_head=5, epoch=1)
    assert not await trial.store.thaw(lease.key, Segment("cold.0.5", 5, ""), rows)
    assert await trial.store.thaw(lease.key, SEGMENT, rows)
    assert not await trial.store.thaw(lease.key, SEGMENT, rows)
    assert await trial.store.read(lease.key) == rows
    assert not await trial.store.thaw(SessionKey("wrkspc_b", lease.key.session), SEGMENT, rows)


@contract
async def what_would_add_a_row_to_a_cold_log_is_refused(trial: Trial) -> None:
    lease = await resting(trial)
    await trial.store.freeze(lease.key, SEGMENT, if_head=5, epoch=1)
    await refused(LogCold, trial.store.append_client(lease.key, [waiting("c")], if_head=5, wake=True))
    await refused(LogCold, trial.store.take_in(lease.key, [event("c")], if_head=5, patch=None, wake=True))
    changed = record(lease.key.session)
    await refused(LogCold, trial.store.update_session(changed, [event("c")], if_head=5, columns="details"))
    gone = FileChanges(dropped=("file_1",))
    await refused(LogCold, trial.store.update_session(changed, [event("c")], if_head=5, columns="details", files=gone))
    await refused(Fenced, trial.store.append_owned(lease, [event("c")]))
    assert await trial.store.counters(lease.key) == Counters(5, 5, 2, SEGMENT)
    assert await trial.store.runnable() == 0


@contract
async def a_log_that_moved_or_is_owned_or_awaited_is_not_frozen(trial: Trial) -> None:
    lease = await resting(trial)
    assert not await trial.store.freeze(lease.key, SEGMENT, if_head=4, epoch=1)
    assert not await trial.store.freeze(lease.key, SEGMENT, if_head=5, epoch=0)
    await trial.store.append_client(lease.key, [waiting("c")], if_head=5, wake=True)
    assert not await trial.store.freeze(lease.key, SEGMENT, if_head=6, epoch=1)
    await trial.store.claim("worker_2", limit=1)
    assert not await trial.store.freeze(lease.key, SEGMENT, if_head=6, epoch=2)
    assert len(await trial.store.read(lease.key)) == 6


@contract
async def a_snapshot_stays_only_if_nothing_follows_it(trial: Trial) -> None:
    for name, seq, left in (("sesn_1", 1, None), ("sesn_2", 2, Snapshot(2, 1, b"s"))):
        lease = await trial.owned(name)
        lease = await trial.store.append_owned(lease, [event("a"), event("b")], snapshot=Snapshot(seq, 1, b"s"))
        await trial.store.release(lease, if_head=2)
        assert await trial.store.freeze(lease.key, SEGMENT, if_head=2, epoch=1)
        assert await trial.store.resume(lease.key, 1) == (left, [])


@contract
async def a_cold_session_is_listed_and_can_be_deleted(trial: Trial) -> None:
    lease = await resting(trial)
    await trial.store.freeze(lease.key, SEGMENT, if_head=5, epoch=1)
    assert await trial.store.session(lease.key) == record(lease.key.session)
    await refused(HeadMoved, trial.store.delete_session(lease.key, if_head=4))
    await trial.store.delete_session(lease.key, if_head=5)
    await refused(NotFound, trial.store.head(lease.key))
    assert await trial.store.counters(lease.key) is None


@contract
async def a_log_that_is_back_goes_on_where_it_stopped(trial: Trial) -> None:
    lease = await resting(trial)
    rows = await trial.store.read(lease.key)
    await trial.store.freeze(lease.key, SEGMENT, if_head=5, epoch=1)
    await trial.store.thaw(lease.key, SEGMENT, rows)
    assert await trial.store.append_client(lease.key, [event("a"), event("b")], if_head=0, wake=False) == 5
    await trial.store.append_client(lease.key, [waiting("c")], if_head=5, wake=True)
    (again,) = await trial.store.claim("worker_2", limit=1)
    assert (again.epoch, again.head, again.writer_head) == (3, 6, 5)
    assert (await trial.store.append_owned(again, [event("d")])).head == 7
    assert [row.seq for row in await trial.store.read(lease.key)] == [1, 2, 3, 4, 5, 6, 7]


@contract
async def sessions_at_rest_are_found_by_their_last_change(trial: Trial) -> None:
    for n, status in enumerate(("idle", "terminated", "running", "idle")):
        new = record(f"sesn_{n}", created_at=f"2026-01-0{4 - n}T00:00:00.000000Z", status=status)
        await trial.store.create_session(new, [event("a")], wake=False)
    await trial.store.create_session(record("sesn_4"), [waiting("a")], wake=True)
    await trial.store.create_session(record("sesn_5", created_at=LATER), [event("a")], wake=False)
    await trial.session("sesn_6")
    found = await trial.store.resting(LATER, 9)
    assert [key.session for key in found] == ["sesn_3", "sesn_1", "sesn_0"]
    assert [key.session for key in await trial.store.resting(LATER, 1)] == ["sesn_3"]
    await trial.store.freeze(found[0], Segment("cold.0.1", 1, ""), if_head=1, epoch=0)
    assert [key.session for key in await trial.store.resting("2026-01-04T00:00:00.000000Z", 9)] == ["sesn_1"]
    both = await trial.store.resting("2026-01-04T00:00:00.000000Z", 9, cold_too=True)
    assert [key.session for key in both] == ["sesn_3", "sesn_1"]
