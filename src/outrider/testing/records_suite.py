"""The contract of the port `records`, one function a promise. Any store must keep all of `RECORDS_CONTRACTS`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from outrider.errors import AlreadyAnswered, Conflict, Fenced, HeadMoved, NotFound
from outrider.ports.log import HistoryQuery, KeptAnswer, SessionKey, SessionPatch, Snapshot
from outrider.ports.records import (
    AgentRecord,
    EnvironmentRecord,
    Page,
    SessionFilter,
    StoredAnswer,
)
from outrider.testing.store_trial import Contract, Trial, bury_all, event, processed, record, refused, waiting

RECORDS_CONTRACTS: list[Contract] = []
A, B = "wrkspc_a", "wrkspc_b"
ANY = SessionFilter()


def contract(function: Contract) -> Contract:
    RECORDS_CONTRACTS.append(function)
    return function


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000Z"


def agent(name: str, version: int = 1, *, second: int = 0, workspace: str = A) -> AgentRecord:
    return AgentRecord(workspace, name, version, at(second), None, b'{"version":%d}' % version)


def environment(name: str, *, second: int = 0, workspace: str = A) -> EnvironmentRecord:
    return EnvironmentRecord(workspace, name, at(second), None, b"{}")


@contract
async def an_agent_is_stored_version_by_version(trial: Trial) -> None:
    store = trial.store
    await store.put_agent(agent("agent_1"), if_version=None)
    await store.put_agent(agent("agent_1", 2), if_version=1)
    await store.put_agent(agent("agent_1", 3), if_version=2)
    assert await store.agent(A, "agent_1") == agent("agent_1", 3)
    assert await store.agent(A, "agent_1", 2) == agent("agent_1", 2)
    assert await store.agent(A, "agent_1", 4) is None
    assert [r.version for r in await store.agent_versions(A, "agent_1", before=None, limit=9)] == [3, 2, 1]
    assert [r.version for r in await store.agent_versions(A, "agent_1", before=3, limit=1)] == [2]


@contract
async def an_agent_version_is_refused_when_another_came_first(trial: Trial) -> None:
    await trial.store.put_agent(agent("agent_1"), if_version=None)
    await refused(Conflict, trial.store.put_agent(agent("agent_1"), if_version=None))
    await trial.store.put_agent(agent("agent_1", 2), if_version=1)
    await refused(Conflict, trial.store.put_agent(agent("agent_1", 2), if_version=1))
    await refused(NotFound, trial.store.put_agent(agent("agent_2", 2), if_version=1))
    assert await trial.store.agent(A, "agent_2") is None


@contract
async def agents_are_listed_at_their_latest_version_in_both_directions(trial: Trial) -> None:
    for name, second in (("agent_c", 1), ("agent_a", 2), ("agent_b", 2), ("agent_d", 3)):
        await trial.store.put_agent(agent(name, second=second), if_version=None)
    await trial.store.put_agent(agent("agent_a", 2, second=2), if_version=1)
    newest = await trial.store.agents(A, Page(limit=9))
    assert [(r.id, r.version) for r in newest] == [("agent_d", 1), ("agent_b", 1), ("agent_a", 2), ("agent_c", 1)]
    assert await trial.store.agents(A, Page(limit=9, descending=False)) == newest[::-1]
    first = await trial.store.agents(A, Page(limit=2))
    last = first[-1]
    assert await trial.store.agents(A, Page(limit=2, after=(last.created_at, last.id))) == newest[2:]
    back = await trial.store.agents(A, Page(limit=1, descending=False, after=(last.created_at, last.id)))
    assert [r.id for r in back] == ["agent_d"]
    bounded = await trial.store.agents(A, Page(limit=9, created={"gt": at(1), "lte": at(2)}))
    assert [r.id for r in bounded] == ["agent_b", "agent_a"]


@contract
async def an_agent_is_archived_once_and_for_all_versions(trial: Trial) -> None:
    store = trial.store
    await store.put_agent(agent("agent_1"), if_version=None)
    await store.put_agent(agent("agent_1", 2), if_version=1)
    await store.archive_agent(A, "agent_1", at(5))
    await store.archive_agent(A, "agent_1", at(6))
    for version in (None, 1, 2):
        found = await store.agent(A, "agent_1", version)
        assert found is not None
        assert found.archived_at == at(5)
    assert await store.agents(A, Page(limit=9)) == []
    assert [r.id for r in await store.agents(A, Page(limit=9, include_archived=True))] == ["agent_1"]
    await refused(NotFound, store.archive_agent(A, "agent_2", at(5)))


@contract
async def an_archived_agent_gets_no_further_version(trial: Trial) -> None:
    await trial.store.put_agent(agent("agent_1"), if_version=None)
    await trial.store.archive_agent(A, "agent_1", at(5))
    await refused(Conflict, trial.store.put_agent(agent("agent_1", 2), if_version=1))
    found = await trial.store.agent(A, "agent_1")
    assert found == replace(agent("agent_1"), archived_at=at(5))


@contract
async def a_session_is_created_with_its_first_events(trial: Trial) -> None:
    new = record("sesn_1", details=b'{"title":"t"}')
    await trial.store.create_session(new, [event("a"), waiting("b")], wake=False)
    key = SessionKey(A, "sesn_1")
    assert await trial.store.session(key) == new
    assert [(row.seq, row.id, row.epoch) for row in await trial.store.read(key)] == [(1, "a", 0), (2, "b", 0)]
    assert [(k, [row.id for row in rows]) for k, rows in trial.commits] == [(key, ["a", "b"])]
    await refused(Conflict, trial.store.create_session(new, [event("c")], wake=True))
    assert await trial.store.head(key) == 2


@contract
async def a_session_whose_events_cannot_be_stored_does_not_exist(trial: Trial) -> None:
    await refused(Conflict, trial.store.create_session(record("sesn_1"), [event("a"), event("a")], wake=True))
    assert await trial.store.session(SessionKey(A, "sesn_1")) is None
    assert await trial.store.runnable() == 0
    assert trial.commits == []


@contract
async def sessions_are_filtered_by_agent_version_and_status(trial: Trial) -> None:
    store = trial.store
    await store.create_session(record("sesn_1", created_at=at(1), status="idle"), [], wake=False)
    await store.create_session(record("sesn_2", created_at=at(2), status="running", agent_version=2), [], wake=False)
    await store.create_session(
        record("sesn_3", created_at=at(3), status="terminated", agent_id="agent_2"), [], wake=False
    )
    await store.create_session(record("sesn_4", created_at=at(4), archived_at=at(5)), [], wake=False)

    async def listed(where: SessionFilter = ANY, page: Page = Page(limit=9)) -> list[str]:  # noqa: B008 (frozen)
        return [r.id for r in await store.sessions(A, page, where)]

    assert await listed() == ["sesn_3", "sesn_2", "sesn_1"]
    assert await listed(page=Page(limit=9, descending=False, include_archived=True)) == [
        "sesn_1",
        "sesn_2",
        "sesn_3",
        "sesn_4",
    ]
    assert await listed(SessionFilter(agent_id="agent_1")) == ["sesn_2", "sesn_1"]
    assert await listed(SessionFilter(agent_id="agent_1", agent_version=2)) == ["sesn_2"]
    assert await listed(SessionFilter(statuses=("idle", "terminated"))) == ["sesn_3", "sesn_1"]
    assert await listed(SessionFilter(statuses=("rescheduling",))) == []
    busy = SessionFilter(statuses=("terminated", "running"))
    assert await listed(busy) == ["sesn_3", "sesn_2"]
    assert await listed(busy, Page(limit=1)) == ["sesn_3"]
    assert await listed(busy, Page(limit=9, after=(at(3), "sesn_3"))) == ["sesn_2"]
    assert await listed(busy, Page(limit=9, descending=False)) == ["sesn_2", "sesn_3"]
    assert await listed(SessionFilter(agent_id="agent_1", statuses=("running",))) == ["sesn_2"]
    assert await listed(SessionFilter(agent_id="agent_1"), Page(limit=9, descending=False)) == ["sesn_1", "sesn_2"]


@contract
async def sessions_page_without_gaps_when_made_in_the_same_moment(trial: Trial) -> None:
    for n in range(7):
        await trial.store.create_session(record(f"sesn_{n}", created_at=at(n // 3)), [], wake=False)
    found: list[str] = []
    page = Page(limit=2)
    while records := await trial.store.sessions(A, page, ANY):
        found += [r.id for r in records]
        page = replace(page, after=(records[-1].created_at, records[-1].id))
    assert found == [f"sesn_{n}" for n in reversed(range(7))]
    bounded = Page(limit=9, descending=False, created={"gte": at(1), "lt": at(2)})
    assert [r.id for r in await trial.store.sessions(A, bounded, ANY)] == ["sesn_3", "sesn_4", "sesn_5"]


@contract
async def updating_details_leaves_the_logs_projections_alone(trial: Trial) -> None:
    key = await trial.session()
    changed = replace(record("sesn_1"), details=b"new", agent=b"agent", updated_at=at(9), status="running", usage=b"no")
    await trial.store.update_session(changed, [event("a")], if_head=0, columns="details")
    expected = replace(record("sesn_1"), details=b"new", agent=b"agent", updated_at=at(9))
    assert await trial.store.session(key) == expected
    assert [row.id for row in await trial.store.read(key)] == ["a"]
    assert [[row.id for row in rows] for _, rows in trial.commits] == [["a"]]


@contract
async def an_update_can_wake_the_session_with_what_changes_in_its_projections(trial: Trial) -> None:
    key = await trial.session()
    changed, patch = replace(record("sesn_1"), details=b"new", updated_at=at(9)), SessionPatch(status="running")
    moved = trial.store.update_session(changed, [event("a")], if_head=3, columns="details", patch=patch, wake=True)
    await refused(HeadMoved, moved)
    assert await trial.store.runnable() == 0
    await trial.store.update_session(changed, [event("a")], if_head=0, columns="details", patch=patch, wake=True)
    assert await trial.store.session(key) == replace(changed, status="running")
    assert await trial.store.runnable() == 1


@contract
async def archiving_leaves_details_alone(trial: Trial) -> None:
    key = await trial.session()
    changed = replace(record("sesn_1"), details=b"new", archived_at=at(8), status="terminated", updated_at=at(8))
    await trial.store.update_session(changed, [], if_head=0, columns="archive")
    expected = replace(record("sesn_1"), archived_at=at(8), status="terminated", updated_at=at(8))
    assert await trial.store.session(key) == expected
    assert trial.commits == []


@contract
async def an_update_never_makes_the_owner_fail_but_needs_the_head(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.update_session(record("sesn_1"), [event("a")], if_head=0, columns="details")
    lease = await trial.store.append_owned(lease, [event("b")])
    changed = replace(record("sesn_1"), details=b"new")
    await refused(HeadMoved, trial.store.update_session(changed, [event("c")], if_head=1, columns="details"))
    await refused(NotFound, trial.store.update_session(record("sesn_2"), [], if_head=0, columns="details"))
    assert await trial.store.session(lease.key) == record("sesn_1")
    assert [(row.id, row.epoch) for row in await trial.store.read(lease.key)] == [("a", 0), ("b", 1)]


@contract
async def a_deleted_session_leaves_nothing(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_client(lease.key, [waiting("q")], if_head=None, wake=True)
    lease = await trial.store.append_owned(lease, [event("a"), processed("p", "q")], snapshot=Snapshot(3, 1, b"s"))
    await refused(HeadMoved, trial.store.delete_session(lease.key, if_head=2))
    assert trial.deletions == []
    await trial.store.delete_session(lease.key, if_head=3)
    assert trial.deletions == [lease.key]
    assert await trial.store.session(lease.key) is None
    assert await trial.store.read(lease.key) == []
    assert await trial.store.history(lease.key, HistoryQuery(limit=9)) == []
    assert await trial.store.snapshot(lease.key) is None
    assert await bury_all(trial.store) == 0
    await refused(NotFound, trial.store.head(lease.key))
    await refused(NotFound, trial.store.delete_session(lease.key, if_head=3))


@contract
async def a_deleted_sessions_id_starts_anew(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.append_owned(lease, [event("a")])
    await trial.store.delete_session(lease.key, if_head=1)
    fresh = await trial.owned()
    assert (fresh.head, fresh.writer_head) == (0, 0)
    assert (await trial.store.append_owned(fresh, [event("a")])).head == 1


@contract
async def the_sweeper_hears_which_sessions_live(trial: Trial) -> None:
    store, names = trial.store, ["sesn_1", "sesn_2", "sesn_9"]
    assert (await store.living(names), await store.has_sessions()) == (set(), False)
    one = await trial.session("sesn_1", workspace=A)
    await trial.session("sesn_2", workspace=B)
    assert (await store.living(names), await store.has_sessions()) == ({"sesn_1", "sesn_2"}, True)
    await store.delete_session(one, if_head=0)
    assert (await store.living(names), await store.living([])) == ({"sesn_2"}, set())


@contract
async def a_skill_is_used_where_a_session_of_the_environment_has_it(trial: Trial) -> None:
    store = trial.store
    agent = b'{"skills":[{"type":"custom","skill_id":"skill_1","version":"skver_1"}]}'
    made = replace(record("sesn_1", workspace=A), agent=agent)
    await store.create_session(made, [], wake=False)
    place = made.environment_id
    assert await store.uses_skill(A, place, "skill_1")
    assert not await store.uses_skill(A, place, "skill_")
    assert not await store.uses_skill(A, place, "skill_2")
    assert not await store.uses_skill(A, "env_other", "skill_1")
    assert not await store.uses_skill(B, place, "skill_1")


@contract
async def an_answer_is_kept_until_it_is_too_old(trial: Trial) -> None:
    store, answer = trial.store, StoredAnswer(200, b"{}")
    assert await store.answer(A, "once", not_before=at(0)) is None
    await store.put_answer(A, KeptAnswer("once", at(5), answer))
    assert await store.answer(A, "once", not_before=at(5)) == answer
    assert await store.answer(A, "once", not_before=at(6)) is None
    assert await store.answer(B, "once", not_before=at(0)) is None
    await store.put_answer(A, KeptAnswer("once", at(7), StoredAnswer(201, b"new")))
    assert await store.answer(A, "once", not_before=at(6)) == StoredAnswer(201, b"new")
    await store.forget_answers(at(7))
    assert await store.answer(A, "once", not_before=at(0)) is not None
    await store.forget_answers(at(8))
    assert await store.answer(A, "once", not_before=at(0)) is None


def kept(second: int, name: str = "once", **conditions: Any) -> KeptAnswer:
    return KeptAnswer(name, at(second), StoredAnswer(200, b"answer %d" % second), **conditions)


async def answered(trial: Trial) -> tuple[bytes, int]:
    found = await trial.store.answer(A, "once", not_before="")
    assert found is not None
    return found.body, found.retries


@contract
async def a_repeat_is_refused_when_its_request_was_taken_meanwhile(trial: Trial) -> None:
    key = await trial.session("sesn_1", workspace=A)
    repeat = kept(9, retry=True, if_none_since=at(5))
    await trial.store.take_in(key, [waiting("a")], if_head=0, patch=None, wake=True, keep=kept(5))
    for head in (1, 0):  # it is refused for the answer even if the log has moved
        sent = trial.store.take_in(key, [waiting("b")], if_head=head, patch=None, wake=True, keep=repeat)
        await refused(AlreadyAnswered, sent)
    await refused(AlreadyAnswered, trial.store.create_session(record("sesn_2"), [], wake=True, keep=repeat))
    assert [row.id for row in await trial.store.read(key)] == ["a"]
    assert await trial.store.session(SessionKey(A, "sesn_2")) is None
    assert await answered(trial) == (b"answer 5", 0)
    older = replace(repeat, if_none_since=at(6))
    await trial.store.take_in(key, [waiting("b")], if_head=1, patch=None, wake=True, keep=older)
    assert await answered(trial) == (b"answer 9", 1)


@contract
async def a_first_attempt_is_refused_only_after_a_retry_that_it_has_not_seen(trial: Trial) -> None:
    key = await trial.session("sesn_1", workspace=A)
    for n, name in enumerate("ab"):  # said twice on purpose
        keep = kept(n, if_retries=0)
        await trial.store.take_in(key, [waiting(name)], if_head=n, patch=None, wake=True, keep=keep)
    await trial.store.create_session(record("sesn_2"), [], wake=True, keep=kept(2, retry=True, if_none_since=at(2)))
    late = kept(3, if_retries=0)
    sent = trial.store.take_in(key, [waiting("c")], if_head=2, patch=None, wake=True, keep=late)
    await refused(AlreadyAnswered, sent)
    await refused(AlreadyAnswered, trial.store.create_session(record("sesn_3"), [], wake=True, keep=late))
    assert await answered(trial) == (b"answer 2", 1)
    again = replace(late, if_retries=1)
    await trial.store.take_in(key, [waiting("c")], if_head=2, patch=None, wake=True, keep=again)
    assert await answered(trial) == (b"answer 3", 1)


@contract
async def of_attempts_that_come_together_one_is_taken(trial: Trial) -> None:
    """Also when no session is there yet by which they would wait for each other."""
    attempts = [kept(n, retry=True, if_none_since=at(0)) for n in range(4)]
    names = [f"sesn_{n}" for n in range(4)]
    outcomes = await asyncio.gather(
        *(
            trial.store.create_session(record(name), [], wake=False, keep=keep)
            for name, keep in zip(names, attempts, strict=True)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, AlreadyAnswered) for outcome in outcomes) == 3, outcomes
    made = [name for name in names if await trial.store.session(SessionKey(A, name)) is not None]
    assert len(made) == 1


@contract
async def an_append_that_is_repeated_is_not_refused_for_its_own_answer(trial: Trial) -> None:
    key = await trial.session("sesn_1", workspace=A)
    keep = kept(5, retry=True, if_none_since=at(0))
    for _ in range(2):
        head, _ = await trial.store.take_in(key, [waiting("a")], if_head=0, patch=None, wake=True, keep=keep)
        assert head == 1


@contract
async def workspaces_do_not_see_each_others_records(trial: Trial) -> None:
    store = trial.store
    await store.put_agent(agent("agent_1"), if_version=None)
    await store.put_environment(environment("env_1"))
    key = await trial.session("sesn_1", workspace=A)
    hidden = SessionKey(B, "sesn_1")
    assert await store.agent(B, "agent_1") is None
    assert await store.agents(B, Page(limit=9)) == []
    assert await store.agent_versions(B, "agent_1", before=None, limit=9) == []
    assert await store.environment(B, "env_1") is None
    assert await store.environments(B, Page(limit=9)) == []
    assert await store.session(hidden) is None
    assert await store.sessions(B, Page(limit=9), ANY) == []
    await refused(NotFound, store.archive_agent(B, "agent_1", at(1)))
    await refused(NotFound, store.put_agent(agent("agent_1", 2, workspace=B), if_version=1))
    await refused(NotFound, store.delete_environment(B, "env_1"))
    await refused(NotFound, store.delete_session(hidden, if_head=0))
    await refused(NotFound, store.update_session(record("sesn_1", workspace=B), [], if_head=0, columns="details"))
    assert await store.session(key) == record("sesn_1")


@contract
async def the_same_ids_may_live_in_two_workspaces(trial: Trial) -> None:
    store = trial.store
    for workspace in (A, B):
        await store.put_agent(agent("agent_1", workspace=workspace), if_version=None)
        await store.put_environment(environment("env_1", workspace=workspace))
        await trial.session("sesn_1", workspace=workspace)
    await store.delete_session(SessionKey(A, "sesn_1"), if_head=0)
    assert await store.session(SessionKey(B, "sesn_1")) == record("sesn_1", workspace=B)
    await store.delete_environment(A, "env_1")
    assert await store.environment(B, "env_1") is not None
    await refused(Conflict, store.delete_environment(B, "env_1"))


@contract
async def the_answers_that_are_kept_for_a_session_go_with_it(trial: Trial) -> None:
    store, answer = trial.store, StoredAnswer(200, b"{}")
    names = ("sesn_1/x", "sesn_1/y", "opening", "sesn_10/x", "sesn_1", "other")
    for workspace in (A, B):
        for name in names:
            await store.put_answer(workspace, KeptAnswer(name, at(1), answer))
    await trial.session("sesn_1")
    await store.delete_session(SessionKey(A, "sesn_1"), if_head=0, opened_by="opening")
    left = [name for name in names if await store.answer(A, name, not_before="") is not None]
    assert left == ["sesn_10/x", "sesn_1", "other"]
    assert all([await store.answer(B, name, not_before="") is not None for name in names])


@contract
async def an_owner_of_a_deleted_session_is_fenced(trial: Trial) -> None:
    lease = await trial.owned()
    await trial.store.delete_session(lease.key, if_head=0)
    await refused(Fenced, trial.store.append_owned(lease, [event("a")]))
    await refused(Fenced, trial.store.release(lease, if_head=0))
    assert await trial.store.claim("worker_2", limit=9) == []
