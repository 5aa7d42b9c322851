"""Deployments through the SDK: made, changed, paused, run by hand, archived; and the record of their runs."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from live_server import Server, Stage
from on_disk import holding
from turns import refused

from conformance.requirements import requirement
from outrider.models.scripted.script import Turn

_numbers = itertools.count(1)
SAY: Any = {"type": "user.message", "content": [{"type": "text", "text": "Go."}]}
YEARLY: Any = {"type": "cron", "expression": "30 6 1 1 *", "timezone": "Europe/Berlin"}
REPOSITORY: Any = {"type": "github_repository", "url": "https://github.com/first/app"}


class Parts:
    """An agent and an environment of a test's own."""

    def __init__(self, client: Anthropic, stage: Stage) -> None:
        self.client = client
        model = stage.put(f"deployed-{next(_numbers)}", *(Turn("Done.") for _ in range(20)))
        self.agent = client.beta.agents.create(name="deployed", model=model).id
        self.environment = client.beta.environments.create(name="tests").id

    def deploy(self, **more: Any) -> Any:
        fields: Any = {
            "name": "nightly",
            "agent": self.agent,
            "environment_id": self.environment,
            "initial_events": [SAY],
        }
        return self.client.beta.deployments.create(**fields | more)


@pytest.fixture
def parts(client: Anthropic, stage: Stage) -> Parts:
    return Parts(client, stage)


@requirement("deployments:create", "deployments:agent", "deployments:schedule", "deployments:schedule:upcoming")
def test_a_deployment_is_shown_with_all_that_it_was_made_of(client: Anthropic, parts: Parts) -> None:
    client.beta.agents.update(parts.agent, version=1, name="second version")
    vault = client.beta.vaults.create(display_name="v").id
    made = parts.deploy(schedule=YEARLY, description="d", metadata={"a": "b"}, vault_ids=[vault, vault])
    told = made.to_dict()
    coming = told["schedule"].pop("upcoming_runs_at")
    assert [moment.strftime("%m-%d %H:%M %Z") for moment in coming] == ["01-01 05:30 UTC"] * 5
    assert [moment.year for moment in coming] == list(range(coming[0].year, coming[0].year + 5))
    assert coming[0] > datetime.now(UTC)
    assert told == {
        "id": made.id, "type": "deployment", "name": "nightly", "description": "d", "metadata": {"a": "b"},
        "agent": {"type": "agent", "id": parts.agent, "version": 2}, "environment_id": parts.environment,
        "initial_events": [SAY], "resources": [], "vault_ids": [vault], "schedule": {**YEARLY, "last_run_at": None},
        "status": "active", "paused_reason": None, "budget": None, "archived_at": None,
        "created_at": told["created_at"], "updated_at": told["created_at"],
    }  # fmt: skip
    assert made.id.startswith("depl_")
    assert client.beta.deployments.retrieve(made.id) == made


@requirement("deployments:agent")
def test_a_version_that_is_named_stays_and_a_bare_id_pins_anew(client: Anthropic, parts: Parts) -> None:
    client.beta.agents.update(parts.agent, version=1, name="second version")
    made = parts.deploy(agent={"type": "agent", "id": parts.agent, "version": 1})
    assert made.agent.version == 1
    assert client.beta.deployments.update(made.id, name="other").agent.version == 1
    assert client.beta.deployments.update(made.id, agent=parts.agent).agent.version == 2


@requirement("deployments:references")
@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("agent", "agent_unknown", 404),
        ("environment_id", "env_unknown", 404),
        ("vault_ids", ["vlt_unknown"], 404),
        ("resources", [{"type": "memory_store", "memory_store_id": "memstore_unknown"}], 404),
        ("resources", [{"type": "file", "file_id": "file_unknown"}], 404),
        ("agent", "archived", 400),
        ("environment_id", "archived", 400),
        ("vault_ids", "archived", 400),
        ("resources", "archived", 400),
    ],
)
def test_what_is_unknown_or_archived_can_not_be_deployed(
    client: Anthropic, parts: Parts, field: str, value: Any, status: int
) -> None:
    made = parts.deploy()
    if value == "archived":
        value = {"agent": parts.agent, "environment_id": parts.environment}.get(field)
        if field == "agent":
            value = client.beta.agents.create(name="gone", model="m").id
            client.beta.agents.archive(value)
        elif field == "environment_id":
            value = client.beta.environments.create(name="gone").id
            client.beta.environments.archive(value)
        elif field == "resources":
            store = client.beta.memory_stores.create(name="gone").id
            client.beta.memory_stores.archive(store)
            value = [{"type": "memory_store", "memory_store_id": store}]
        else:
            vault = client.beta.vaults.create(display_name="gone").id
            client.beta.vaults.archive(vault)
            value = [vault]
    with refused(status):
        parts.deploy(**{field: value})
    with refused(status):
        client.beta.deployments.update(made.id, **{field: value})
    assert client.beta.deployments.retrieve(made.id) == made


