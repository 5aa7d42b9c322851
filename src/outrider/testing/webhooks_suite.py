"""The contract of the port `webhooks`: what every store of endpoints and deliveries must do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal

from outrider.errors import Conflict, Fenced, InvalidRequest, NotFound
from outrider.ids import CountingIds
from outrider.ports.access import Workspace
from outrider.ports.cold import Segment
from outrider.ports.log import NewEvent, SessionKey
from outrider.ports.records import AgentRecord, EnvironmentRecord, Page
from outrider.ports.vaults import SecretRef, VaultRecord
from outrider.ports.webhooks import MOST_WEBHOOKS, Courier, Delivery, Settled, Until, WebhookRecord
from outrider.testing.store_trial import THREAD, Contract, Trial, event, record, refused

WEBHOOKS_CONTRACTS: list[Contract] = []
WEBHOOKS_IN_ROWS: list[Contract] = []
"""Of stores by themselves, without a layer that keeps bodies elsewhere."""
A, B = "wrkspc_a", "wrkspc_b"
IDS = CountingIds()  # later ones are greater, whichever store they are for
NEVER = (99, "")
STATUS = ["session.created", "session.status_idled", "session.archived", "session.deleted"]


def contract(function: Contract) -> Contract:
    WEBHOOKS_CONTRACTS.append(function)
    return function


def in_rows(function: Contract) -> Contract:
    WEBHOOKS_IN_ROWS.append(function)
    return function


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000Z"


def webhook(name: str = "whk_1", *events: str, second: int = 0, workspace: str = A) -> WebhookRecord:
    body = json.dumps({"name": "", "description": "", "enabled_events": list(events or STATUS)}).encode()
    return WebhookRecord(
        workspace, name, at(second), at(second), "https://example.com/", "enabled", "", 1, 0, None, body
    )


def until(second: int) -> Until:
    return Until(at(second), at(second + 10))


async def told(trial: Trial, name: str = "whk_1", *, workspace: str = A) -> list[tuple[str, str]]:
    """(event type, object) of all that is to be told to an endpoint, oldest first."""
    while await trial.store.fan_out(IDS, at(0), limit=3):
        pass
    found = await trial.store.due(workspace, name, until(59), limit=99)
    says: list[dict[str, Any]] = [json.loads(one.payload) for one in found]
    assert all(one["type"] == "event" and one["id"] == made.event for one, made in zip(says, found, strict=True))
    assert all(one["data"]["workspace_id"] == workspace for one in says)
    return [(one["data"]["type"], one["data"]["id"]) for one in says]


async def courier(trial: Trial) -> Courier:
    found = await trial.store.appoint("us", await trial.store.courier())
    assert found is not None
    return found


async def one_delivery(trial: Trial, record: WebhookRecord | None = None) -> Delivery:
    """Of an event that an endpoint hears of."""
    made = record or webhook("whk_1", "vault.created")
    if await trial.store.webhook(A, made.id) is None:
        await trial.store.create_webhook(made, IDS)
    await trial.store.create_vault(VaultRecord(A, IDS.new("vlt"), at(1), at(1), None, b"{}"))
    await told(trial)
    return (await trial.store.due(A, made.id, until(59), limit=99))[-1]


@contract
async def endpoints_are_created_read_updated_listed_and_deleted(trial: Trial) -> None:
    store = trial.store
    for name, second in (("whk_1", 1), ("whk_2", 2), ("whk_3", 3)):
        await store.create_webhook(webhook(name, second=second), IDS)
    changed = replace(webhook("whk_1", second=1), url="https://example.org/", secret=2, updated_at=at(9))
    await store.update_webhook(changed, IDS, if_updated=at(1))
    assert await store.webhook(A, "whk_1") == changed
    await refused(Conflict, store.update_webhook(changed, IDS, if_updated=at(1)))
    assert [one.id for one in await store.webhooks(A, Page(limit=9))] == ["whk_3", "whk_2", "whk_1"]
    assert [one.id for one in await store.webhooks(A, Page(limit=1, after=(at(3), "whk_3")))] == ["whk_2"]
    assert await store.secret_refs() == {SecretRef(A, "webhooks", f"whk_{n}", 2 if n == 1 else 1) for n in (1, 2, 3)}
    assert await store.webhook(B, "whk_1") is None
    assert await store.webhooks(B, Page(limit=9)) == []
    await refused(NotFound, store.delete_webhook(B, "whk_1"))
    await store.delete_webhook(A, "whk_1")
    assert await store.webhook(A, "whk_1") is None
    await refused(NotFound, store.delete_webhook(A, "whk_1"))
    await refused(Conflict, store.update_webhook(changed, IDS, if_updated=at(9)))


@contract
async def a_workspace_has_only_so_many_endpoints(trial: Trial) -> None:
    store = trial.store
    for number in range(MOST_WEBHOOKS):
        await store.create_webhook(webhook(f"whk_{number}"), IDS)
    await refused(InvalidRequest, store.create_webhook(webhook("whk_x"), IDS))
    await store.create_webhook(webhook("whk_x", workspace=B), IDS)
    await store.delete_webhook(A, "whk_0")
    await store.create_webhook(webhook("whk_x"), IDS)


@contract
async def what_happened_before_an_endpoint_listened_is_not_told_to_it(trial: Trial) -> None:
    store = trial.store
    await store.create_vault(VaultRecord(A, "vlt_1", at(1), at(1), None, b"{}"))
    await store.create_webhook(webhook("whk_1", "vault.created", "vault.archived"), IDS)
    await store.create_vault(VaultRecord(A, "vlt_2", at(1), at(1), None, b"{}"))
    await store.create_webhook(webhook("whk_2", "vault.created"), IDS)
    later = replace(webhook("whk_1", "vault.archived"), updated_at=at(5))
    await store.update_webhook(later, IDS, if_updated=at(0))
    await store.create_vault(VaultRecord(A, "vlt_3", at(1), at(1), None, b"{}"))
    await store.archive_vault(A, "vlt_3", at(2))
    await store.create_vault(VaultRecord(B, "vlt_4", at(1), at(1), None, b"{}"))
    assert await told(trial, "whk_1") == [("vault.created", "vlt_2"), ("vault.archived", "vlt_3")]
    assert await told(trial, "whk_2") == [("vault.created", "vlt_3")]
    assert not await store.untold()


@contract
async def changes_of_what_a_session_is_made_of_are_told_once_each(trial: Trial) -> None:
    store = trial.store
    kinds = [f"agent.{what}" for what in ("created", "updated", "archived")]
    kinds += [f"environment.{what}" for what in ("created", "updated", "archived", "deleted")]
    await store.create_webhook(webhook("whk_1", *kinds), IDS)
    agent = AgentRecord(A, "agent_1", 1, at(1), None, b"{}")
    await store.put_agent(agent, if_version=None)
    await store.put_agent(replace(agent, version=2), if_version=1)
    await refused(Conflict, store.put_agent(replace(agent, version=2), if_version=1))
    for second in (3, 4):
        await store.archive_agent(A, "agent_1", at(second))
    environment = EnvironmentRecord(A, "env_1", at(1), None, b'{"updated_at":"%s"}' % at(7).encode())
    for archived, before in ((None, None), (None, environment.body), (at(2), environment.body)):
        await store.put_environment(replace(environment, archived_at=archived), if_body=before)
    await refused(Conflict, store.put_environment(environment, if_body=environment.body))
    await store.delete_environment(A, "env_1", at=at(8))
    assert await told(trial) == [(kind, "agent_1" if kind.startswith("agent") else "env_1") for kind in kinds]
    times = [json.loads(one.payload)["created_at"] for one in await store.due(A, "whk_1", until(59), limit=9)]
    assert times == [at(1), at(1), at(3), at(7), at(7), at(7), at(8)]


@contract
async def events_of_a_session_are_told_by_whoever_appended_them(trial: Trial) -> None:
    store = trial.store
    key = SessionKey(A, "sesn_1")
    await store.create_session(record("sesn_0", status="running"), [event("e0", kind="session.created")], wake=False)
    await store.create_webhook(webhook(), IDS)
    await store.create_session(record("sesn_1"), [event("e1", kind="session.created"), event("e2")], wake=True)
    await store.create_session(record("sesn_1", workspace=B), [event("e1", kind="session.created")], wake=False)
    (lease,) = await store.claim("worker_1", limit=1, key=key)
    lease = await store.append_owned(lease, [event("e3", kind="session.status_idle"), event("e4")])
    await refused(Fenced, store.append_owned(replace(lease, epoch=9), [event("e5", kind="session.status_idle")]))
    await store.append_owned(lease, [], if_head=4, release=True)
    await store.append_client(key, [event("e6", kind="session.status_idle")], if_head=4, wake=False)
    await store.append_client(key, [event("e6", kind="session.status_idle")], if_head=4, wake=False)
    archived = record("sesn_1", status="terminated", archived_at=at(9))
    await store.update_session(archived, [], if_head=5, columns="archive")
    await store.delete_session(key, if_head=5, at=at(10))
    idled = ("session.status_idled", "sesn_1")
    last = [("session.archived", "sesn_1"), ("session.deleted", "sesn_1")]
    assert await told(trial) == [("session.created", "sesn_1"), idled, idled, *last]
    assert len({one.event for one in await store.due(A, "whk_1", until(59), limit=9)}) == 5


@in_rows
async def why_a_session_is_idle_and_which_thread_is_told(trial: Trial) -> None:
    store = trial.store
    kinds = ("session.requires_action", "session.status_idled", "session.thread_idled", "session.status_run_started")
    await store.create_webhook(webhook("whk_1", *kinds), IDS)
    key = await trial.session()
    await store.append_client(
        key,
        [
            event("e1", kind="session.status_running"),
            event("e2", kind="session.thread_status_idle", thread="sthr_2"),
            NewEvent("e3", "session.status_idle", b'{"stop_reason":{"type":"end_turn"}}', THREAD, processed_at=at(1)),
            NewEvent(
                *("e4", "session.status_idle", b'{"stop_reason":{"type":"requires_action","event_ids":[]}}', THREAD),
                processed_at=at(2),
            ),
        ],
        if_head=0,
        wake=False,
    )
    kinds = [kind for kind, _ in await told(trial)]
    assert kinds == [
        *("session.status_run_started", "session.thread_idled", "session.status_idled", "session.status_idled"),
        "session.requires_action",
    ]
    says = [json.loads(one.payload)["data"] for one in await store.due(A, "whk_1", until(59), limit=9)]
    assert [one.get("session_thread_id") for one in says] == [None, "sthr_2", None, None, None]


@in_rows
async def a_log_that_comes_back_is_not_told_again(trial: Trial) -> None:
    store = trial.store
    await store.create_webhook(webhook(), IDS)
    key = await trial.session()
    rows = [event("e1", kind="session.created"), event("e2", kind="session.status_idle")]
    await store.append_client(key, rows, if_head=0, wake=False)
    assert len(await told(trial)) == 2
    before, stored = await store.counters(key), await store.read(key)
    assert before is not None
    segment = Segment("cold", 2, "00")
    assert await store.freeze(key, segment, if_head=2, epoch=before.epoch)
    assert await store.thaw(key, segment, stored)
    assert await store.read(key) == stored
    assert not await store.untold()
    await store.append_client(key, [event("e3", kind="session.status_idle")], if_head=2, wake=False)
    assert len(await told(trial)) == 3


@contract
async def an_attempt_settles_a_delivery_once(trial: Trial) -> None:
    store, made = trial.store, await one_delivery(trial)
    us = await courier(trial)
    assert [one.id for one in await store.webhooks_due(until(0))] == ["whk_1"]
    again = replace(made, attempts=1, due=at(20), tried_at=at(5), status=500, problem="no 2xx")
    await store.settle(us, [Settled(again)], sustained=NEVER)
    assert await store.webhooks_due(until(15)) == []
    assert await store.webhooks_due(until(5)) != []  # a clock that was set back
    assert await store.due(A, "whk_1", until(15), limit=9) == []
    assert await store.due(A, "whk_1", until(20), limit=9) == [again]
    done = replace(again, state="delivered", attempts=2, tried_at=at(21), status=200, problem=None)
    await store.settle(us, [Settled(done)], sustained=NEVER)
    await store.settle(us, [Settled(replace(again, attempts=3))], sustained=NEVER)
    assert await store.delivery(A, "whk_1", made.id) == done
    assert await store.delivery(B, "whk_1", made.id) is None
    assert await store.webhooks_due(until(59)) == []
    record = await store.webhook(A, "whk_1")
    assert record is not None
    assert (record.failures, record.failing_since) == (0, None)


@contract
async def deliveries_are_listed_sent_again_and_forgotten(trial: Trial) -> None:
    store, first = trial.store, await one_delivery(trial)
    second = await one_delivery(trial)
    us = await courier(trial)
    done = replace(first, state="delivered", attempts=1, tried_at=at(5), status=204)
    await store.settle(us, [Settled(done)], sustained=NEVER)
    listed = await store.deliveries(A, "whk_1", state=None, after=None, limit=9)
    assert listed == sorted([done, second], key=lambda one: one.id, reverse=True)
    assert await store.deliveries(A, "whk_1", state="delivered", after=None, limit=9) == [done]
    assert await store.deliveries(B, "whk_1", state=None, after=None, limit=9) == []
    after = (listed[0].created_at, listed[0].id)
    assert await store.deliveries(A, "whk_1", state=None, after=after, limit=9) == listed[1:]
    await store.resend(A, "whk_1", first.id, at(6))
    again = replace(done, state="pending", attempts=0, due=at(6))
    assert await store.delivery(A, "whk_1", first.id) == again
    await store.resend(A, "whk_1", first.id, at(7))
    assert await store.delivery(A, "whk_1", first.id) == again
    await refused(NotFound, store.resend(B, "whk_1", first.id, at(6)))
    await refused(NotFound, store.resend(A, "whk_1", "whd_x", at(6)))
    await store.settle(us, [Settled(replace(done, attempts=2))], sustained=NEVER)
    newest = (await store.changes(after=0, limit=99))[-1]
    await store.forget_told(at(9))
    assert await store.deliveries(A, "whk_1", state=None, after=None, limit=9) == [second]
    assert await store.changes(after=0, limit=99) == [newest]


@contract
async def an_endpoint_is_disabled_by_its_answers(trial: Trial) -> None:
    store, made = trial.store, await one_delivery(trial)
    waiting = await one_delivery(trial)
    us = await courier(trial)
    failed = replace(made, state="failed", attempts=3, tried_at=at(5), status=302, problem="a redirect")
    await store.settle(us, [Settled(failed, disable="redirect")], sustained=NEVER)
    record = await store.webhook(A, "whk_1")
    assert record is not None
    assert (record.state, record.reason, record.updated_at) == ("disabled", "redirect", at(5))
    given_up = await store.delivery(A, "whk_1", waiting.id)
    assert given_up is not None
    assert (given_up.state, given_up.attempts) == ("failed", 0)
    await store.create_vault(VaultRecord(A, "vlt_x", at(1), at(1), None, b"{}"))
    enabled = replace(record, state="enabled", reason="", updated_at=at(8))
    await store.update_webhook(enabled, IDS, if_updated=record.updated_at)
    assert await told(trial) == []
    record = await store.webhook(A, "whk_1")
    assert record is not None
    assert (record.failures, record.failing_since) == (0, None)


@contract
async def an_endpoint_that_fails_for_long_and_often_is_disabled(trial: Trial) -> None:
    store = trial.store
    us = await courier(trial)

    async def fail(second: int, *, state: Literal["pending", "failed", "delivered"] = "failed") -> WebhookRecord:
        made = await one_delivery(trial)
        settled = Settled(replace(made, state=state, attempts=1, tried_at=at(second)))
        await store.settle(us, [settled], sustained=(2, at(second - 10) if second >= 10 else ""))
        found = await store.webhook(A, "whk_1")
        assert found is not None
        return found

    assert (await fail(1)).failures == 1
    assert (await fail(2)).failing_since == at(1)
    assert (await fail(3)).state == "enabled"  # often enough, but not for long
    assert (await fail(4, state="delivered")).failing_since is None
    assert (await fail(15)).failures == 1
    assert (await fail(26, state="pending")).state == "enabled"  # for long, but no more than one event was given up
    assert (await fail(27)).reason == "sustained_failure"


@contract
async def disabling_and_deleting_an_endpoint_ends_what_waits(trial: Trial) -> None:
    store, made = trial.store, await one_delivery(trial)
    record = await store.webhook(A, "whk_1")
    assert record is not None
    disabled = replace(record, state="disabled", updated_at=at(9))
    await store.update_webhook(disabled, IDS, if_updated=record.updated_at)
    ended = await store.delivery(A, "whk_1", made.id)
    assert ended is not None
    assert ended.state == "failed"
    await store.delete_webhook(A, "whk_1")
    assert await store.delivery(A, "whk_1", made.id) is None


@contract
async def one_courier_delivers_and_one_that_was_replaced_is_refused(trial: Trial) -> None:
    store, made = trial.store, await one_delivery(trial)
    nobody = await store.courier()
    first = await store.appoint("first", nobody)
    assert first is not None
    assert await store.appoint("second", nobody) is None
    seen = await store.courier()
    assert await store.beat_courier(first)
    assert await store.appoint("second", seen) is None
    second = await store.appoint("second", await store.courier())
    assert second is not None
    assert second.epoch > first.epoch
    assert not await store.beat_courier(first)
    done = Settled(replace(made, state="delivered", attempts=1, tried_at=at(1), status=200))
    await refused(Fenced, store.settle(first, [done], sustained=NEVER))
    assert await store.delivery(A, "whk_1", made.id) == made
    await store.resign_courier(first)
    assert (await store.courier()).owner == "second"
    await store.resign_courier(second)
    seen = await store.courier()
    assert seen.owner == ""
    assert await store.appoint("third", replace(seen, beats=99)) is not None


@contract
async def endpoints_of_a_known_workspace_are_counted_under_its_lock(trial: Trial) -> None:
    await trial.store.add_workspace(Workspace("wrkspc_c", "c", at(0)))
    await trial.store.create_webhook(webhook("whk_1", workspace="wrkspc_c"), IDS)
    assert await trial.store.webhook("wrkspc_c", "whk_1") is not None
