"""Rules of sessions and the objects that stand for them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from anthropic.types.beta import BetaManagedAgentsDeletedSession, BetaManagedAgentsSession
from anthropic.types.beta.beta_managed_agents_session_updated_event import BetaManagedAgentsSessionUpdatedEvent
from anthropic.types.beta.sessions import BetaManagedAgentsSessionThread

from outrider.errors import InvalidRequest, NotSupported
from outrider.ports.log import SessionKey, SessionPatch
from outrider.ports.model import ModelProfile
from outrider.ports.records import SessionRecord
from outrider.resources import agents, sessions
from outrider.testing.strict import strict_parse
from outrider.wire.requests import parse

FIRST, LATER = "2026-01-01T00:00:00.000000Z", "2026-01-01T00:01:40.500000Z"
NEEDED: dict[str, Any] = {"agent": "agent_1", "environment_id": "env_1"}
MESSAGE = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}
OUTCOME = {"type": "user.define_outcome", "description": "d", "rubric": {"type": "text", "content": "c"}}
TOOLSET = {"type": "agent_toolset_20260401"}


def profiles(name: str) -> ModelProfile:
    return ModelProfile("default", name)


def asked(**fields: Any) -> sessions.SessionRequest:
    return sessions.new_session(parse("sessions.create", json.dumps(NEEDED | fields).encode()))


def agent_snapshot() -> dict[str, Any]:
    request = parse("agents.create", json.dumps({"name": "a", "model": "m", "tools": [TOOLSET]}).encode())
    agent = agents.new_agent(request, id="agent_1", now=FIRST, profiles=profiles)
    return agents.effective_agent(agent, "agent_1", profiles=profiles)


def recorded(patch: SessionPatch | None = None, **fields: Any) -> SessionRecord:
    key = SessionKey("ws", "sesn_1")
    return sessions.session_record(
        asked(**fields), key=key, thread="sthr_1", agent=agent_snapshot(), now=FIRST, patch=patch
    )


def update(record: SessionRecord, **fields: Any) -> sessions.SessionChange | None:
    return sessions.updated_session(record, parse("sessions.update", json.dumps(fields).encode()), now=LATER)


def updated(record: SessionRecord, **fields: Any) -> sessions.SessionChange:
    change = update(record, **fields)
    assert change is not None
    return change


def test_a_request_names_its_agent_by_id_or_by_reference() -> None:
    assert (asked().agent_id, asked().agent_version) == ("agent_1", None)
    pinned = asked(agent={"type": "agent", "id": "agent_2", "version": 3})
    assert (pinned.agent_id, pinned.agent_version) == ("agent_2", 3)


def test_what_is_not_offered_yet_is_refused_by_name() -> None:
    with pytest.raises(NotSupported) as caught:
        asked(initial_events=[MESSAGE, OUTCOME])
    assert caught.value.message.startswith("initial_events.1: user.define_outcome is not offered")


def test_empty_lists_of_later_features_are_fine() -> None:
    assert asked(vault_ids=[], resources=[], initial_events=[]) == asked()


def test_a_new_session_is_idle_has_every_key_and_reads_strictly() -> None:
    record = recorded(title="t", metadata={"k": "v"})
    shown = sessions.session_object(record, now=LATER)
    strict_parse(BetaManagedAgentsSession, json.dumps(shown).encode())
    assert set(shown) == set(BetaManagedAgentsSession.model_fields)
    assert (shown["status"], shown["title"], shown["metadata"]) == ("idle", "t", {"k": "v"})
    assert shown["stats"] == {"active_seconds": 0.0, "duration_seconds": 100.5}
    assert shown["usage"]["input_tokens"] == 0
    assert sessions.session_object(recorded(), now=FIRST)["title"] is None


def test_initial_events_decide_the_first_status() -> None:
    stats = json.dumps({"active_seconds": 0.0, "running_since": FIRST}).encode()
    record = recorded(
        SessionPatch(status="running", usage=b'{"input_tokens":0}', stats=stats), initial_events=[MESSAGE]
    )
    shown = sessions.session_object(record, now=LATER)
    assert (shown["status"], shown["stats"]["active_seconds"]) == ("running", 100.5)


def test_usage_and_running_time_are_counted_up_to_now() -> None:
    stats = json.dumps({"active_seconds": 7.25, "running_since": FIRST}).encode()
    usage = json.dumps({"input_tokens": 5, "active_seconds": 7.25}).encode()
    shown = sessions.session_object(recorded(SessionPatch(status="running", usage=usage, stats=stats)), now=LATER)
    assert shown["usage"]["input_tokens"] == 5
    assert shown["usage"]["active_seconds"] == shown["stats"]["active_seconds"] == 107.75
    strict_parse(BetaManagedAgentsSession, json.dumps(shown).encode())


def test_the_duration_of_a_terminated_session_stands_still() -> None:
    record = replace(recorded(), status="terminated", archived_at=LATER, updated_at=LATER)
    assert sessions.session_object(record, now="2026-02-01T00:00:00Z")["stats"]["duration_seconds"] == 100.5


def test_a_clock_that_went_back_gives_no_negative_time() -> None:
    assert sessions.session_object(recorded(), now="2025-12-31T00:00:00Z")["stats"]["duration_seconds"] == 0


def test_the_primary_thread_has_every_key_and_reads_strictly() -> None:
    thread = sessions.thread_object(recorded(), now=LATER)
    strict_parse(BetaManagedAgentsSessionThread, json.dumps(thread).encode())
    assert set(thread) == set(BetaManagedAgentsSessionThread.model_fields)
    assert (thread["id"], thread["session_id"], thread["parent_thread_id"]) == ("sthr_1", "sesn_1", None)
    assert "multiagent" not in thread["agent"]


def test_a_thread_s_stats_start_with_its_first_run_and_its_usage_with_its_first_rest() -> None:
    def thread(stats: dict[str, Any] | None) -> dict[str, Any]:
        patch = SessionPatch(stats=json.dumps(stats).encode(), usage=b"{}") if stats else None
        shown = sessions.thread_object(recorded(patch), now=LATER)
        strict_parse(BetaManagedAgentsSessionThread, json.dumps(shown).encode())
        return shown

    new, running = thread(None), thread({"active_seconds": 0.0, "running_since": FIRST})
    rested, again = (thread({"active_seconds": 2.5, "running_since": since}) for since in (None, FIRST))
    assert (new["stats"], new["usage"]) == (None, None)
    assert (running["stats"]["active_seconds"], running["usage"]) == (100.5, None)
    assert rested["usage"]["active_seconds"] == 2.5
    assert again["usage"]["active_seconds"] == 103.0


def test_an_update_says_only_what_changed() -> None:
    record = recorded(title="t", metadata={"a": "1", "b": "2"})
    change = updated(record, title="u", metadata={"a": "1", "b": None, "c": "3"})
    assert change.fields == {"title": "u", "metadata": {"a": "1", "c": "3"}}
    assert sessions.session_object(change.record, now=LATER)["title"] == "u"
    assert change.record.updated_at == LATER
    assert updated(record, title="t", metadata={"a": "9"}).fields == {"metadata": {"a": "9", "b": "2"}}
    assert updated(record, title=None).fields == {"title": None}


def test_an_update_without_change_says_nothing() -> None:
    record = recorded(title="t", metadata={"a": "1"})
    assert update(record) is None
    assert update(record, title="t", metadata={"a": "1"}) is None
    assert update(record, metadata=None, budget=None, agent={}) is None
    assert update(record, agent={"tools": [TOOLSET], "mcp_servers": []}) is None


def test_metadata_that_became_empty_is_left_out_of_the_event() -> None:
    change = updated(recorded(metadata={"a": "1"}), metadata={"a": None})
    assert change.fields == {}
    assert sessions.session_object(change.record, now=LATER)["metadata"] == {}


def test_an_update_of_tools_gives_the_whole_snapshot_and_reads_strictly() -> None:
    change = updated(recorded(), agent={"tools": []})
    assert change.fields == {"agent": agent_snapshot() | {"tools": []}}
    event = {"id": "sevt_1", "type": "session.updated", "processed_at": LATER} | change.fields
    strict_parse(BetaManagedAgentsSessionUpdatedEvent, json.dumps(event).encode())


@pytest.mark.parametrize("status", ["running", "rescheduling"])
def test_the_agent_changes_only_while_the_session_is_idle(status: str) -> None:
    record = replace(recorded(), status=status)
    with pytest.raises(InvalidRequest, match=f"agent: Session sesn_1 is {status}"):
        update(record, agent={"tools": []})
    assert updated(record, title="u").fields == {"title": "u"}


def test_a_terminated_session_refuses_updates() -> None:
    with pytest.raises(InvalidRequest, match="terminated or archived"):
        update(replace(recorded(), status="terminated"), title="u")


def test_vaults_and_budgets_can_not_be_added_later() -> None:
    with pytest.raises(InvalidRequest, match="vault_ids: "):
        update(recorded(), vault_ids=[])
    with pytest.raises(InvalidRequest, match="budget_create_only") as caught:
        update(recorded(), budget={"type": "limit", "max_list_cost": {"amount": "1", "currency": "USD"}})
    assert caught.value.error_code == "budget_create_only"


def test_what_does_not_fit_in_an_agent_update_is_refused_by_path() -> None:
    with pytest.raises(InvalidRequest, match=r"agent.mcp_servers.0: no mcp_toolset in tools refers to n"):
        update(recorded(), agent={"mcp_servers": [{"type": "url", "name": "n", "url": "https://x"}]})


def test_work_under_way_is_neither_archived_nor_deleted() -> None:
    idle, running = recorded(), replace(recorded(), status="running")
    rescheduling = replace(recorded(), status="rescheduling")
    sessions.check_archivable(idle)
    sessions.check_deletable(idle)
    sessions.check_deletable(rescheduling)
    for check, record in (
        (sessions.check_archivable, running),
        (sessions.check_archivable, rescheduling),
        (sessions.check_deletable, running),
    ):
        with pytest.raises(InvalidRequest, match="interrupt it first"):
            check(record)


def test_a_deleted_session_is_shown_as_the_sdk_reads_it() -> None:
    strict_parse(BetaManagedAgentsDeletedSession, json.dumps(sessions.deleted_session("sesn_1")).encode())
