"""Agents: create, read, list, update by its rules, versions, archive."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import CUSTOM, Play
from turns import TOOLSET, every, refused, said, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import Turn


def made(client: Anthropic, **fields: Any) -> Any:
    body: dict[str, Any] = {"name": "an agent", "model": "any-model"} | fields
    return client.beta.agents.create(**body)


@requirement("agents:create", "agents:object:fields", "agents:create:model:string", "models:bare-string")
def test_an_agent_is_created_at_version_one_with_every_field_filled(client: Anthropic) -> None:
    agent = made(client, name="minimal")
    assert (agent.version, agent.type, agent.name, agent.model.id) == (1, "agent", "minimal", "any-model")
    assert (agent.description, agent.system, agent.archived_at, agent.multiagent) == (None, None, None, None)
    assert (agent.tools, agent.mcp_servers, agent.skills, agent.metadata) == ([], [], [], {})
    assert agent.created_at == agent.updated_at
    assert agent.model.to_dict() == {"id": "any-model"}


@requirement("agents:create:name", "agents:create:description", "agents:create:system")
def test_texts_may_be_as_long_as_the_limits_and_no_longer(client: Anthropic) -> None:
    agent = made(client, name="n" * 256, description="d" * 2048, system="s" * 100_000)
    assert (len(agent.name), len(agent.description), len(agent.system)) == (256, 2048, 100_000)
    for field, value in (("name", "n" * 257), ("name", ""), ("description", "d" * 2049), ("system", "s" * 100_001)):
        with refused(400, field):
            made(client, **{field: value})
    nulls = made(client, description=None, system=None)
    assert (nulls.description, nulls.system) == (None, None)


@requirement("agents:create:name", "agents:create:model:string", "errors:400")
@pytest.mark.parametrize("field", ["name", "model"])
def test_name_and_model_are_required(raw: httpx2.Client, field: str) -> None:
    body = {"name": "an agent", "model": "any-model"}
    del body[field]
    answer = raw.post("/v1/agents", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert field in answer.json()["error"]["message"]


@requirement("agents:create:metadata")
def test_metadata_is_kept_and_limited(client: Anthropic) -> None:
    bag = {f"{number:02}".ljust(64, "k"): "v" * 512 for number in range(16)}
    assert made(client, metadata=bag).metadata == bag
    with refused(400, "metadata"):
        made(client, metadata=bag | {"one more": "v"})
    with refused(400, "metadata"):
        made(client, metadata={"k" * 65: "v"})
    with refused(400, "metadata"):
        made(client, metadata={"k": "v" * 513})


@requirement("agents:create:execution-identity:default", "agents:update:execution-identity-null")
def test_an_agent_acts_as_a_service_account_unless_told_otherwise(client: Anthropic) -> None:
    given: list[dict[str, Any]] = [
        {},
        {"execution_identity": None},
        {"execution_identity": {"type": "service_account"}},
    ]
    for identity in given:
        assert made(client, **identity).execution_identity.type == "service_account"
    agent = made(client)
    assert client.beta.agents.update(agent.id, execution_identity=None).execution_identity.type == "service_account"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"multiagent": {"type": "coordinator", "agents": [{"type": "self"}]}}, "multiagent"),
    ({"execution_identity": {"type": "aws_role", "role_arn": "arn:aws:iam::1:role/x"}}, "execution_identity"),
    ({"tools": [TOOLSET | {"configs": [{"name": "web_fetch", "enabled": True}]}]}, "web_fetch"),
    ({"tools": [TOOLSET | {"configs": [{"name": "web_search", "blocked_domains": ["example.com"]}]}]}, "web_search"),
    ({"tools": [TOOLSET | {"default_config": {"permission_policy": {"type": "auto"}}}]}, "auto"),
]


@requirement("agents:create:refused-not-offered")
@pytest.mark.parametrize(("fields", "named"), REFUSED)
def test_a_field_of_a_later_feature_is_refused_by_name(client: Anthropic, fields: dict[str, Any], named: str) -> None:
    with refused(400, named, "not offered by this server yet"):
        made(client, **fields)
    agent = made(client)
    with refused(400, named, "not offered by this server yet"):
        client.beta.agents.update(agent.id, **fields)
    assert client.beta.agents.retrieve(agent.id) == agent


@requirement("agents:create:tools", "agents:object:tools-resolved", "agents:object:configs-as-sent")
def test_tools_read_back_resolved_and_as_sent(client: Anthropic) -> None:
    toolset = TOOLSET | {
        "default_config": {"permission_policy": {"type": "always_ask"}},
        "configs": [
            {"name": "read", "permission_policy": {"type": "always_allow"}},
            {"name": "bash", "enabled": False},
        ],
    }
    shown, custom = (tool.to_dict() for tool in made(client, tools=[toolset, CUSTOM]).tools)
    ask, allow = {"type": "always_ask"}, {"type": "always_allow"}
    assert shown["default_config"] == {"enabled": True, "permission_policy": ask}
    assert shown["configs"] == [
        {"name": "read", "type": "read", "enabled": True, "permission_policy": allow},
        {"name": "bash", "type": "bash", "enabled": False, "permission_policy": ask},
    ]
    assert custom == CUSTOM


@requirement("agents:create:tools:limit")
def test_at_most_256_tools_count_over_all_toolsets(client: Anthropic) -> None:
    many = [CUSTOM | {"name": f"tool_{number}"} for number in range(257)]
    assert len(made(client, tools=many[:256]).tools) == 256
    with refused(400, "256"):
        made(client, tools=many)
    with refused(400, "256"):
        made(client, tools=[TOOLSET, *many[:256]])


@requirement("agents:retrieve", "agents:retrieve:version", "agents:versions", "agents:object:updated-at-per-version")
def test_each_version_can_be_read_and_has_its_own_time(client: Anthropic) -> None:
    first = made(client, system="one")
    second = client.beta.agents.update(first.id, system="two")
    third = client.beta.agents.update(first.id, system="three")
    assert client.beta.agents.retrieve(first.id) == third
    assert client.beta.agents.retrieve(first.id, version=2) == second
    assert list(client.beta.agents.versions.list(first.id)) == [third, second, first]
    assert first.updated_at < second.updated_at < third.updated_at
    assert {version.created_at for version in (first, second, third)} == {first.created_at}
    with refused(404):
        client.beta.agents.retrieve(first.id, version=4)
    with refused(400, "version"):
        client.beta.agents.retrieve(first.id, version=0)
    with refused(404):
        client.beta.agents.versions.list("agent_unknown")


@requirement("agents:update", "agents:update:missing-keeps", "agents:update:version-counts")
def test_an_update_changes_what_it_names_and_nothing_else(client: Anthropic) -> None:
    agent = made(client, description="d", system="s", tools=[CUSTOM], metadata={"k": "v"})
    changed = client.beta.agents.update(agent.id, name="renamed")
    assert changed.version == 2
    differing = {key for key, value in changed.to_dict().items() if agent.to_dict()[key] != value}
    assert differing == {"name", "version", "updated_at"}


@requirement("agents:update:clear-text", "agents:update:lists-replace")
@pytest.mark.parametrize("empty", [None, ""])
def test_texts_and_lists_can_be_cleared(client: Anthropic, empty: str | None) -> None:
    agent = made(client, description="d", system="s", tools=[CUSTOM])
    other: Any = CUSTOM | {"name": "other"}
    assert [tool.to_dict() for tool in client.beta.agents.update(agent.id, tools=[other]).tools] == [other]
    nothing: Any = None if empty is None else []
    cleared = client.beta.agents.update(
        agent.id, description=empty, system=empty, tools=nothing, mcp_servers=nothing, skills=nothing
    )
    assert (cleared.description, cleared.system, cleared.tools) == (None, None, [])
    assert client.beta.agents.retrieve(agent.id).version == 3


@requirement("agents:update:name-model-required")
@pytest.mark.parametrize("body", [{"name": None}, {"name": ""}, {"model": None}, {"model": ""}])
def test_name_and_model_cannot_be_cleared(client: Anthropic, raw: httpx2.Client, body: dict[str, Any]) -> None:
    agent = made(client)
    assert raw.post(f"/v1/agents/{agent.id}", json=body).status_code == 400
    assert client.beta.agents.retrieve(agent.id) == agent


@requirement("agents:update:metadata-merges")
def test_metadata_is_merged_by_key(client: Anthropic) -> None:
    agent = made(client, metadata={"keep": "1", "change": "1", "drop": "1"})
    patch: Any = {"change": "2", "drop": None, "add": "3"}
    assert client.beta.agents.update(agent.id, metadata=patch).metadata == {"keep": "1", "change": "2", "add": "3"}


@requirement("agents:create:model:config", "models:effort:string", "models:speed")
def test_a_model_may_be_given_with_its_options(client: Anthropic) -> None:
    options: Any = {"id": "pro-x", "effort": "high", "speed": "fast", "inference_geo": "us"}
    shown = made(client, model=options).model.to_dict()
    assert shown == {"id": "pro-x", "effort": {"type": "high"}, "speed": "fast", "inference_geo": "us"}
    assert made(client, model=options | {"effort": {"type": "low"}}).model.effort.to_dict() == {"type": "low"}
    with refused(400, "speed"):
        made(client, model=options | {"speed": "slow"})
    with refused(400, "effort"):
        made(client, model=options | {"effort": "extreme"})


@requirement("agents:update:model-replaces", "agents:update:effort-kept")
def test_a_model_is_replaced_whole_but_for_the_effort_of_the_same_model(client: Anthropic) -> None:
    options: Any = {"id": "pro-x", "effort": "high", "inference_geo": "us"}
    agent = made(client, model=options)
    same = client.beta.agents.update(agent.id, model={"id": "pro-x"}).model.to_dict()
    assert same == {"id": "pro-x", "effort": {"type": "high"}}
    other = client.beta.agents.update(agent.id, model="pro-y").model.to_dict()
    assert other == {"id": "pro-y"}


@requirement("agents:update:version-stale", "agents:update:version-absent", "agents:update:no-change", "errors:409")
def test_a_version_is_a_condition_and_without_it_the_last_write_wins(client: Anthropic) -> None:
    agent = made(client, name="one")
    two = client.beta.agents.update(agent.id, name="two", version=1)
    assert client.beta.agents.update(agent.id, name="two", version=2) == two
    with refused(409, "version"):
        client.beta.agents.update(agent.id, name="two", version=1)
    assert client.beta.agents.update(agent.id, name="three").version == 3
    with refused(400, "version"):
        client.beta.agents.update(agent.id, name="four", version=0)


@requirement("agents:archive", "agents:archive:twice", "agents:update:archived", "agents:archive:no-new-sessions")
@requirement("agents:list:include-archived", "sessions:create:agent:archived")
def test_an_archived_agent_can_be_read_and_no_more(client: Anthropic) -> None:
    agent = made(client)
    archived = client.beta.agents.archive(agent.id)
    assert archived.archived_at is not None
    assert client.beta.agents.archive(agent.id) == archived
    assert client.beta.agents.retrieve(agent.id) == archived
    with refused(400, "archived"):
        client.beta.agents.update(agent.id, name="other")
    environment = client.beta.environments.create(name="tests")
    with refused(400, "archived"):
        client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    assert agent.id not in [one.id for one in client.beta.agents.list(limit=1)]
    assert client.beta.agents.list(limit=1, include_archived=True).data[0] == archived


@requirement("agents:archive:running-go-on", "agents:snapshot")
def test_a_session_goes_on_with_its_own_copy_of_a_changed_and_archived_agent(play: Play, client: Anthropic) -> None:
    talk = play(Turn("One."), Turn("Two."), agent={"system": "the first system"})
    said(talk, "hi")
    agent = client.beta.sessions.retrieve(talk.id).agent
    client.beta.agents.update(agent.id, system="another system")
    client.beta.agents.archive(agent.id)
    events = said(talk, "again")
    assert [text_of(event) for event in every(events, "agent.message")] == ["One.", "Two."]
    kept = client.beta.sessions.retrieve(talk.id).agent
    assert (kept.version, kept.system) == (1, "the first system")


@requirement("agents:list", "agents:list:created-at", "transport:query:ranges")
def test_the_list_shows_latest_versions_within_its_time_bounds(client: Anthropic) -> None:
    one, two, three = (made(client, name=f"agent {number}") for number in range(3))
    client.beta.agents.update(two.id, name="changed")
    found = client.beta.agents.list(created_at_gte=one.created_at, created_at_lte=two.created_at)
    assert [(agent.id, agent.version) for agent in found] == [(two.id, 2), (one.id, 1)]
    found = client.beta.agents.list(created_at_gte=three.created_at)
    assert [agent.id for agent in found] == [three.id]


@requirement("agents:no-delete", "errors:405")
def test_an_agent_cannot_be_deleted(client: Anthropic, raw: httpx2.Client) -> None:
    agent = made(client)
    answer = raw.delete(f"/v1/agents/{agent.id}")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert client.beta.agents.retrieve(agent.id) == agent
