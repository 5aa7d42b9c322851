"""Rules of agents, told in requests as a client sends them and in objects as the SDK reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.beta import BetaManagedAgentsAgent, BetaManagedAgentsSessionAgent
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.errors import Conflict, InvalidRequest, NotSupported
from outrider.ports.model import ModelProfile
from outrider.ports.records import AgentRecord
from outrider.resources import agents
from outrider.testing.strict import strict_parse
from outrider.wire.requests import parse

FIRST, LATER = "2026-01-01T00:00:00.000000Z", "2026-01-02T00:00:00.000000Z"
OVERRIDES = {"type": "agent_with_overrides", "id": "agent_1"}
SKILL: dict[str, Any] = {"type": "custom", "skill_id": "s"}
CUSTOM: dict[str, Any] = {"type": "custom", "name": "t", "description": "d", "input_schema": {"type": "object"}}
TOOLSET: dict[str, Any] = {"type": "agent_toolset_20260401"}
EMPTIES: tuple[list[Any] | None, ...] = (None, [])


def profiles(name: str) -> ModelProfile:
    if name.startswith("unknown"):
        raise InvalidRequest(f"no endpoint serves the model {name}")
    if name.startswith("plain"):
        return ModelProfile("default", name)
    return ModelProfile("default", name, effort=True, speed=True, inference_geo=True)


def made(**fields: Any) -> dict[str, Any]:
    request = parse("agents.create", json.dumps({"name": "a", "model": "m"} | fields).encode())
    return agents.new_agent(request, id="agent_1", now=FIRST, profiles=profiles)


def update(agent: dict[str, Any], **fields: Any) -> dict[str, Any] | None:
    request = parse("agents.update", json.dumps(fields).encode())
    return agents.updated_agent(agent, request, now=LATER, profiles=profiles)


def updated(agent: dict[str, Any], **fields: Any) -> dict[str, Any]:
    changed = update(agent, **fields)
    assert changed is not None
    return changed


def snapshot(agent: dict[str, Any], **overrides: Any) -> dict[str, Any]:
    body = {"agent": OVERRIDES | overrides, "environment_id": "e"}
    reference = parse("sessions.create", json.dumps(body).encode())["agent"]
    return agents.effective_agent(agent, reference, profiles=profiles)


def test_a_new_agent_is_version_1_with_every_key_and_reads_strictly() -> None:
    agent = made(tools=[TOOLSET, CUSTOM], metadata={"k": "v"}, model={"id": "m", "effort": "low", "speed": "fast"})
    read = strict_parse(BetaManagedAgentsAgent, json.dumps(agent).encode())
    assert set(agent) == set(BetaManagedAgentsAgent.model_fields)
    assert (read.version, read.archived_at, read.metadata) == (1, None, {"k": "v"})
    assert agent["model"] == {"id": "m", "effort": {"type": "low"}, "speed": "fast"}
    assert agent["execution_identity"] == {"type": "service_account"}
    assert (agent["description"], agent["system"]) == (None, None)


def test_a_bare_agent_reads_strictly_too() -> None:
    strict_parse(BetaManagedAgentsAgent, json.dumps(made()).encode())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"multiagent": {"type": "coordinator", "agents": ["a"]}}, "multiagent: multiagent is not offered"),
        (
            {"execution_identity": {"type": "aws_role", "role_arn": "arn"}},
            "execution_identity: aws_role is not offered",
        ),
        (
            {"tools": [TOOLSET | {"default_config": {"permission_policy": {"type": "auto"}}}]},
            "tools.0.default_config.permission_policy: auto is not offered",
        ),
        (
            {"tools": [TOOLSET | {"configs": [{"name": "bash", "permission_policy": {"type": "auto"}}]}]},
            "tools.0.configs.0.permission_policy: auto is not offered",
        ),
        ({"tools": [TOOLSET | {"configs": [{"name": "web_fetch"}]}]}, "tools.0.configs.0: web_fetch is not offered"),
        (
            {"tools": [TOOLSET | {"configs": [{"name": "web_search", "enabled": True}]}]},
            "tools.0.configs.0: web_search is not offered",
        ),
        (
            {"tools": [TOOLSET | {"configs": [{"name": "web_search", "enabled": False, "allowed_domains": ["a.b"]}]}]},
            "tools.0.configs.0.allowed_domains: web_search is not offered",
        ),
    ],
)
def test_what_is_not_offered_yet_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(NotSupported) as caught:
        made(**fields)
    assert caught.value.message.startswith(message)
    with pytest.raises(NotSupported):
        update(made(), **fields)


def test_empty_lists_and_defaults_of_later_features_are_fine() -> None:
    agent = made(mcp_servers=[], skills=[], multiagent=None, execution_identity={"type": "service_account"})
    assert agent == made()


def test_a_toolset_reads_back_resolved_against_its_own_default() -> None:
    ask = {"type": "always_ask"}
    default = {"enabled": False, "permission_policy": ask}
    configs = [{"name": "bash", "enabled": True}, {"name": "web_fetch"}, {"name": "read", "permission_policy": None}]
    agent = made(tools=[TOOLSET | {"default_config": default, "configs": configs}])
    assert agent["tools"] == [
        {
            "type": "agent_toolset_20260401",
            "default_config": default,
            "configs": [
                {"name": "bash", "type": "bash", "enabled": True, "permission_policy": ask},
                {"name": "web_fetch", "type": "web_fetch", "enabled": False, "permission_policy": ask},
                {"name": "read", "type": "read", "enabled": False, "permission_policy": ask},
            ],
        }
    ]
    strict_parse(BetaManagedAgentsAgent, json.dumps(agent).encode())


def test_a_bare_toolset_enables_all_and_always_allows() -> None:
    default = {"enabled": True, "permission_policy": {"type": "always_allow"}}
    assert made(tools=[TOOLSET])["tools"] == [TOOLSET | {"default_config": default, "configs": []}]
    assert made(tools=[TOOLSET | {"default_config": None}]) == made(tools=[TOOLSET])


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ([TOOLSET, TOOLSET], "tools: agent_toolset_20260401 may be given only once"),
        ([CUSTOM, CUSTOM], "tools: t is given more than once"),
        (
            [TOOLSET | {"configs": [{"name": "bash"}, {"name": "bash"}]}],
            "tools.0.configs: bash is given more than once",
        ),
        ([TOOLSET, CUSTOM | {"name": "bash"}], "tools: custom tool bash has the name of an enabled built-in tool"),
        ([CUSTOM | {"name": f"t{n}"} for n in range(257)], "tools: at most 256 tools are allowed over all toolsets"),
        ([CUSTOM | {"name": f"t{n}"} for n in range(258)], "tools: List should have at most 257 items"),
        (
            [TOOLSET, *(CUSTOM | {"name": f"t{n}"} for n in range(249))],
            "tools: at most 256 tools are allowed over all toolsets",
        ),
    ],
)
def test_tools_that_get_in_each_others_way_are_refused(tools: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        made(tools=tools)
    assert caught.value.message == message


def test_a_custom_tool_may_take_the_name_of_a_disabled_built_in() -> None:
    toolset = TOOLSET | {"configs": [{"name": "web_search", "enabled": False}]}
    assert len(made(tools=[toolset, CUSTOM | {"name": "web_search"}])["tools"]) == 2


def test_an_input_schema_keeps_its_keywords_but_not_the_nulls_that_json_schema_forbids() -> None:
    schema = {"type": "object", "properties": None, "required": None, "$defs": {"a": None}}
    agent = made(tools=[CUSTOM | {"input_schema": schema}])
    assert agent["tools"][0]["input_schema"] == {"type": "object", "$defs": {"a": None}}


def test_an_input_schema_nested_beyond_reason_is_refused() -> None:
    nested: dict[str, Any] = {}
    for _ in range(200):
        nested = {"items": nested}
    with pytest.raises(InvalidRequest, match=r"tools.0.input_schema: nested more than 100 levels deep"):
        made(tools=[CUSTOM | {"input_schema": {"type": "object", "properties": nested}}])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("unknown-1", "model: no endpoint serves the model unknown-1"),
        (" ", "model: Input should name a model"),
        ({"id": "plain", "effort": "low"}, "model.effort: model plain does not support effort on this server"),
        ({"id": "plain", "speed": "fast"}, "model.speed: model plain does not support speed on this server"),
        (
            {"id": "plain", "inference_geo": "us"},
            "model.inference_geo: model plain does not support inference_geo on this server",
        ),
    ],
)
def test_a_model_must_be_known_and_have_the_options_asked_for(model: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        made(model=model)
    assert caught.value.message == message


def test_null_options_of_a_model_mean_unset() -> None:
    assert made(model={"id": "plain", "effort": None, "speed": None, "inference_geo": None})["model"] == {"id": "plain"}


def test_an_update_without_change_makes_no_version() -> None:
    agent = made(description="d", metadata={"k": "v"}, tools=[TOOLSET])
    assert update(agent) is None
    assert update(agent, name="a", model="m", description="d", metadata={"k": "v"}, tools=[TOOLSET], version=1) is None
    assert update(agent, metadata={"absent": None}) is None
    assert update(agent, metadata=None) is None
    assert update(agent, mcp_servers=None, skills=[], multiagent=None, execution_identity=None) is None


def test_an_update_counts_the_version_up_and_keeps_what_it_leaves_out() -> None:
    agent = made(description="d", system="s", tools=[TOOLSET])
    changed = updated(agent, name="b")
    assert changed == agent | {"name": "b", "version": 2, "updated_at": LATER}
    strict_parse(BetaManagedAgentsAgent, json.dumps(changed).encode())


@pytest.mark.parametrize("empty", [None, ""])
def test_description_and_system_clear_with_null_or_nothing(empty: str | None) -> None:
    changed = updated(made(description="d", system="s"), description=empty, system=empty)
    assert (changed["description"], changed["system"]) == (None, None)


def test_a_system_prompt_of_white_space_is_none() -> None:
    agent = made(system="s")
    for found in (made(system=" \n\t"), updated(agent, system=" \n\t"), snapshot(agent, system=" \n\t")):
        assert found["system"] is None
    assert made(system=" s ")["system"] == " s "


@pytest.mark.parametrize("empty", EMPTIES)
def test_tools_clear_with_null_or_an_empty_list(empty: list[Any] | None) -> None:
    assert updated(made(tools=[TOOLSET]), tools=empty)["tools"] == []


def test_name_and_model_can_not_be_cleared() -> None:
    for fields in ({"name": None}, {"name": ""}, {"model": None}):
        with pytest.raises(InvalidRequest):
            update(made(), **fields)


def test_a_stale_version_is_a_conflict_even_when_nothing_would_change() -> None:
    with pytest.raises(Conflict, match="version: Agent agent_1 is at version 1, not 2"):
        update(made(), version=2)


def test_an_archived_agent_refuses_updates_and_new_sessions() -> None:
    archived = made() | {"archived_at": LATER}
    with pytest.raises(InvalidRequest, match="archived"):
        update(archived, name="b")
    with pytest.raises(InvalidRequest, match="archived"):
        snapshot(archived)


def test_effort_is_kept_while_the_model_stays_and_lost_when_it_changes() -> None:
    agent = made(model={"id": "m", "effort": "low", "speed": "fast", "inference_geo": "us"})
    assert updated(agent, model="m")["model"] == {"id": "m", "effort": {"type": "low"}}
    assert updated(agent, model={"id": "m", "speed": "fast"})["model"]["effort"] == {"type": "low"}
    assert updated(agent, model={"id": "m", "effort": {"type": "max"}})["model"] == {
        "id": "m",
        "effort": {"type": "max"},
    }
    assert updated(agent, model={"id": "m", "effort": None})["model"] == {"id": "m"}
    assert updated(agent, model="n")["model"] == {"id": "n"}


METADATA = st.dictionaries(st.sampled_from("abcdefgh"), st.text(max_size=5), max_size=8)
PATCHES = st.dictionaries(st.sampled_from("abcdefgh"), st.none() | st.text(max_size=5), max_size=8)


@settings(deadline=None)
@given(METADATA, PATCHES)
def test_metadata_merges_key_by_key(bag: dict[str, str], patch: dict[str, str | None]) -> None:
    agent = made(metadata=bag)
    changed = update(agent, metadata=patch) or agent
    for key in "abcdefgh":
        assert changed["metadata"].get(key) == (patch[key] if key in patch else bag.get(key))
    assert update(changed, metadata=patch) is None


def test_the_merged_bag_is_limited_not_the_patch() -> None:
    agent = made(metadata={str(n): "v" for n in range(16)})
    with pytest.raises(InvalidRequest, match="metadata: at most 16 pairs are allowed, not 17"):
        update(agent, metadata={"x": "v"})
    swap: dict[str, str | None] = {str(n): None for n in range(16)} | {f"x{n}": "v" for n in range(16)}
    assert len(updated(agent, metadata=swap)["metadata"]) == 16


def test_a_session_s_snapshot_has_no_metadata_or_times_and_reads_strictly() -> None:
    agent = made(tools=[TOOLSET], system="s", metadata={"k": "v"})
    taken = agents.effective_agent(agent, "agent_1", profiles=profiles)
    strict_parse(BetaManagedAgentsSessionAgent, json.dumps(taken).encode())
    assert set(taken) == set(BetaManagedAgentsSessionAgent.model_fields)
    assert taken == {key: agent[key] for key in taken}
    assert snapshot(agent) == taken


def test_overrides_replace_whole_fields_and_keep_the_base_s_id_and_version() -> None:
    agent = updated(made(tools=[TOOLSET], system="s", model={"id": "m", "inference_geo": "us"}), name="b")
    taken = snapshot(agent, model="n", system="t", tools=[CUSTOM])
    assert taken["model"] == {"id": "n"}
    assert (taken["system"], taken["tools"]) == ("t", [CUSTOM])
    assert (taken["id"], taken["version"], taken["name"]) == ("agent_1", 2, "b")
    assert agent["system"] == "s"


def test_null_or_empty_overrides_clear() -> None:
    agent = made(tools=[TOOLSET], system="s")
    for empty in EMPTIES:
        assert snapshot(agent, tools=empty, mcp_servers=empty, skills=empty)["tools"] == []
    for empty in (None, ""):
        assert snapshot(agent, system=empty)["system"] is None


def test_an_override_s_effort_is_ignored_and_the_agent_s_is_lost() -> None:
    agent = made(model={"id": "m", "effort": "low"})
    assert snapshot(agent, model={"id": "m", "effort": "max", "speed": "fast"})["model"] == {"id": "m", "speed": "fast"}
    assert snapshot(agent)["model"] == {"id": "m", "effort": {"type": "low"}}


def test_skills_are_named_once_and_read_as_asked() -> None:
    asked = [{"type": "custom", "skill_id": "a"}, {"type": "anthropic", "skill_id": "pdf", "version": "20251013"}]
    agent = made(tools=[TOOLSET], skills=asked)
    assert agent["skills"] == [{"type": "custom", "skill_id": "a", "version": "latest"}, asked[1]]
    assert made(tools=[TOOLSET], skills=[SKILL | {"version": None}])["skills"][0]["version"] == "latest"
    with pytest.raises(InvalidRequest, match="skills: s is given more than once"):
        made(tools=[TOOLSET], skills=[SKILL, SKILL | {"version": "v"}])


def test_skills_need_the_tool_that_reads_them() -> None:
    blind = TOOLSET | {"configs": [{"name": "read", "enabled": False}]}
    for tools in ([], [CUSTOM], [blind]):
        with pytest.raises(InvalidRequest, match="skills: skills need the tool read"):
            made(tools=tools, skills=[SKILL])
    agent = made(tools=[TOOLSET], skills=[SKILL])
    changes: list[dict[str, Any]] = [{"tools": []}, {"tools": [blind]}]
    for change in changes:
        with pytest.raises(InvalidRequest, match="skills: skills need the tool read"):
            update(agent, **change)
        with pytest.raises(InvalidRequest, match=r"agent.skills: skills need the tool read"):
            snapshot(agent, **change)
        with pytest.raises(InvalidRequest, match=r"agent.skills: skills need the tool read"):
            agents.with_tools(agent, change)
    cleared = update(agent, tools=[], skills=[])
    assert cleared is not None
    assert cleared["skills"] == []
    assert snapshot(agent, skills=None)["skills"] == []
    assert snapshot(made(tools=[TOOLSET]), skills=[SKILL])["skills"] == [SKILL | {"version": "latest"}]


def test_a_session_needs_a_model() -> None:
    with pytest.raises(InvalidRequest, match="agent_model_required") as caught:
        snapshot(made(), model=None)
    assert caught.value.error_code == "agent_model_required"


def test_overrides_are_checked_like_an_agent_and_named_by_their_path() -> None:
    with pytest.raises(InvalidRequest, match=r"agent.tools: t is given more than once"):
        snapshot(made(), tools=[CUSTOM, CUSTOM])
    with pytest.raises(InvalidRequest, match=r"agent.skills: skills need the tool read"):
        snapshot(made(), skills=[SKILL])
    with pytest.raises(InvalidRequest, match=r"agent.model: no endpoint serves the model unknown-1"):
        snapshot(made(), model="unknown-1")


def test_a_model_that_left_the_configuration_is_refused_at_session_create() -> None:
    agent = made() | {"model": {"id": "unknown-2"}}
    with pytest.raises(InvalidRequest, match=r"agent.model: no endpoint serves the model unknown-2"):
        snapshot(agent)


def test_a_stored_version_shows_when_its_agent_was_archived() -> None:
    agent = made()
    record = AgentRecord("ws", "agent_1", 1, FIRST, LATER, json.dumps(agent).encode())
    assert agents.agent_object(record) == agent | {"archived_at": LATER}
