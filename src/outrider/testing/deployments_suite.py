"""The contract of the port `deployments`, one function a promise, for every store."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from outrider.errors import AlreadyAnswered, Conflict, InvalidRequest
from outrider.ports.deployments import (
    MOST_SCHEDULED,
    DeploymentFilter,
    DeploymentRecord,
    Deployments,
    RunFilter,
    RunRecord,
)
from outrider.ports.log import KeptAnswer, SessionKey
from outrider.ports.records import AgentRecord, Page, StoredAnswer
from outrider.testing.store_trial import Contract, Trial, record, refused

W = "wrkspc_a"
T0 = "2026-01-01T00:00:00.000000Z"
DUE = "2026-01-01T10:00:00.000000Z"
NEXT = "2026-01-01T11:00:00.000000Z"
LATER = "2026-01-01T12:00:00.000000Z"
REASON = b'{"type":"manual"}'
NEWEST = Page(limit=10)


def deployment(
    name: str = "depl_1", *, next_at: str | None = DUE, workspace: str = W, at: str = T0
) -> DeploymentRecord:
    return DeploymentRecord(workspace, name, "agent_1", 1, at, at, None, None, next_at, None, b'{"name":"d"}')


def fired(name: str = "drun_1", of: str = "depl_1", *, due: str = DUE, at: str = DUE) -> RunRecord:
    return RunRecord(W, name, of, "schedule", due, at, "agent_1", 3, f"sesn_of_{name}")


def manual(name: str, *, at: str = DUE, asked: str | None = None) -> RunRecord:
    return RunRecord(W, name, "depl_1", "manual", None, at, "agent_1", 3, f"sesn_of_{name}", asked=asked)


async def changes(trial: Trial) -> list[tuple[str, str]]:
    return [(one.type, one.object) for one in await trial.store.changes(after=0, limit=100)]


async def a_deployment_comes_back_as_it_was_stored_and_only_to_its_workspace(trial: Trial) -> None:
    store: Deployments = trial.store
    await store.create_deployment(deployment())
    assert await store.deployment(W, "depl_1") == deployment()
    assert await store.deployment("wrkspc_b", "depl_1") is None
    assert await changes(trial) == [("deployment.created", "depl_1")]


async def a_change_takes_the_revision_that_it_saw(trial: Trial) -> None:
    store: Deployments = trial.store
    await store.create_deployment(deployment())
    paused = replace(deployment(), paused=REASON, next_at=None, revision=2, updated_at=LATER, agent_id="agent_2")
    await store.update_deployment(paused, if_revision=1, change="deployment.paused")
    assert await store.deployment(W, "depl_1") == paused
    await refused(Conflict, store.update_deployment(paused, if_revision=1, change="deployment.paused"))
    archived = replace(paused, archived_at=LATER, paused=None, revision=3)
    await store.update_deployment(archived, if_revision=2, change="deployment.archived")
    again = replace(archived, revision=4)
    await refused(Conflict, store.update_deployment(again, if_revision=3, change="deployment.updated"))
    unknown = replace(paused, id="depl_2")
    await refused(Conflict, store.update_deployment(unknown, if_revision=1, change="deployment.updated"))
    kinds = [kind for kind, _ in await changes(trial)]
    assert kinds == ["deployment.created", "deployment.paused", "deployment.archived"]


async def a_list_goes_by_agent_and_pause_within_its_workspace(trial: Trial) -> None:
    store: Deployments = trial.store
    archived = replace(deployment("depl_3", next_at=None), archived_at=LATER)
    paused = replace(deployment("depl_2", next_at=None), paused=REASON, agent_id="agent_2")
    for one in (deployment(), paused, archived, deployment(workspace="wrkspc_b")):
        await store.create_deployment(one)
    every = Page(limit=10, include_archived=True, descending=False)
    assert await store.deployments(W, every, DeploymentFilter()) == [deployment(), paused, archived]
    assert await store.deployments(W, NEWEST, DeploymentFilter()) == [paused, deployment()]
    assert await store.deployments(W, NEWEST, DeploymentFilter(paused=True)) == [paused]
    assert await store.deployments(W, NEWEST, DeploymentFilter(paused=False)) == [deployment()]
    assert await store.deployments(W, NEWEST, DeploymentFilter(agent_id="agent_2")) == [paused]
    assert await store.deployments(W, Page(limit=1), DeploymentFilter()) == [paused]
    after = Page(limit=10, after=(T0, "depl_2"))
    assert await store.deployments(W, after, DeploymentFilter()) == [deployment()]


async def what_is_due_in_any_workspace_comes_longest_ago_first(trial: Trial) -> None:
    store: Deployments = trial.store
    waits = [
        deployment("depl_2", next_at=DUE),
        deployment("depl_1", next_at=DUE, workspace="wrkspc_b"),
        deployment("depl_3", next_at=T0),
        deployment("depl_4", next_at=None),
        deployment("depl_5", next_at=NEXT),
    ]
    for one in waits:
        await store.create_deployment(one)
    assert [one.id for one in await store.deployments_due(DUE, limit=10)] == ["depl_3", "depl_1", "depl_2"]
    assert [one.id for one in await store.deployments_due(DUE, limit=1)] == ["depl_3"]


async def of_many_who_fire_at_once_one_does(trial: Trial) -> None:
    store: Deployments = trial.store
    await store.create_deployment(deployment())
    tries = [store.fire(fired(f"drun_{number}"), due=DUE, next_at=NEXT) for number in range(10)]
    assert sorted(await asyncio.gather(*tries)) == [False] * 9 + [True]
    (run,) = await store.pending_runs(limit=10)
    assert (run.scheduled_at, run.outcome) == (DUE, "pending")
    waits = await store.deployment(W, "depl_1")
    assert waits is not None
    assert (waits.next_at, waits.revision) == (NEXT, 2)
    assert await changes(trial) == [("deployment.created", "depl_1"), ("deployment_run.started", run.id)]


async def a_time_that_has_a_run_fires_no_second_one_and_the_schedule_goes_on(trial: Trial) -> None:
    store: Deployments = trial.store
    await store.create_deployment(deployment())
    assert await store.fire(fired(), due=DUE, next_at=NEXT)
    back = await store.deployment(W, "depl_1")
    assert back is not None
    again = replace(back, next_at=DUE, revision=back.revision + 1)
    await store.update_deployment(again, if_revision=back.revision, change="deployment.updated")
    assert not await store.fire(fired("drun_2"), due=DUE, next_at=NEXT)
    assert [run.id for run in await store.pending_runs(limit=10)] == ["drun_1"]


async def what_no_longer_waits_for_a_time_does_not_fire(trial: Trial) -> None:
    store: Deployments = trial.store
    await store.create_deployment(deployment())
    assert not await store.fire(fired(due=T0), due=T0, next_at=NEXT)
    paused = replace(deployment(), next_at=None, paused=REASON, revision=2)
    await store.update_deployment(paused, if_revision=1, change="deployment.paused")
    assert not await store.fire(fired(), due=DUE, next_at=NEXT)
    assert await store.pending_runs(limit=10) == []


async def a_missed_time_is_passed_over_once(trial: Trial) -> None:
    store: Deployments = trial.store
    await store.create_deployment(deployment())
    await store.skip(deployment(), next_at=NEXT)
    await store.skip(deployment(), next_at=LATER)
    found = await store.deployment(W, "depl_1")
    assert found is not None
    assert found.next_at == NEXT
    assert await store.pending_runs(limit=10) == []


async def a_run_ends_once_and_only_then_it_is_listed(trial: Trial) -> None:
    store: Deployments = trial.store
    await store.create_deployment(deployment())
    await store.fire(fired(), due=DUE, next_at=NEXT)
    assert await store.runs(W, RunFilter(), after=None, limit=10) == []
    await store.succeed(fired(), at=LATER)
    await store.succeed(fired(), at=LATER)
    assert not await store.fail(fired(), b"{}", at=LATER, pause=REASON)
    done = replace(fired(), outcome="succeeded")
    assert await store.runs(W, RunFilter(), after=None, limit=10) == [done] == [await store.run(W, "drun_1")]
    assert await store.run("wrkspc_b", "drun_1") is None
    found = await store.deployment(W, "depl_1")
    assert found is not None
    assert (found.last_run_at, found.paused) == (DUE, None)
    assert (await changes(trial))[1:] == [
        ("deployment_run.started", "drun_1"),
        ("deployment_run.succeeded", "drun_1"),
    ]


async def a_failure_may_pause_its_deployment(trial: Trial) -> None:
    store: Deployments = trial.store
    await store.create_deployment(deployment())
    await store.fire(fired(), due=DUE, next_at=NEXT)
    assert await store.fail(fired(), b'{"type":"x"}', at=LATER, pause=REASON)
    found = await store.deployment(W, "depl_1")
    assert found is not None
    assert (found.paused, found.next_at, found.last_run_at, found.updated_at) == (REASON, None, None, LATER)
    run = await store.run(W, "drun_1")
    assert run is not None
    assert (run.outcome, run.error) == ("failed", b'{"type":"x"}')
    assert (await changes(trial))[2:] == [
        ("deployment_run.failed", "drun_1"),
        ("deployment.paused", "depl_1"),
    ]


async def manual_runs_move_nothing_but_themselves(trial: Trial) -> None:
    store: Deployments = trial.store
    await store.create_deployment(deployment())
    for name in ("drun_1", "drun_2"):
        await store.add_run(manual(name))
    await store.succeed(manual("drun_1"), at=LATER)
    await store.fail(manual("drun_2"), b"{}", at=LATER, pause=None)
    assert await store.deployment(W, "depl_1") == deployment()
    assert await changes(trial) == [("deployment.created", "depl_1")]


async def a_run_makes_a_session_or_fails_and_never_both(trial: Trial) -> None:
    store = trial.store
    keep = KeptAnswer("drun_1", DUE, StoredAnswer(200, b"{}"), if_none_since="")
    await store.add_run(manual("drun_1"))
    await store.create_session(record("sesn_of_drun_1", workspace=W), [], wake=False, keep=keep)
    assert not await store.fail(manual("drun_1"), b"{}", at=LATER, pause=None)
    found = await store.run(W, "drun_1")
    assert found is not None
    assert found.outcome == "pending"
    await store.add_run(manual("drun_2"))
    assert await store.fail(manual("drun_2"), b"{}", at=LATER, pause=None)
    late = replace(keep, name="drun_2")
    await refused(
        AlreadyAnswered, store.create_session(record("sesn_of_drun_2", workspace=W), [], wake=False, keep=late)
    )
    assert await store.session(SessionKey(W, "sesn_of_drun_2")) is None


async def of_a_session_and_a_failure_at_once_there_is_one(trial: Trial) -> None:
    store = trial.store
    for number in range(20):
        run = manual(f"drun_{number}")
        await store.add_run(run)
        keep = KeptAnswer(run.id, DUE, StoredAnswer(200, b"{}"), if_none_since="")
        made, failed = await asyncio.gather(
            store.create_session(record(run.session, workspace=W), [], wake=False, keep=keep),
            store.fail(run, b"{}", at=LATER, pause=None),
            return_exceptions=True,
        )
        exists = await store.session(SessionKey(W, run.session)) is not None
        assert isinstance(made, AlreadyAnswered) is not exists
        assert failed is not exists


async def runs_are_listed_newest_first_by_what_is_asked(trial: Trial) -> None:
    store: Deployments = trial.store
    await store.create_deployment(deployment())
    await store.fire(fired(at=T0), due=DUE, next_at=NEXT)
    for run in (manual("drun_2", at=DUE), manual("drun_3", at=NEXT), manual("drun_4", at=LATER)):
        await store.add_run(run)
    await store.succeed(fired(), at=LATER)
    await store.succeed(manual("drun_2"), at=LATER)
    await store.fail(manual("drun_3"), b"{}", at=LATER, pause=None)

    async def found(where: RunFilter, limit: int = 10, after: tuple[str, str] | None = None) -> list[str]:
        return [run.id for run in await store.runs(W, where, after=after, limit=limit)]

    assert await found(RunFilter()) == ["drun_3", "drun_2", "drun_1"]
    assert await found(RunFilter(), limit=1) == ["drun_3"]
    assert await found(RunFilter(), after=(NEXT, "drun_3")) == ["drun_2", "drun_1"]
    assert await found(RunFilter(failed=True)) == ["drun_3"]
    assert await found(RunFilter(failed=False)) == ["drun_2", "drun_1"]
    assert await found(RunFilter(trigger="schedule")) == ["drun_1"]
    assert await found(RunFilter(deployment="depl_2")) == []
    assert await found(RunFilter(created={"gt": T0, "lt": NEXT})) == ["drun_2"]
    assert await store.runs("wrkspc_b", RunFilter(), after=None, limit=10) == []


async def a_request_finds_the_last_run_that_it_asked_for(trial: Trial) -> None:
    store: Deployments = trial.store
    await store.add_run(manual("drun_1", at=DUE, asked="a"))
    await store.add_run(manual("drun_2", at=NEXT, asked="a"))
    await store.add_run(manual("drun_3", at=LATER, asked="b"))
    assert await store.run_asked(W, "a", not_before=T0) == manual("drun_2", at=NEXT, asked="a")
    assert await store.run_asked(W, "a", not_before=LATER) is None
    assert await store.run_asked("wrkspc_b", "a", not_before=T0) is None


async def an_archived_agents_deployments_are_archived_with_it(trial: Trial) -> None:
    store = trial.store
    await store.put_agent(AgentRecord(W, "agent_1", 1, T0, None, b"{}"), if_version=None)
    other = replace(deployment("depl_2"), agent_id="agent_2")
    elsewhere = deployment("depl_3", workspace="wrkspc_b")
    for one in (deployment(), other, elsewhere):
        await store.create_deployment(one)
    await store.archive_agent(W, "agent_1", LATER)
    await store.archive_agent(W, "agent_1", "2026-01-01T13:00:00.000000Z")
    found = await store.deployment(W, "depl_1")
    assert found is not None
    assert (found.archived_at, found.next_at, found.revision) == (LATER, None, 2)
    assert await store.deployment(W, "depl_2") == other
    assert await store.deployment("wrkspc_b", "depl_3") == elsewhere
    kinds = [one for one in await changes(trial) if one[0] == "deployment.archived"]
    assert kinds == [("deployment.archived", "depl_1")]


async def a_workspace_holds_only_so_many_that_fire_by_themselves(trial: Trial) -> None:
    store: Deployments = trial.store
    names = [f"depl_{number:04}" for number in range(MOST_SCHEDULED)]
    await asyncio.gather(*(store.create_deployment(deployment(name)) for name in names[1:]))
    await store.create_deployment(deployment(names[0], next_at=None))
    scheduled = replace(deployment(names[0]), revision=2)
    await store.update_deployment(scheduled, if_revision=1, change="deployment.updated")
    await refused(InvalidRequest, store.create_deployment(deployment("depl_more")))
    await store.create_deployment(deployment("depl_more", next_at=None))
    await store.create_deployment(deployment("depl_more", workspace="wrkspc_b"))
    more = replace(deployment("depl_more"), revision=2)
    await refused(InvalidRequest, store.update_deployment(more, if_revision=1, change="deployment.updated"))


DEPLOYMENT_CONTRACTS: tuple[Contract, ...] = (
    a_deployment_comes_back_as_it_was_stored_and_only_to_its_workspace,
    a_change_takes_the_revision_that_it_saw,
    a_list_goes_by_agent_and_pause_within_its_workspace,
    what_is_due_in_any_workspace_comes_longest_ago_first,
    of_many_who_fire_at_once_one_does,
    a_time_that_has_a_run_fires_no_second_one_and_the_schedule_goes_on,
    what_no_longer_waits_for_a_time_does_not_fire,
    a_missed_time_is_passed_over_once,
    a_run_ends_once_and_only_then_it_is_listed,
    a_failure_may_pause_its_deployment,
    manual_runs_move_nothing_but_themselves,
    a_run_makes_a_session_or_fails_and_never_both,
    of_a_session_and_a_failure_at_once_there_is_one,
    runs_are_listed_newest_first_by_what_is_asked,
    a_request_finds_the_last_run_that_it_asked_for,
    an_archived_agents_deployments_are_archived_with_it,
    a_workspace_holds_only_so_many_that_fire_by_themselves,
)