@requirement("deployments:create", "deployments:events", "deployments:schedule")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", None),
        ("agent", None),
        ("initial_events", []),
        ("initial_events", [SAY] * 51),
        ("initial_events", [{"type": "system.message", "content": [{"type": "text", "text": "Be brief."}]}]),
        ("initial_events", [{"type": "user.interrupt"}]),
        ("schedule", {"type": "cron", "expression": "@daily", "timezone": "UTC"}),
        ("schedule", {"type": "cron", "expression": "* * * * * *", "timezone": "UTC"}),
        ("schedule", {"type": "cron", "expression": "0 0 L * *", "timezone": "UTC"}),
        ("schedule", {"type": "cron", "expression": "* * * * *", "timezone": "Mars/Olympus"}),
        ("schedule", {"type": "cron", "expression": "* * * * *"}),
        ("vault_ids", ["vlt_x"] * 51),
        ("metadata", {str(number): "" for number in range(17)}),
        ("resources", [{"type": "github_repository", "url": "http://nowhere.example/app"}]),
    ],
)
def test_a_field_that_breaks_a_rule_is_refused_by_name(
    client: Anthropic, raw: httpx2.Client, parts: Parts, field: str, value: Any
) -> None:
    made = parts.deploy()
    fields = {"name": "n", "agent": parts.agent, "environment_id": parts.environment, "initial_events": [SAY]}
    for path, body in (("/v1/deployments", fields | {field: value}), (f"/v1/deployments/{made.id}", {field: value})):
        answer = raw.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), answer.text
        assert field in answer.json()["error"]["message"]
    assert client.beta.deployments.retrieve(made.id) == made


@requirement("deployments:update", "deployments:update:metadata", "deployments:update:nothing")
def test_an_update_replaces_clears_and_keeps(client: Anthropic, parts: Parts) -> None:
    vault = client.beta.vaults.create(display_name="v").id
    made = parts.deploy(
        schedule=YEARLY, description="d", metadata={"a": "b", "c": "d"}, vault_ids=[vault], resources=[REPOSITORY]
    )
    update = client.beta.deployments.update
    assert update(made.id) == made
    assert update(made.id, name="nightly", schedule=YEARLY, resources=[REPOSITORY]) == made
    patch: Any = {"a": None, "e": "f"}
    changed = update(made.id, name="weekly", metadata=patch, initial_events=[SAY, SAY])
    assert (changed.name, changed.metadata, len(changed.initial_events)) == ("weekly", {"c": "d", "e": "f"}, 2)
    assert changed.updated_at > made.updated_at
    assert (changed.schedule, changed.vault_ids, changed.resources) == (made.schedule, [vault], made.resources)
    hourly: Any = {"type": "cron", "expression": "0 * * * *", "timezone": "UTC"}
    other = update(made.id, schedule=hourly).schedule
    assert other is not None
    assert other.expression == "0 * * * *"
    second = client.beta.vaults.create(display_name="w").id
    assert update(made.id, vault_ids=[second, vault]).vault_ids == [second, vault]
    cleared = update(made.id, schedule=None, vault_ids=None, resources=None, description="")
    assert (cleared.schedule, cleared.vault_ids, cleared.resources, cleared.description) == (None, [], [], None)
    assert client.beta.deployments.retrieve(made.id) == cleared


@requirement("deployments:resources", "deployments:tokens")
def test_a_token_is_shown_by_nothing(client: Anthropic, raw: httpx2.Client, server: Server, parts: Parts) -> None:
    canary = f"canary-{uuid.uuid4().hex}"
    made = parts.deploy(resources=[REPOSITORY | {"authorization_token": canary, "mount_path": "/workspace/x"}])
    assert made.resources[0].to_dict() == {**REPOSITORY, "mount_path": "/workspace/x", "checkout": None}
    run = client.beta.deployments.run(made.id)
    assert run.session_id is not None
    resources = client.beta.sessions.retrieve(run.session_id).resources
    assert [one.type for one in resources] == ["github_repository"]
    for path in (f"/v1/deployments/{made.id}", "/v1/deployments", "/v1/deployment_runs"):
        assert canary not in raw.get(path).text
    assert holding(server.data, canary) == []


