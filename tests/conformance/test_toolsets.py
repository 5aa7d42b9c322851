"""Which tools an agent has and the model is offered; which models an agent may have."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import CUSTOM, Play
from live_server import Server, Stage
from turns import TOOLSET, every, refused, said

from conformance.requirements import requirement
from outrider.models.scripted.script import Turn

NAMES = ["bash", "edit", "glob", "grep", "read", "write"]
WEB = ["web_fetch", "web_search"]


def agent_with(client: Anthropic, *tools: Any, model: Any = "any-model") -> Any:
    return client.beta.agents.create(name="an agent", model=model, tools=list(tools))


def offered(play: Play, stage: Stage, model_name: str, *tools: Any) -> list[dict[str, Any]]:
    """The tools in the model's request of a session with these."""
    said(play(Turn("Hi."), tools=list(tools)), "hi")
    (request,) = stage.requests(model_name)
    return request.get("tools", [])


@requirement("tools:toolset:names", "tools:toolset:type-in-entry", "tools:toolset:unknown-name")
def test_the_toolset_has_eight_tools_by_name(client: Anthropic) -> None:
    entries = [{"name": name} for name in NAMES] + [{"name": name, "enabled": False} for name in WEB]
    (shown,) = agent_with(client, TOOLSET | {"configs": entries}).tools
    assert [(config.name, config.type) for config in shown.configs] == [(name, name) for name in [*NAMES, *WEB]]
    with_types = [{"name": name, "type": name, "enabled": False} for name in WEB]
    assert len(agent_with(client, TOOLSET | {"configs": with_types}).tools[0].configs) == 2
    for wrong in ({"name": "python"}, {"name": "bash", "type": "read"}):
        with refused(400, "configs"):
            agent_with(client, TOOLSET | {"configs": [wrong]})


@requirement("tools:toolset:default-policy", "tools:toolset:enabled-by-default")
def test_all_tools_are_on_and_allowed_by_default(play: Play, stage: Stage, model_name: str, client: Anthropic) -> None:
    (shown,) = agent_with(client, TOOLSET).tools
    assert shown.default_config.to_dict() == {"enabled": True, "permission_policy": {"type": "always_allow"}}
    assert [tool["name"] for tool in offered(play, stage, model_name, TOOLSET)] == NAMES


@requirement("tools:toolset:allow-list", "tools:toolset:disabled")
def test_only_enabled_tools_are_offered_to_the_model(play: Play, stage: Stage, model_name: str) -> None:
    only_read: dict[str, Any] = TOOLSET | {
        "default_config": {"enabled": False},
        "configs": [{"name": "read", "enabled": True}, {"name": "bash"}],
    }
    assert [tool["name"] for tool in offered(play, stage, model_name, only_read, CUSTOM)] == ["read", "lookup"]


@requirement("tools:toolset:duplicate")
def test_nothing_is_configured_twice(client: Anthropic) -> None:
    with refused(400, "bash"):
        agent_with(client, TOOLSET | {"configs": [{"name": "bash"}, {"name": "bash", "enabled": False}]})
    with refused(400, "agent_toolset_20260401"):
        agent_with(client, TOOLSET, TOOLSET)


@requirement("tools:custom:fields", "tools:custom:name")
def test_a_custom_tool_has_a_plain_name_a_description_and_a_schema(client: Anthropic) -> None:
    for key in ("name", "description", "input_schema"):
        with refused(400, key):
            agent_with(client, {k: v for k, v in CUSTOM.items() if k != key})
    for name in ("a", "A-b_9", "n" * 128):
        assert agent_with(client, CUSTOM | {"name": name}).tools[0].name == name
    for name in ("", "n" * 129, "with space", "dot.ted", "ümlaut"):
        with refused(400, "name"):
            agent_with(client, CUSTOM | {"name": name})
    with refused(400, "input_schema"):
        agent_with(client, CUSTOM | {"input_schema": {"type": "array"}})


