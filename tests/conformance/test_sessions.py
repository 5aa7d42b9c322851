"""Sessions: create with its rules, read, list, update, archive, delete."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import CUSTOM, Play
from live_server import Stage
from session_talk import Talk, message, result
from turns import TOOLSET, every, kinds, only, refused, said

from conformance.requirements import requirement
from outrider.models.scripted.script import Barrier, Text, ToolUse, Turn, Usage


def copy(talk: Talk, **fields: Any) -> Talk:
    """Another session with the same agent and environment."""
    session = talk.client.beta.sessions.retrieve(talk.id)
    body: dict[str, Any] = {"agent": session.agent.id, "environment_id": session.environment_id} | fields
    return Talk(talk.client, talk.client.beta.sessions.create(**body).id)


def overridden(talk: Talk, **fields: Any) -> Talk:
    agent = talk.client.beta.sessions.retrieve(talk.id).agent.id
    return copy(talk, agent={"type": "agent_with_overrides", "id": agent, **fields})


@requirement("sessions:create", "sessions:retrieve", "sessions:object:fields", "status:start:idle")
@requirement("status:start:no-events", "sessions:initial-events:empty", "sessions:create:title")
@pytest.mark.parametrize("more", [{}, {"title": None, "metadata": {}, "initial_events": []}])
def test_a_new_session_is_idle_and_its_history_empty(play: Play, more: dict[str, Any]) -> None:
    talk = play(Turn("Hi."), **more)
    session = talk.client.beta.sessions.retrieve(talk.id)
    assert (session.status, session.title, session.metadata, session.archived_at) == ("idle", None, {}, None)
    assert (session.vault_ids, session.resources, session.outcome_evaluations) == ([], [], [])
    assert (session.budget, session.deployment_id) == (None, None)
    assert talk.history() == []


@requirement("sessions:create:title", "sessions:create:metadata")
def test_title_and_metadata_are_kept_and_limited(play: Play) -> None:
    bag = {f"{number:02}".ljust(64, "k"): "v" * 512 for number in range(16)}
    talk = play(Turn("Hi."), title="A title", metadata=bag)
    session = talk.client.beta.sessions.retrieve(talk.id)
    assert (session.title, session.metadata) == ("A title", bag)
    for broken in (bag | {"one more": "v"}, {"k" * 65: "v"}, {"k": "v" * 513}):
        with refused(400, "metadata"):
            copy(talk, metadata=broken)


@requirement("sessions:create:agent:id", "sessions:create:agent:version", "sessions:object:agent")
def test_an_agent_is_named_by_id_or_pinned_to_a_version(play: Play) -> None:
    talk = play(Turn("Hi."), agent={"system": "one", "metadata": {"k": "v"}})
    sessions = talk.client.beta.sessions
    agent = talk.client.beta.agents.update(sessions.retrieve(talk.id).agent.id, system="two")
    latest = sessions.retrieve(copy(talk).id).agent
    pinned = sessions.retrieve(copy(talk, agent={"type": "agent", "id": agent.id, "version": 1}).id).agent
    loose = sessions.retrieve(copy(talk, agent={"type": "agent", "id": agent.id}).id).agent
    assert [(one.version, one.system) for one in (latest, pinned, loose)] == [(2, "two"), (1, "one"), (2, "two")]
    assert set(agent.to_dict()) - set(latest.to_dict()) == {"metadata", "created_at", "updated_at", "archived_at"}
    with refused(404):
        copy(talk, agent={"type": "agent", "id": agent.id, "version": 3})
    with refused(404):
        copy(talk, agent="agent_unknown")


@requirement("sessions:create:environment")
def test_an_environment_is_required(play: Play, raw: httpx2.Client) -> None:
    agent = play(Turn("Hi.")).client.beta.agents.list(limit=1).data[0]
    answer = raw.post("/v1/sessions", json={"agent": agent.id})
    assert answer.status_code == 400
    assert "environment_id" in answer.json()["error"]["message"]


OUTCOME = {"type": "user.define_outcome", "description": "d", "rubric": {"type": "text", "content": "c"}}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"initial_events": [OUTCOME]}, "initial_events.0"),
]


@requirement("sessions:create:refused-not-offered")
@pytest.mark.parametrize(("fields", "named"), REFUSED)
def test_a_field_of_a_later_feature_is_refused_by_name(play: Play, fields: dict[str, Any], named: str) -> None:
    with refused(400, named, "not offered by this server yet"):
        play(Turn("Hi."), **fields)


@requirement("sessions:initial-events:running", "sessions:initial-events:stored")
@requirement("sessions:initial-events:not-in-response", "sessions:initial-events:empty")
def test_initial_events_are_stored_before_the_answer_and_start_the_session(
    play: Play, stage: Stage, model_name: str
) -> None:
    barrier = f"started-{model_name}"
    talk = play(Turn(Text(Barrier(barrier), "Hi.")))
    like = talk.client.beta.sessions.retrieve(talk.id)
    events: list[Any] = [message("one"), message("two")]
    answer = talk.client.beta.sessions.with_raw_response.create(
        agent=like.agent.id, environment_id=like.environment_id, initial_events=events
    )
    session = answer.parse()
    assert session.status == "running"
    assert "one" not in answer.text()
    started = Talk(talk.client, session.id)
    sent = every(started.history(), "user.message")
    assert [event.content[0].text for event in sent] == ["one", "two"]
    assert len({event.id for event in sent}) == 2
    stage.arrived(barrier)
    stage.release(barrier)
    started.wait()


@requirement("sessions:initial-events:kinds", "sessions:initial-events:limit", "sessions:initial-events:all-or-nothing")
def test_only_up_to_fifty_messages_may_be_initial(play: Play) -> None:
    talk = play(Turn("Hi."))
    agent = talk.client.beta.sessions.retrieve(talk.id).agent.id
    system = {"type": "system.message", "content": [{"type": "text", "text": "Be brief."}]}
    others: list[Any] = [system, {"type": "user.interrupt"}, result("sevt_1", "x"), {"type": "agent.message"}]
    for bad in others:
        with refused(400, "initial_events.1"):
            copy(talk, initial_events=[message("fine"), bad])
    with refused(400, "initial_events"):
        copy(talk, initial_events=[message("one")] * 51)
    assert [one.id for one in talk.client.beta.sessions.list(agent_id=agent)] == [talk.id]
    full = copy(talk, initial_events=[message(f"number {number}") for number in range(50)])
    full.wait()
    assert len(every(full.history(), "user.message")) == 50


@requirement("sessions:overrides:inherit", "sessions:overrides:clear", "sessions:overrides:replace")
@requirement("sessions:overrides:base-version", "sessions:overrides:agent-untouched")
def test_each_override_stands_for_itself_and_leaves_the_agent_alone(play: Play) -> None:
    talk = play(Turn("Hi."), agent={"system": "s"}, tools=[CUSTOM, TOOLSET])
    sessions = talk.client.beta.sessions
    base = sessions.retrieve(talk.id).agent
    before = talk.client.beta.agents.retrieve(base.id)
    other: dict[str, Any] = CUSTOM | {"name": "other"}
    replaced = sessions.retrieve(overridden(talk, tools=[other]).id).agent
    nothing: list[Any] = [None, []]
    cleared = [sessions.retrieve(overridden(talk, system=None, tools=none).id).agent for none in nothing]
    assert [tool.to_dict() for tool in replaced.tools] == [other]
    assert replaced.system == "s"
    assert [(agent.system, agent.tools) for agent in cleared] == [(None, []), (None, [])]
    assert {(agent.id, agent.version) for agent in (replaced, *cleared)} == {(base.id, base.version)}
    assert talk.client.beta.agents.retrieve(base.id) == before
    assert sessions.retrieve(talk.id).agent == base


@requirement("sessions:overrides:model-null", "errors:reason:in-both-places", "errors:details")
def test_a_null_model_has_a_reason_in_the_message_and_in_the_code(play: Play) -> None:
    with refused(400, "agent_model_required", error_code="agent_model_required"):
        overridden(play(Turn("Hi.")), model=None)


@requirement("sessions:overrides:effort", "sessions:overrides:inference-geo")
def test_an_overriding_model_loses_effort_and_pin(play: Play, stage: Stage, model_name: str) -> None:
    talk = play(Turn("Hi."), agent={"model": {"id": f"pro-{model_name}", "effort": "high", "inference_geo": "us"}})
    sessions = talk.client.beta.sessions
    same = sessions.retrieve(overridden(talk, model={"id": f"pro-{model_name}", "effort": "low"}).id)
    assert same.agent.model.to_dict() == {"id": f"pro-{model_name}"}
    pinned = sessions.retrieve(overridden(talk, model={"id": f"pro-{model_name}", "inference_geo": "global"}).id)
    assert pinned.agent.model.to_dict() == {"id": f"pro-{model_name}", "inference_geo": "global"}


@requirement("sessions:overrides:model-sees")
def test_the_model_request_carries_the_effective_values(play: Play, stage: Stage, model_name: str) -> None:
    talk = play(Turn("Base."), agent={"system": "the base system"}, tools=[TOOLSET])
    other = stage.put(f"other-{model_name}", Turn("Other."))
    changed = overridden(talk, model=other, system="an overriding system", tools=[CUSTOM])
    said(changed, "hi")
    (request,) = stage.requests(other)
    assert [block["text"] for block in request["system"]][-1] == "an overriding system"
    assert [tool["name"] for tool in request["tools"]] == ["lookup"]
    assert not stage.requests(model_name)


@requirement("sessions:list", "sessions:list:agent", "sessions:list:created-at")
def test_the_list_is_narrowed_by_agent_version_and_time(play: Play, client: Anthropic) -> None:
    talk = play(Turn("Hi."))
    agent = client.beta.sessions.retrieve(talk.id).agent.id
    client.beta.agents.update(agent, name="changed")
    made = [client.beta.sessions.retrieve(one.id) for one in (talk, copy(talk), copy(talk))]
    ids = [session.id for session in made]
    times = [session.created_at for session in made]

    def found(**fields: Any) -> list[str]:
        return [session.id for session in client.beta.sessions.list(agent_id=agent, order="asc", **fields)]

    assert found() == ids
    assert (found(agent_version=1), found(agent_version=2), found(agent_version=3)) == (ids[:1], ids[1:], [])
    assert found(created_at_gt=times[0]) == ids[1:]
    assert found(created_at_gte=times[1], created_at_lt=times[2]) == ids[1:2]
    assert found(created_at_lte=times[1]) == ids[:2]
    with refused(400, "agent_version"):
        client.beta.sessions.list(agent_version=1)
    with refused(400, "created_at"):
        client.beta.sessions.list(extra_query={"created_at[gt]": "yesterday"})


@requirement("sessions:list:statuses", "sessions:list:include-archived", "sessions:object:status")
@requirement("transport:query:arrays", "transport:query:booleans", "transport:query:arrays:bare")
def test_the_list_is_narrowed_by_status(play: Play, client: Anthropic, raw: httpx2.Client, stage: Stage) -> None:
    talk = play(Turn("Hi."))
    session = client.beta.sessions.retrieve(talk.id)
    busy, gone = copy(talk), copy(talk)
    barrier = f"busy-{session.agent.model.id}"
    stage.put(session.agent.model.id, Turn(Text(Barrier(barrier), "Hi.")))
    busy.say("work")
    stage.arrived(barrier)
    client.beta.sessions.archive(gone.id)

    def found(*statuses: Any, **more: Any) -> set[str]:
        listed = client.beta.sessions.list(agent_id=session.agent.id, statuses=list(statuses), **more)
        return {one.id for one in listed}

    assert found("idle") == {talk.id}
    assert found("running") == {busy.id}
    assert found("idle", "running") == found() == {talk.id, busy.id}
    assert found("terminated", include_archived=True) == {gone.id}
    assert found(include_archived=True) == {talk.id, busy.id, gone.id}
    bare = raw.get("/v1/sessions", params={"agent_id": session.agent.id, "statuses": ["running"]}).json()
    assert [one["id"] for one in bare["data"]] == [busy.id]
    for query in ("statuses[]=asleep", "include_archived=yes"):
        assert raw.get(f"/v1/sessions?{query}").status_code == 400
    stage.release(barrier)
    busy.wait()


@requirement(
    "sessions:usage:tokens", "sessions:usage:uncached", "sessions:object:stats", "sessions:usage:active-seconds"
)
def test_usage_sums_up_all_model_requests(play: Play) -> None:
    first, second = Usage(100, 10, 1000, 50), Usage(7, 3, 2000, 20)
    talk = play(Turn("One.", usage=first), Turn("Two.", usage=second))
    events = said(talk, "a", "b")
    session = talk.client.beta.sessions.retrieve(talk.id)
    assert session.usage.input_tokens == 107
    assert session.usage.output_tokens == 13
    assert session.usage.cache_read_input_tokens == 3000
    assert session.usage.cache_creation is not None
    assert session.usage.cache_creation.ephemeral_5m_input_tokens == 70
    assert (session.usage.active_seconds or 0) > 0
    assert session.stats.active_seconds == session.usage.active_seconds
    assert (session.stats.duration_seconds or 0) >= (session.stats.active_seconds or 0)
    snapshots = [event.usage for event in every(events, "session.usage")]
    assert [usage.output_tokens for usage in snapshots] == [10, 13]


@requirement("sessions:usage:duration")
def test_the_duration_stands_still_when_the_session_is_over(play: Play) -> None:
    talk = play(Turn("Hi."))
    before = talk.client.beta.sessions.retrieve(talk.id)
    archived = talk.client.beta.sessions.archive(talk.id)
    later = talk.client.beta.sessions.retrieve(talk.id)
    assert (archived.stats.duration_seconds or 0) > (before.stats.duration_seconds or 0) > 0
    assert later.stats.duration_seconds == archived.stats.duration_seconds


@requirement("sessions:update", "sessions:update:title", "sessions:update:metadata", "sessions:update:event")
@requirement("emitted:session.updated", "sessions:update:event:none")
def test_a_real_change_emits_what_changed_and_no_change_emits_nothing(play: Play) -> None:
    talk = play(Turn("Hi."), title="one", metadata={"keep": "1", "drop": "1"})
    update = talk.client.beta.sessions.update
    assert update(talk.id, title="two").title == "two"
    patch: Any = {"drop": None, "add": "2"}
    assert update(talk.id, metadata=patch).metadata == {"keep": "1", "add": "2"}
    assert update(talk.id, title=None).title is None
    update(talk.id, metadata={"keep": "1"})
    update(talk.id)
    shown = [event.to_dict() for event in talk.history()]
    changes = [{key: event[key] for key in event.keys() - {"id", "type", "processed_at"}} for event in shown]
    assert changes == [{"title": "two"}, {"metadata": {"keep": "1", "add": "2"}}, {"title": None}]


@requirement("sessions:update:metadata", "sessions:update:event")
def test_updates_at_once_lose_nothing_of_each_other(play: Play, client: Anthropic) -> None:
    talk = play(Turn("Hi."))

    def set_one(number: int) -> None:
        client.beta.sessions.update(talk.id, metadata={f"key {number}": str(number)})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(set_one, range(16)))
    wanted = {f"key {number}": str(number) for number in range(16)}
    assert client.beta.sessions.retrieve(talk.id).metadata == wanted
    told = [event.metadata for event in talk.history()]
    assert [len(bag) for bag in told] == list(range(1, 17))
    cleared: Any = dict.fromkeys(wanted)
    assert client.beta.sessions.update(talk.id, metadata=cleared).metadata == {}
    assert talk.history()[-1].to_dict().keys() == {"id", "type", "processed_at"}


@requirement("sessions:update:agent:idle", "sessions:update:next-turn", "sessions:update:event:agent")
@requirement("permissions:changed-by-update")
def test_tools_are_replaced_whole_for_this_session_and_count_from_the_next_turn(
    play: Play, stage: Stage, model_name: str
) -> None:
    talk = play(Turn("One."), Turn("Two."), tools=[CUSTOM])
    said(talk, "first")
    agent_id = talk.client.beta.sessions.retrieve(talk.id).agent.id
    asking: Any = TOOLSET | {"default_config": {"permission_policy": {"type": "always_ask"}}}
    session = talk.client.beta.sessions.update(talk.id, agent={"tools": [asking]})
    event = only(talk.history(), "session.updated")
    assert event.agent.to_dict() == session.agent.to_dict()
    (toolset,) = session.agent.tools
    assert toolset.type == "agent_toolset_20260401"
    assert toolset.default_config.permission_policy.type == "always_ask"
    assert talk.client.beta.agents.retrieve(agent_id).tools[0].type == "custom"
    said(talk, "second")
    first, second = ([tool["name"] for tool in one["tools"]] for one in stage.requests(model_name))
    assert first == ["lookup"]
    assert "bash" in second
    assert "lookup" not in second


@requirement("sessions:update:agent:running")
def test_the_agent_part_of_a_running_session_cannot_change_but_its_title_can(
    play: Play, stage: Stage, model_name: str
) -> None:
    barrier = f"busy-{model_name}"
    talk = play(Turn(Text(Barrier(barrier), "Hi.")))
    talk.say("work")
    stage.arrived(barrier)
    with refused(400, "agent"):
        talk.client.beta.sessions.update(talk.id, agent={"tools": []}, title="not this either")
    assert talk.client.beta.sessions.update(talk.id, metadata={"k": "v"}).title is None
    stage.release(barrier)
    talk.wait()


@requirement("sessions:update:agent:requires-action")
def test_a_session_that_waits_for_answers_may_change_its_tools(play: Play) -> None:
    talk = play(Turn(ToolUse("lookup", {"key": "k"})), Turn("Done."), tools=[CUSTOM])
    (use,) = said(talk, "go")[-1].stop_reason.event_ids
    assert talk.client.beta.sessions.update(talk.id, agent={"tools": []}).agent.tools == []
    talk.send(result(use, "v"))
    talk.wait()
    assert talk.history()[-1].stop_reason.type == "end_turn"


@requirement("sessions:update:vault-ids")
def test_vaults_and_budget_of_a_session_cannot_change(play: Play) -> None:
    talk = play(Turn("Hi."))
    with refused(400, "vault_ids"):
        talk.client.beta.sessions.update(talk.id, vault_ids=["vlt_1"])
    cap: Any = {"type": "limit", "max_list_cost": {"amount": "100", "currency": "USD"}}
    with refused(400, "budget_create_only", error_code="budget_create_only"):
        talk.client.beta.sessions.update(talk.id, budget=cap)


@requirement("sessions:archive", "sessions:archive:terminates", "sessions:archive:readable", "sessions:archive:twice")
@requirement("sessions:archive:no-events", "sessions:update:terminated", "events:send:terminated")
@requirement("emitted:session.status_terminated", "emitted:session.thread_status_terminated")
@requirement("defaults:terminated-readable", "defaults:state-conflicts")
def test_an_archived_session_is_over_and_stays_readable(play: Play) -> None:
    talk = play(Turn("Hi."))
    before = said(talk, "hello")
    sessions = talk.client.beta.sessions
    archived = sessions.archive(talk.id)
    assert (archived.status, archived.archived_at is not None) == ("terminated", True)
    assert sessions.archive(talk.id) == archived
    assert sessions.retrieve(talk.id) == archived
    events = talk.history()
    assert events[: len(before)] == before
    assert kinds(events[len(before) :]) == ["session.thread_status_terminated", "session.status_terminated"]
    thread = next(iter(sessions.threads.list(talk.id)))
    assert (thread.status, events[-2].session_thread_id) == ("terminated", thread.id)
    assert list(sessions.threads.events.list(thread.id, session_id=talk.id)) == events
    for attempt in (lambda: talk.say("more"), lambda: talk.send({"type": "user.interrupt"})):
        with refused(400, "terminated"):
            attempt()
    with refused(400, "can't be updated"):
        sessions.update(talk.id, title="late")
    assert sessions.delete(talk.id).type == "session_deleted"


@requirement("sessions:archive:running", "sessions:delete:running", "defaults:state-conflicts")
def test_a_running_session_is_neither_archived_nor_deleted(play: Play, stage: Stage, model_name: str) -> None:
    barrier = f"busy-{model_name}"
    talk = play(Turn(Text(Barrier(barrier), "Hi.")))
    talk.say("work")
    stage.arrived(barrier)
    for attempt in (talk.client.beta.sessions.archive, talk.client.beta.sessions.delete):
        with refused(400, "running"):
            attempt(talk.id)
    stage.release(barrier)
    talk.wait()
    assert talk.client.beta.sessions.archive(talk.id).status == "terminated"


@requirement("sessions:delete", "sessions:delete:gone", "sessions:delete:others-stay", "errors:404")
def test_a_deleted_session_is_gone_and_nothing_else_is(play: Play, client: Anthropic) -> None:
    talk = play(Turn("Hi."))
    said(talk, "hello")
    other = copy(talk)
    session = client.beta.sessions.retrieve(talk.id)
    thread = next(iter(client.beta.sessions.threads.list(talk.id))).id
    assert client.beta.sessions.delete(talk.id).to_dict() == {"id": talk.id, "type": "session_deleted"}
    calls: list[Callable[[], Any]] = [
        lambda: client.beta.sessions.retrieve(talk.id),
        lambda: client.beta.sessions.delete(talk.id),
        lambda: talk.say("hello?"),
        lambda: talk.history(),
        lambda: client.beta.sessions.events.stream(talk.id),
        lambda: client.beta.sessions.threads.retrieve(thread, session_id=talk.id),
    ]
    for call in calls:
        with refused(404, talk.id):
            call()
    assert client.beta.agents.retrieve(session.agent.id).archived_at is None
    assert client.beta.environments.retrieve(session.environment_id).archived_at is None
    assert said(other, "hello")[-1].type == "session.status_idle"


@requirement("sessions:delete:stream", "emitted:session.deleted", "streaming:ends:deleted", "helpers:ended")
def test_a_delete_ends_open_streams_with_its_event(play: Play) -> None:
    talk = play(Turn("Hi."))
    with talk.stream() as one, talk.stream() as two:
        talk.client.beta.sessions.delete(talk.id)
        for reader in (one, two):
            assert reader.until("session.deleted").id
            assert reader.ended.wait(20)
            assert reader.types() == ["session.deleted"]


@requirement("sessions:status-before-event", "status:finished-is-idle")
def test_a_session_is_idle_once_the_stream_says_so(play: Play) -> None:
    talk = play(*(Turn(f"Answer {number}.") for number in range(5)))
    with talk.stream() as reader:
        for number in range(5):
            talk.say(f"question {number}")
            reader.idle("end_turn")
            assert talk.status() == "idle"