@requirement("deployments:resources")
def test_files_and_memory_stores_are_given_to_each_runs_session(client: Anthropic, parts: Parts) -> None:
    file = client.beta.files.upload(file=("a.txt", b"text", "text/plain")).id
    store = client.beta.memory_stores.create(name="notes").id
    given: Any = [{"type": "file", "file_id": file}, {"type": "memory_store", "memory_store_id": store}]
    made = parts.deploy(resources=given)
    assert [one.to_dict() for one in made.resources] == [
        given[0] | {"mount_path": None},
        given[1] | {"access": None, "instructions": None},
    ]
    run = client.beta.deployments.run(made.id)
    assert run.session_id is not None
    held = client.beta.sessions.retrieve(run.session_id).resources
    assert [one.type for one in held] == ["file", "memory_store"]
    assert [one.id for one in client.beta.sessions.list(deployment_id=made.id, memory_store_id=store)] == [
        run.session_id
    ]
    client.beta.files.delete(file)
    error = client.beta.deployments.run(made.id).error
    assert error is not None
    assert error.type == "file_not_found_error"
    client.beta.deployments.update(made.id, resources=given[1:])
    client.beta.memory_stores.archive(store)
    error = client.beta.deployments.run(made.id).error
    assert error is not None
    assert error.type == "memory_store_archived_error"


@requirement("deployments:budget")
def test_a_budget_is_copied_to_each_session(client: Anthropic, parts: Parts) -> None:
    budget: Any = {"type": "limit", "max_list_cost": {"amount": "2500", "currency": "USD"}}
    with refused(400):
        parts.deploy(budget=budget)  # what the model costs is not known
    priced = client.beta.agents.create(name="priced", model="priced-deployed").id
    made = parts.deploy(agent=priced, budget=budget)
    assert made.budget is not None
    assert made.budget.to_dict() == budget
    run = client.beta.deployments.run(made.id)
    assert run.session_id is not None
    assert client.beta.sessions.retrieve(run.session_id).budget == made.budget
    assert client.beta.deployments.update(made.id, budget=None).budget is None


@requirement("deployments:list", "deployments:list:status")
def test_the_list_goes_by_agent_status_and_time(client: Anthropic, parts: Parts) -> None:
    first, second, third = (parts.deploy(name=str(number)) for number in range(3))
    client.beta.deployments.pause(second.id)
    client.beta.deployments.archive(third.id)

    def listed(**query: Any) -> list[str]:
        return [one.id for one in client.beta.deployments.list(agent_id=parts.agent, **query)]

    assert listed() == listed(limit=1) == [second.id, first.id]
    assert listed(status="paused") == [second.id]
    assert listed(status="active") == [first.id]
    assert listed(include_archived=True) == [third.id, second.id, first.id]
    assert listed(created_at_gte=second.created_at) == [second.id]
    assert listed(created_at_lte=first.created_at) == [first.id]
    assert first.id in [one.id for one in client.beta.deployments.list(created_at_gte=first.created_at)]
    for query in ({"status": "active", "include_archived": True}, {"limit": 101}, {"status": "gone"}, {"page": "x"}):
        with refused(400):
            listed(**query)


@requirement("deployments:pause", "deployments:unpause")
def test_a_pause_has_a_reason_until_it_ends(client: Anthropic, parts: Parts) -> None:
    made = parts.deploy(schedule=YEARLY)
    paused = client.beta.deployments.pause(made.id)
    assert paused.paused_reason is not None
    assert (paused.status, paused.paused_reason.to_dict()) == ("paused", {"type": "manual"})
    assert client.beta.deployments.pause(made.id) == paused
    assert paused.schedule == made.schedule  # what it would do
    assert client.beta.deployments.run(made.id).session_id is not None
    active = client.beta.deployments.unpause(made.id)
    assert (active.status, active.paused_reason) == ("active", None)
    assert client.beta.deployments.unpause(made.id) == active