@requirement("tools:custom:schema")
def test_a_custom_tool_reaches_the_model_unchanged(play: Play, stage: Stage, model_name: str) -> None:
    schema = {
        "type": "object",
        "properties": {"key": {"type": "string", "pattern": "^k", "x-unit": "metres"}},
        "required": ["key"],
        "additionalProperties": False,
        "$defs": {"more": {"enum": [1, None, "two"]}},
    }
    (tool,) = offered(play, stage, model_name, CUSTOM | {"input_schema": schema})
    assert {key: tool[key] for key in ("name", "description", "input_schema")} == {
        "name": "lookup",
        "description": CUSTOM["description"],
        "input_schema": schema,
    }


@requirement("tools:custom:clash")
def test_no_two_tools_have_one_name(client: Anthropic) -> None:
    named_bash: dict[str, Any] = CUSTOM | {"name": "bash"}
    with refused(400, "lookup"):
        agent_with(client, CUSTOM, CUSTOM)
    with refused(400, "bash"):
        agent_with(client, TOOLSET, named_bash)
    without: dict[str, Any] = TOOLSET | {"configs": [{"name": "bash", "enabled": False}]}
    assert len(agent_with(client, without, named_bash).tools) == 2


@requirement("tools:custom:no-policy")
def test_a_custom_tool_takes_no_policy(client: Anthropic) -> None:
    with refused(400, "permission_policy"):
        agent_with(client, CUSTOM | {"permission_policy": {"type": "always_ask"}})


@requirement("models:inference-geo", "models:speed", "models:effort:string")
def test_a_models_options_go_with_every_request(play: Play, stage: Stage, model_name: str) -> None:
    name = stage.put(f"pro-{model_name}", Turn("One."), Turn("Two."))
    model = {"id": name, "effort": "max", "speed": "fast", "inference_geo": "us"}
    history = said(play(agent={"model": model}), "a", "b")
    assert [one.model_usage.speed for one in every(history, "span.model_request_end")] == ["fast", "fast"]
    for request in stage.requests(name):
        assert (request["output_config"], request["speed"], request["inference_geo"]) == (
            {"effort": "max"},
            "fast",
            "us",
        )


@requirement("models:inference-geo", "models:speed", "models:effort:default")
@pytest.mark.parametrize("option", [{"effort": "high"}, {"speed": "fast"}, {"inference_geo": "us"}])
def test_an_option_that_a_model_does_not_have_is_refused_when_saved_and_at_create(
    client: Anthropic, option: dict[str, Any]
) -> None:
    (named,) = option
    with refused(400, f"model.{named}"):
        agent_with(client, model={"id": "any-model", **option})
    plain = agent_with(client, model={"id": "any-model", "speed": "standard"})
    assert plain.model.effort is None
    wanted: Any = {"id": "any-model", **option}
    with refused(400, f"model.{named}"):
        client.beta.agents.update(plain.id, model=wanted)
    if named != "effort":  # which an override ignores
        environment = client.beta.environments.create(name="tests")
        override: Any = {"type": "agent_with_overrides", "id": plain.id, "model": wanted}
        with refused(400, f"model.{named}"):
            client.beta.sessions.create(agent=override, environment_id=environment.id)


@requirement("models:any-configured", "models:unknown")
def test_a_model_must_be_served_by_a_configured_endpoint(other_server: Server) -> None:
    with other_server.client() as client:
        for name in ("listed-one", "pro-whatever", "pro/upstream-name"):
            assert agent_with(client, model=name).model.id == name
        with refused(400, "no endpoint serves `unheard-of`"):
            agent_with(client, model="unheard-of")
        agent = agent_with(client, model="listed-one")
        with refused(400, "unheard-of"):
            client.beta.agents.update(agent.id, model="unheard-of")
        with refused(400, "model"):
            agent_with(client, model={"id": ""})


@requirement("models:list")
def test_the_configured_models_are_listed_by_name(client: Anthropic, raw: httpx2.Client) -> None:
    listed = list(client.models.list(limit=1))
    assert [model.id for model in listed] == ["listed-one", "listed-two"]
    assert client.models.retrieve("listed-two") == listed[1]
    back = client.models.list(before_id="listed-two")
    assert [model.id for model in back.data] == ["listed-one"]
    with refused(404, "unheard-of"):
        client.models.retrieve("unheard-of")
    with refused(400, "unheard-of"):
        client.models.list(after_id="unheard-of")
    without_beta = raw.get("/v1/models", headers={"anthropic-beta": ""})
    assert without_beta.status_code == 200
