"""The contract of the port `work`, one function a promise, for every store."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from outrider.errors import NotFound
from outrider.ports.access import ApiKey, Workspace
from outrider.ports.log import SessionKey, SessionPatch
from outrider.ports.records import EnvironmentRecord, Page
from outrider.ports.work import MOST_TRIES, NO_HEARTBEAT, Held, WorkItem
from outrider.testing.store_trial import Contract, Trial, record, refused

W, E = "wrkspc_a", "env_1"
BUSY, QUIET = b'{"needs_worker":true}', b'{"needs_worker":false}'
NEVER = "\U0010ffff"


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}.000000Z"


async def working(trial: Trial, name: str = "sesn_1", *, workspace: str = W) -> SessionKey:
    """A session that needs somebody."""
    made = replace(record(name, workspace=workspace), stats=BUSY)
    await trial.store.create_session(made, [], wake=False)
    return SessionKey(workspace, name)


async def says(trial: Trial, key: SessionKey, stats: bytes) -> None:
    head = await trial.store.head(key)
    await trial.store.append_client(key, [], if_head=head, patch=SessionPatch(stats=stats), wake=False)


async def queued(trial: Trial, id: str = "work_1", session: str = "sesn_1", *, second: int = 0) -> SessionKey:
    key = await working(trial, session)
    assert await trial.store.enlist_work(key, E, id=id, at=at(second), ttl=300)
    return key


async def polled(
    trial: Trial, token: str = "token_1", *, stale: list[tuple[str, int]] | None = None
) -> WorkItem | None:
    return await trial.store.hand_out_work(W, E, token=token, at=at(1), stale=stale or [], taker="apikey_1")


async def beat(trial: Trial, expected: str | None, *, id: str = "work_1", retry: bool = False) -> tuple[str, WorkItem]:
    return await trial.store.beat_work(W, E, id, expected=expected, ttl=None, at=at(3), retry=retry)


async def active(trial: Trial) -> WorkItem:
    """An item that a worker beats for."""
    await queued(trial)
    await polled(trial)
    await trial.store.acknowledge_work(W, E, "work_1", at=at(2))
    judged, item = await beat(trial, NO_HEARTBEAT)
    assert (judged, item.state) == ("beat", "active")
    return item


async def stopped(trial: Trial, *, force: bool = True, id: str = "work_1", successor: str = "work_2") -> WorkItem:
    return await trial.store.stop_work(W, E, id, force=force, at=at(4), successor=successor)


async def live(trial: Trial) -> list[tuple[str, str]]:
    found = await trial.store.works(W, E, Page(limit=100))
    return [(item.id, item.state) for item in reversed(found) if item.state != "stopped"]


async def a_session_has_one_item_that_is_not_stopped_at_most(trial: Trial) -> None:
    key = await working(trial)
    asked = [trial.store.enlist_work(key, E, id=f"work_{n}", at=at(n), ttl=300) for n in range(8)]
    assert sum(await asyncio.gather(*asked)) == 1
    assert len(await live(trial)) == 1


async def nothing_is_queued_for_a_session_that_is_gone(trial: Trial) -> None:
    key = await working(trial)
    await trial.store.delete_session(key, if_head=0)
    assert not await trial.store.enlist_work(key, E, id="work_1", at=at(0), ttl=300)
    assert await live(trial) == []


async def items_are_handed_out_in_order_and_each_once(trial: Trial) -> None:
    for number in range(4):
        await queued(trial, f"work_{number}", f"sesn_{number}", second=9 - number)
    given = await asyncio.gather(*(polled(trial, f"token_{number}") for number in range(6)))
    names = [item.id for item in given if item is not None]
    assert sorted(names) == [f"work_{number}" for number in range(4)]
    assert names[0] == "work_3"
    assert all(item.state == "polled" and item.round == 1 for item in given if item is not None)


async def another_workspace_or_environment_sees_nothing(trial: Trial) -> None:
    await queued(trial)
    store = trial.store
    for place in (("wrkspc_b", E), (W, "env_2")):
        assert await store.hand_out_work(*place, token="t", at=at(1), stale=[("work_1", 0)], taker="k") is None
        assert await store.work(*place, "work_1") is None
        assert await store.works(*place, Page(limit=10)) == []
        assert await store.held_work(*place) == []
        assert not await store.update_work(*place, "work_1", before="{}", metadata='{"a":"b"}')
        await refused(NotFound, store.acknowledge_work(*place, "work_1", at=at(1)))
        await refused(NotFound, store.stop_work(*place, "work_1", force=True, at=at(1), successor="work_2"))
        beating = store.beat_work(*place, "work_1", expected=None, ttl=None, at=at(1), retry=False)
        await refused(NotFound, beating)
    assert [item.id for item in await store.works(W, E, Page(limit=10))] == ["work_1"]


async def an_item_that_was_not_acknowledged_is_given_again_in_its_round_only(trial: Trial) -> None:
    await queued(trial)
    await polled(trial, "token_1")
    assert await polled(trial, "token_2") is None
    assert await polled(trial, "token_2", stale=[("work_1", 7)]) is None
    given = await polled(trial, "token_2", stale=[("work_1", 1)])
    assert given is not None
    assert given.round == 2
    assert await polled(trial, "token_3", stale=[("work_1", 1)]) is None
    await trial.store.acknowledge_work(W, E, "work_1", at=at(2))
    assert await polled(trial, "token_3", stale=[("work_1", 2)]) is None


async def a_token_is_good_from_the_poll_until_it_is_replaced_or_the_item_ends(trial: Trial) -> None:
    store = trial.store
    key = await queued(trial)
    assert await store.key_by_digest("token_1") is None
    await polled(trial, "token_1")
    found = await store.key_by_digest("token_1")
    assert found is not None
    assert (found.scope, found.workspace, found.environment) == ("session", W, E)
    assert (found.session, found.work) == (key.session, "work_1")
    before = await store.access_revision()
    await polled(trial, "token_2", stale=[("work_1", 1)])
    assert await store.key_by_digest("token_1") is None
    assert await store.access_revision() > before
    before = await store.access_revision()
    await stopped(trial)
    assert await store.key_by_digest("token_2") is None
    assert await store.access_revision() > before


async def a_token_ends_with_the_key_that_took_its_item(trial: Trial) -> None:
    store = trial.store
    await store.add_workspace(Workspace(W, "a", at(0)))
    await store.put_environment(EnvironmentRecord(W, E, at(0), None, b"{}"))
    for name in ("apikey_1", "apikey_2"):
        await store.add_key(ApiKey(name, W, f"digest of {name}", name, "environment", at(0), environment=E))
    await queued(trial)
    await polled(trial)
    await store.revoke_key(W, "apikey_2", at(2))
    assert await store.key_by_digest("token_1") is not None
    before = await store.access_revision()
    await store.revoke_key(W, "apikey_1", at(2))
    assert await store.key_by_digest("token_1") is None
    assert await store.access_revision() > before


async def acknowledging_twice_changes_nothing(trial: Trial) -> None:
    await queued(trial)
    assert (await trial.store.acknowledge_work(W, E, "work_1", at=at(1))).state == "queued"
    await polled(trial)
    first = await trial.store.acknowledge_work(W, E, "work_1", at=at(2))
    assert (first.state, first.acknowledged_at) == ("starting", at(2))
    assert await trial.store.acknowledge_work(W, E, "work_1", at=at(3)) == first


async def each_heartbeat_must_follow_the_one_before(trial: Trial) -> None:
    first = await active(trial)
    assert first.heartbeat is not None
    assert (await beat(trial, NO_HEARTBEAT))[0] == "refused"
    judged, second = await beat(trial, first.heartbeat)
    assert judged == "beat"
    assert second.heartbeat not in (None, first.heartbeat)
    assert (await beat(trial, first.heartbeat))[0] == "refused"
    assert (await beat(trial, first.heartbeat, retry=True)) == ("repeat", second)
    assert (await beat(trial, NO_HEARTBEAT, retry=True))[0] == "refused"


async def of_many_first_heartbeats_one_wins(trial: Trial) -> None:
    await queued(trial)
    await polled(trial)
    assert (await beat(trial, NO_HEARTBEAT))[0] == "refused"
    await trial.store.acknowledge_work(W, E, "work_1", at=at(2))
    verdicts = [judged for judged, _ in await asyncio.gather(*(beat(trial, NO_HEARTBEAT) for _ in range(8)))]
    assert sorted(verdicts) == ["beat", *["refused"] * 7]


async def a_graceful_stop_is_told_by_the_heartbeats_and_ended_by_force(trial: Trial) -> None:
    first = await active(trial)
    item = await stopped(trial, force=False)
    assert (item.state, item.stop_requested_at) == ("stopping", at(4))
    assert item.ttl < first.ttl
    judged, item = await beat(trial, "whatever")
    assert (judged, item.state) == ("beat", "stopping")
    assert (await stopped(trial, force=False)).state == "stopping"
    item = await stopped(trial)
    assert (item.state, item.stopped_at) == ("stopped", at(4))
    assert (await beat(trial, "whatever"))[0] == "stopped"
    assert await stopped(trial) == item


async def an_item_that_nobody_beats_for_is_stopped_at_once(trial: Trial) -> None:
    await queued(trial)
    assert (await stopped(trial, force=False)).state == "stopped"


async def a_session_that_still_needs_somebody_gets_another_item(trial: Trial) -> None:
    await active(trial)
    await stopped(trial)
    assert await live(trial) == [("work_2", "queued")]
    assert await polled(trial, "token_2") is not None


async def a_session_that_needs_nobody_gets_none(trial: Trial) -> None:
    await active(trial)
    await says(trial, SessionKey(W, "sesn_1"), QUIET)
    await stopped(trial)
    assert await live(trial) == []


async def an_item_of_a_session_that_needs_nobody_is_not_handed_out(trial: Trial) -> None:
    key = await queued(trial)
    await queued(trial, "work_2", "sesn_2", second=1)
    await says(trial, key, QUIET)
    given = await polled(trial)
    assert given is not None
    assert given.id == "work_2"
    assert await live(trial) == [("work_2", "polled")]


async def items_that_end_without_progress_are_not_made_for_ever(trial: Trial) -> None:
    key = await queued(trial, "work_0")
    for number in range(MOST_TRIES):
        await stopped(trial, id=f"work_{number}", successor=f"work_{number + 1}")
        assert await live(trial) == [(f"work_{number + 1}", "queued")]
    await stopped(trial, id=f"work_{MOST_TRIES}", successor="work_last")
    assert await live(trial) == []
    assert await trial.store.enlist_work(key, E, id="work_new", at=at(9), ttl=300)
    await stopped(trial, id="work_new", successor="work_newer")
    assert not await trial.store.enlist_work(key, E, id="work_newest", at=at(9), ttl=300)
    (item,) = [one for one in await trial.store.works(W, E, Page(limit=100)) if one.state == "queued"]
    assert (item.id, item.tries) == ("work_newer", 0)


async def a_lapsed_item_is_queued_anew_only_as_it_was_seen(trial: Trial) -> None:
    item = await active(trial)
    (held,) = await trial.store.held_work(W, E)
    assert held == Held("work_1", 1, 1, "active", 300)
    assert item.heartbeat is not None
    await beat(trial, item.heartbeat)
    assert not await trial.store.lapse_work(W, E, held, at=at(5), successor="work_2")
    (held,) = await trial.store.held_work(W, E)
    before = await trial.store.access_revision()
    assert await trial.store.lapse_work(W, E, held, at=at(5), successor="work_2")
    assert await trial.store.access_revision() > before
    assert await trial.store.key_by_digest("token_1") is None
    assert not await trial.store.lapse_work(W, E, held, at=at(5), successor="work_2")
    assert await live(trial) == [("work_1", "queued")]
    again = await polled(trial, "token_2")
    assert again is not None
    assert (again.round, again.heartbeat, again.queued_at) == (2, None, at(5))
    await trial.store.acknowledge_work(W, E, "work_1", at=at(6))
    assert (await beat(trial, NO_HEARTBEAT))[0] == "beat"


async def how_long_an_item_stood_is_noted_until_it_moves(trial: Trial) -> None:
    store, item = trial.store, await active(trial)
    (held,) = await store.held_work(W, E)
    await store.note_standing(W, E, replace(held, stood=75))
    await store.note_standing(W, E, replace(held, stood=60))
    assert await store.all_held_work() == [(W, E, replace(held, stood=75))]
    assert await store.held_work(W, E) == [replace(held, stood=75)]
    await beat(trial, item.heartbeat)
    await store.note_standing(W, E, replace(held, stood=90))
    (held,) = await store.held_work(W, E)
    assert (held.beats, held.stood) == (2, 0)
    await store.note_standing("wrkspc_b", E, replace(held, stood=90))
    assert await store.held_work(W, E) == [held]
    await store.note_standing(W, E, replace(held, stood=90))
    await stopped(trial)
    assert await store.all_held_work() == []


async def an_item_that_was_never_acknowledged_lapses_like_any_other(trial: Trial) -> None:
    await queued(trial)
    await polled(trial)
    (held,) = await trial.store.held_work(W, E)
    assert await trial.store.lapse_work(W, E, held, at=at(5), successor="work_2")
    assert await trial.store.key_by_digest("token_1") is None
    assert await live(trial) == [("work_1", "queued")]


async def a_lapsed_item_is_stopped_when_it_was_stopping_or_nobody_is_needed(trial: Trial) -> None:
    await active(trial)
    await stopped(trial, force=False)
    (held,) = await trial.store.held_work(W, E)
    assert await trial.store.lapse_work(W, E, held, at=at(5), successor="work_2")
    assert await live(trial) == [("work_2", "queued")]
    await polled(trial, "token_2")
    await trial.store.acknowledge_work(W, E, "work_2", at=at(6))
    await says(trial, SessionKey(W, "sesn_1"), QUIET)
    (held,) = await trial.store.held_work(W, E)
    assert await trial.store.lapse_work(W, E, held, at=at(7), successor="work_3")
    assert await live(trial) == []


async def a_deleted_session_takes_its_items_and_tokens_with_it(trial: Trial) -> None:
    await active(trial)
    (held,) = await trial.store.held_work(W, E)
    before = await trial.store.access_revision()
    await trial.store.delete_session(SessionKey(W, "sesn_1"), if_head=0)
    assert not await trial.store.lapse_work(W, E, held, at=at(5), successor="work_2")
    assert await trial.store.works(W, E, Page(limit=10)) == []
    assert await trial.store.key_by_digest("token_1") is None
    assert await trial.store.access_revision() > before


async def metadata_is_replaced_only_as_it_was_read(trial: Trial) -> None:
    await queued(trial)
    assert await trial.store.update_work(W, E, "work_1", before="{}", metadata='{"a":"b"}')
    assert not await trial.store.update_work(W, E, "work_1", before="{}", metadata='{"c":"d"}')
    item = await trial.store.work(W, E, "work_1")
    assert item is not None
    assert item.metadata == '{"a":"b"}'


async def the_queue_is_counted_and_so_are_those_who_poll(trial: Trial) -> None:
    store = trial.store
    assert (await store.work_stats(W, E, polled_since=at(0))).oldest_queued_at is None
    for number in range(3):
        await queued(trial, f"work_{number}", f"sesn_{number}", second=number)
    await polled(trial)
    for worker, second in (("a", 1), ("b", 2), ("a", 3)):
        await store.note_poller(W, E, worker, at=at(second), forget=at(0))
    stats = await store.work_stats(W, E, polled_since=at(3))
    assert (stats.depth, stats.pending, stats.oldest_queued_at, stats.workers_polling) == (2, 1, at(0), 1)
    assert (await store.work_stats(W, E, polled_since=at(2))).workers_polling == 2
    await store.note_poller(W, E, "c", at=at(9), forget=at(3))
    assert (await store.work_stats(W, E, polled_since=at(0))).workers_polling == 2
    assert (await store.work_stats("wrkspc_b", E, polled_since=at(0))).workers_polling == 0


async def items_are_listed_newest_first_in_pages(trial: Trial) -> None:
    for number in range(3):
        await queued(trial, f"work_{number}", f"sesn_{number}", second=number)
    first = await trial.store.works(W, E, Page(limit=2))
    assert [item.id for item in first] == ["work_2", "work_1"]
    rest = await trial.store.works(W, E, Page(limit=2, after=(first[-1].created_at, first[-1].id)))
    assert [item.id for item in rest] == ["work_0"]


async def a_deleted_environment_forgets_who_polled(trial: Trial) -> None:
    await trial.store.put_environment(EnvironmentRecord(W, E, at(0), None, b"{}"))
    await trial.store.note_poller(W, E, "a", at=at(1), forget=at(0))
    await trial.store.delete_environment(W, E)
    assert (await trial.store.work_stats(W, E, polled_since=at(0))).workers_polling == 0


WORK_CONTRACTS: tuple[Contract, ...] = (
    a_session_has_one_item_that_is_not_stopped_at_most,
    nothing_is_queued_for_a_session_that_is_gone,
    items_are_handed_out_in_order_and_each_once,
    another_workspace_or_environment_sees_nothing,
    an_item_that_was_not_acknowledged_is_given_again_in_its_round_only,
    a_token_is_good_from_the_poll_until_it_is_replaced_or_the_item_ends,
    a_token_ends_with_the_key_that_took_its_item,
    acknowledging_twice_changes_nothing,
    each_heartbeat_must_follow_the_one_before,
    of_many_first_heartbeats_one_wins,
    a_graceful_stop_is_told_by_the_heartbeats_and_ended_by_force,
    an_item_that_nobody_beats_for_is_stopped_at_once,
    a_session_that_still_needs_somebody_gets_another_item,
    a_session_that_needs_nobody_gets_none,
    an_item_of_a_session_that_needs_nobody_is_not_handed_out,
    items_that_end_without_progress_are_not_made_for_ever,
    a_lapsed_item_is_queued_anew_only_as_it_was_seen,
    how_long_an_item_stood_is_noted_until_it_moves,
    an_item_that_was_never_acknowledged_lapses_like_any_other,
    a_lapsed_item_is_stopped_when_it_was_stopping_or_nobody_is_needed,
    a_deleted_session_takes_its_items_and_tokens_with_it,
    metadata_is_replaced_only_as_it_was_read,
    the_queue_is_counted_and_so_are_those_who_poll,
    items_are_listed_newest_first_in_pages,
    a_deleted_environment_forgets_who_polled,
)