@requirement("deployments:archive", "deployments:schedule:upcoming")
def test_archiving_is_final(client: Anthropic, parts: Parts) -> None:
    made = parts.deploy(schedule=YEARLY)
    client.beta.deployments.pause(made.id)
    archived = client.beta.deployments.archive(made.id)
    assert archived.schedule is not None
    assert (archived.status, archived.paused_reason, archived.schedule.upcoming_runs_at) == ("active", None, [])
    assert archived.archived_at is not None
    assert client.beta.deployments.archive(made.id) == archived == client.beta.deployments.retrieve(made.id)
    api = client.beta.deployments
    for ask in (api.pause, api.unpause, api.run, api.update):
        with refused(400):
            ask(made.id)


@requirement("deployments:archive:agent")
def test_an_archived_agents_deployments_are_archived_with_it(client: Anthropic, parts: Parts) -> None:
    made = parts.deploy(schedule=YEARLY)
    client.beta.agents.archive(parts.agent)
    assert client.beta.deployments.retrieve(made.id).archived_at is not None
    assert list(client.beta.deployment_runs.list(deployment_id=made.id)) == []


@requirement("deployments:run", "deployments:run:error", "sessions:object:deployment")
def test_a_manual_run_makes_a_session_that_works(client: Anthropic, parts: Parts) -> None:
    made = parts.deploy(schedule=YEARLY)
    run = client.beta.deployments.run(made.id)
    told = run.to_dict()
    assert told == {
        "id": run.id, "type": "deployment_run", "deployment_id": made.id, "agent": made.agent.to_dict(),
        "trigger_context": {"type": "manual"}, "session_id": run.session_id, "error": None,
        "created_at": told["created_at"],
    }  # fmt: skip
    assert run.session_id is not None
    assert client.beta.deployment_runs.retrieve(run.id) == run
    session = client.beta.sessions.retrieve(run.session_id)
    assert (session.deployment_id, session.agent.version) == (made.id, 1)
    with client.beta.sessions.events.stream(run.session_id) as stream:
        seen = [event.type for event in client.beta.sessions.events.list(run.session_id)]
        if "session.status_idle" not in seen:
            seen += [event.type for event in itertools.takewhile(lambda e: e.type != "session.status_idle", stream)]
    assert "agent.message" in seen
    after = client.beta.deployments.retrieve(made.id)
    assert after == made  # a manual run moves nothing


@requirement("deployments:events:system")
def test_a_system_message_among_the_first_events_reaches_the_model(
    client: Anthropic, stage: Stage, parts: Parts
) -> None:
    model = stage.put(f"pro-deployed-{next(_numbers)}", Turn("Done."))
    brief: Any = {"type": "system.message", "content": [{"type": "text", "text": "Be brief."}]}
    agent = client.beta.agents.create(name="pro", model=model).id
    made = parts.deploy(agent=agent, initial_events=[SAY, brief])
    assert made.to_dict()["initial_events"] == [SAY, brief]
    run = client.beta.deployments.run(made.id)
    assert run.session_id is not None
    events = client.beta.sessions.events
    with events.stream(run.session_id) as stream:
        seen = [event.type for event in events.list(run.session_id)]
        if "session.status_idle" not in seen:
            seen += [event.type for event in itertools.takewhile(lambda e: e.type != "session.status_idle", stream)]
    assert "system.message" in seen
    (asked,) = stage.requests(model)
    said = [(one["role"], [block["text"] for block in one["content"]][-1]) for one in asked["messages"]]
    assert said == [("user", "Go."), ("system", "Be brief.")]
    for wrong in ([brief, SAY], [SAY, brief, brief], [brief]):
        with refused(400, "initial_events"):
            parts.deploy(agent=agent, initial_events=wrong)
    reason = "model_does_not_support_mid_conversation_system"
    with refused(400, reason, error_code=reason):
        parts.deploy(initial_events=[SAY, brief])


@requirement("deployments:run:error")
def test_a_run_that_makes_no_session_says_why(client: Anthropic, parts: Parts) -> None:
    vault = client.beta.vaults.create(display_name="v").id
    made = parts.deploy(vault_ids=[vault])
    client.beta.vaults.archive(vault)

    def error() -> Any:
        run = client.beta.deployments.run(made.id)
        assert run.error is not None
        assert run.session_id is None
        assert client.beta.deployment_runs.retrieve(run.id) == run
        return run.error.type

    assert error() == "vault_archived_error"
    client.beta.vaults.delete(vault)
    assert error() == "vault_not_found_error"
    client.beta.deployments.update(made.id, vault_ids=[])
    client.beta.environments.archive(parts.environment)
    assert error() == "environment_archived_error"
    client.beta.environments.delete(parts.environment)
    assert error() == "environment_not_found_error"
    found = client.beta.deployments.retrieve(made.id)
    assert (found.status, found.paused_reason) == ("active", None)  # of scheduled runs only


