"""The contract of the port `log` about histories: processing order, filters, pages."""

from __future__ import annotations

from typing import Any

from outrider.ports.log import HistoryEntry, HistoryQuery, SessionKey
from outrider.testing.store_trial import THREAD, Contract, Trial, event, internal, processed, waiting

HISTORY_CONTRACTS: list[Contract] = []


def contract(function: Contract) -> Contract:
    HISTORY_CONTRACTS.append(function)
    return function


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000Z"


async def listed(trial: Trial, key: SessionKey, **query: Any) -> list[str]:
    return [entry.row.id for entry in await trial.store.history(key, HistoryQuery(limit=100, **query))]


async def paged(trial: Trial, key: SessionKey, *, limit: int, descending: bool) -> list[HistoryEntry]:
    found: list[HistoryEntry] = []
    while True:
        after = found[-1].position if found else None
        page = await trial.store.history(key, HistoryQuery(limit=limit, descending=descending, after=after))
        assert len(page) <= limit
        if not page:
            return found
        found.extend(page)


@contract
async def processed_events_stand_in_order_and_internal_rows_nowhere(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_owned(lease, [event("a"), internal("hidden"), event("b")])
    assert await listed(trial, lease.key) == ["a", "b"]
    assert await listed(trial, lease.key, descending=True) == ["b", "a"]


@contract
async def waiting_events_stand_last_by_arrival(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_client(lease.key, [waiting("q1"), waiting("q2")], if_head=None, wake=True)
    await trial.store.append_owned(lease, [event("a")])
    assert await listed(trial, lease.key) == ["a", "q1", "q2"]
    assert await listed(trial, lease.key, descending=True) == ["q2", "q1", "a"]
    entries = await trial.store.history(lease.key, HistoryQuery(limit=9))
    assert [entry.processed_at is None for entry in entries] == [False, True, True]


@contract
async def an_event_that_is_taken_up_gets_its_place_and_time(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_client(lease.key, [waiting("q1"), waiting("q2"), waiting("q3")], if_head=None, wake=True)
    lease = await trial.store.append_owned(lease, [event("a"), processed("p2", "q2", at=at(5)), event("b")])
    assert await listed(trial, lease.key) == ["a", "q2", "b", "q1", "q3"]
    lease = await trial.store.append_owned(
        lease, [processed("p3", "q3", at=at(6)), processed("p1", "q1", at=at(6)), event("c")]
    )
    entries = await trial.store.history(lease.key, HistoryQuery(limit=9))
    assert [entry.row.id for entry in entries] == ["a", "q2", "b", "q3", "q1", "c"]
    taken_up = {entry.row.id: entry for entry in entries}["q2"]
    assert taken_up.processed_at == at(5)
    assert (taken_up.row.seq, taken_up.row.processed_at) == (2, None), "the row itself never changes"


@contract
async def an_event_keeps_its_first_place_when_it_is_taken_up_again(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_client(lease.key, [waiting("q")], if_head=None, wake=True)
    lease = await trial.store.append_owned(lease, [processed("p1", "q", at=at(1)), event("a")])
    await trial.store.append_owned(
        lease, [processed("p2", "q", at=at(2)), processed("p3", "a", at=at(3)), processed("p4", "no")]
    )
    entries = await trial.store.history(lease.key, HistoryQuery(limit=9))
    assert [(entry.row.id, entry.processed_at) for entry in entries] == [("q", at(1)), ("a", at(0))]


@contract
async def an_event_taken_up_in_its_own_append_does_not_wait(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_owned(lease, [waiting("q"), event("a"), processed("p", "q", at=at(1)), event("b")])
    assert await listed(trial, lease.key) == ["a", "q", "b"]


@contract
async def pages_in_both_directions_show_every_entry_once(trial: Trial) -> None:
    lease = await trial.owned()
    for n in range(6):
        await trial.store.append_client(lease.key, [waiting(f"q{n}")], if_head=None, wake=True)
        lease = await trial.store.append_owned(lease, [event(f"a{n}"), internal(f"i{n}")])
    await trial.store.append_owned(lease, [processed("p4", "q4", at=at(4)), processed("p0", "q0", at=at(5))])
    expected = [*(f"a{n}" for n in range(6)), "q4", "q0", "q1", "q2", "q3", "q5"]
    for limit in (1, 2, 5, 50):
        forward = await paged(trial, lease.key, limit=limit, descending=False)
        backward = await paged(trial, lease.key, limit=limit, descending=True)
        assert [entry.row.id for entry in forward] == expected
        assert backward == forward[::-1]


@contract
async def positions_fit_a_json_number(trial: Trial) -> None:
    key = await trial.session()
    await trial.store.append_client(key, [waiting("q")], if_head=None, wake=True)
    (entry,) = await trial.store.history(key, HistoryQuery(limit=1))
    assert 0 < entry.position < 2**53


@contract
async def types_choose_which_events_are_shown(trial: Trial) -> None:
    lease = await trial.owned()
    kinds = ["agent.message", "agent.tool_use", "agent.message", "session.status_idle"]
    await trial.store.append_owned(lease, [event(f"e{n}", kind=kind) for n, kind in enumerate(kinds)])
    await trial.store.append_client(lease.key, [waiting("q")], if_head=None, wake=True)
    assert await listed(trial, lease.key, types=("agent.message", "user.message")) == ["e0", "e2", "q"]
    assert await listed(trial, lease.key, types=("agent.message",), descending=True) == ["e2", "e0"]
    assert await listed(trial, lease.key, types=("unknown.type",)) == []


@contract
async def time_bounds_compare_with_the_time_of_processing(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_client(lease.key, [waiting("q1"), waiting("q2")], if_head=None, wake=True)
    await trial.store.append_owned(
        lease, [event(f"e{n}", at=at(n)) for n in (1, 2, 3)] + [processed("p", "q1", at=at(4))]
    )
    assert await listed(trial, lease.key, created={"gte": at(2)}) == ["e2", "e3", "q1"]
    assert await listed(trial, lease.key, created={"gt": at(2)}) == ["e3", "q1"]
    assert await listed(trial, lease.key, created={"lt": at(2)}) == ["e1"]
    assert await listed(trial, lease.key, created={"lte": at(2)}) == ["e1", "e2"]
    assert await listed(trial, lease.key, created={"gt": at(1), "lt": at(4)}, descending=True) == ["e3", "e2"]
    assert await listed(trial, lease.key, created={"gte": at(4), "lte": at(4)}) == ["q1"]


@contract
async def a_history_shows_one_thread_and_by_itself_the_primary_one(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_owned(lease, [event("a"), event("child", thread="sthr_child"), event("b")])
    assert await listed(trial, lease.key) == ["a", "b"]
    assert await listed(trial, lease.key, thread=THREAD) == ["a", "b"]
    assert await listed(trial, lease.key, thread="sthr_child") == ["child"]


@contract
async def filters_and_pages_go_together(trial: Trial) -> None:
    lease = await trial.owned()
    kinds = ("agent.message", "agent.tool_use")
    await trial.store.append_owned(lease, [event(f"e{n}", kind=kinds[n % 2], at=at(n)) for n in range(10)])
    query = HistoryQuery(limit=2, types=("agent.message",), created={"gte": at(1)})
    first = await trial.store.history(lease.key, query)
    rest = HistoryQuery(limit=9, after=first[-1].position, types=query.types, created=query.created)
    assert [entry.row.id for entry in first] == ["e2", "e4"]
    assert [entry.row.id for entry in await trial.store.history(lease.key, rest)] == ["e6", "e8"]


@contract
async def a_history_belongs_to_one_workspace(trial: Trial) -> None:
    lease = await trial.owned("sesn_1", workspace="wrkspc_a")
    await trial.store.append_owned(lease, [event("a")])
    assert await listed(trial, SessionKey("wrkspc_b", "sesn_1")) == []