@requirement("deployments:run:error", "deployments:references")
def test_a_skill_that_is_gone_is_named_by_the_run(client: Anthropic, parts: Parts) -> None:
    skill = client.beta.skills.create(files=[("a/SKILL.md", b"---\nname: first\ndescription: How to.\n---\n")])
    skills: Any = [{"type": "custom", "skill_id": skill.id}]
    client.beta.agents.update(parts.agent, version=1, skills=skills, tools=[{"type": "agent_toolset_20260401"}])
    made = parts.deploy()
    assert client.beta.deployments.run(made.id).session_id is not None
    client.beta.skills.delete(skill.id)
    error = client.beta.deployments.run(made.id).error
    assert error is not None
    assert error.type == "skill_not_found_error"
    with refused(404):
        parts.deploy()


@requirement("deployments:runs:list", "deployments:runs:unknown", "sessions:list:deployment")
def test_runs_are_listed_by_what_became_of_them(client: Anthropic, parts: Parts) -> None:
    made = parts.deploy()
    good = [client.beta.deployments.run(made.id) for _ in range(3)]
    client.beta.environments.archive(parts.environment)
    bad = client.beta.deployments.run(made.id)

    def listed(**query: Any) -> list[str]:
        return [one.id for one in client.beta.deployment_runs.list(**{"deployment_id": made.id} | query)]

    runs = [run.id for run in good]
    assert listed() == listed(limit=2) == [bad.id, *runs[::-1]]
    assert listed(has_error=True) == [bad.id]
    assert listed(has_error=False) == runs[::-1]
    assert listed(trigger_type="manual", limit=1000) == listed()
    assert listed(trigger_type="schedule") == []
    assert listed(deployment_id="depl_unknown") == []
    assert listed(created_at_gt=good[0].created_at, created_at_lte=good[1].created_at) == [runs[1]]
    sessions = [run.session_id for run in good]
    assert [one.id for one in client.beta.sessions.list(deployment_id=made.id, limit=2)] == sessions[::-1]
    assert [one.id for one in client.beta.sessions.list(deployment_id=made.id, order="asc")] == sessions
    assert list(client.beta.sessions.list(deployment_id="depl_unknown")) == []
    assert list(client.beta.sessions.list(deployment_id=made.id, agent_id="agent_unknown")) == []
    for query in ({"page": "x"}, {"limit": 1001}, {"trigger_type": "webhook"}, {"has_error": "perhaps"}):
        with refused(400):
            listed(**query)
    with refused(404):
        client.beta.deployment_runs.retrieve("drun_unknown")


@requirement("deployments:run:retry")
def test_a_repeated_request_is_one_run_and_the_same_words_anew_are_another(raw: httpx2.Client, parts: Parts) -> None:
    path = f"/v1/deployments/{parts.deploy().id}/run"
    first = raw.post(path).json()
    again = raw.post(path, headers={"x-stainless-retry-count": "1"}).json()
    assert again == first
    keyed = [raw.post(path, headers={"idempotency-key": "a"}).json() for _ in range(2)]
    assert keyed[0] == keyed[1]
    anew = raw.post(path).json()
    assert len({first["id"], keyed[0]["id"], anew["id"]}) == len({first["session_id"], anew["session_id"]}) + 1


@pytest.mark.anyio
async def test_the_whole_life_of_a_deployment_in_the_asynchronous_client(server: Server, parts: Parts) -> None:
    async with AsyncAnthropic(base_url=server.url, api_key=server.key) as client:
        made = await client.beta.deployments.create(
            name="async",
            agent=parts.agent,
            environment_id=parts.environment,
            initial_events=[SAY],
            schedule=YEARLY,
        )
        assert (await client.beta.deployments.update(made.id, name="other")).name == "other"
        assert (await client.beta.deployments.pause(made.id)).status == "paused"
        assert (await client.beta.deployments.unpause(made.id)).status == "active"
        run = await client.beta.deployments.run(made.id)
        assert await client.beta.deployment_runs.retrieve(run.id) == run
        assert [one.id async for one in client.beta.deployment_runs.list(deployment_id=made.id)] == [run.id]
        archived = await client.beta.deployments.archive(made.id)
        assert archived == await client.beta.deployments.retrieve(made.id)
        listed = client.beta.deployments.list(agent_id=parts.agent, include_archived=True)
        assert [one.id async for one in listed] == [made.id]
