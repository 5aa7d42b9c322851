"""Environments: create, read, list, update by their rules, archive, delete."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import Play
from turns import refused, said

from conformance.requirements import requirement
from outrider.models.scripted.script import Turn

PACKAGES: dict[str, Any] = {"type": "packages", "apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": []}
CLOUD: dict[str, Any] = {"type": "cloud", "networking": {"type": "unrestricted"}, "packages": PACKAGES}

CONFIGS: list[Any] = [
    None,
    {"type": "cloud"},
    {"type": "cloud", "networking": {"type": "unrestricted"}},
    {"type": "cloud", "packages": {"type": "packages", "pip": []}},
    CLOUD,
]


def made(client: Anthropic, **fields: Any) -> Any:
    body: dict[str, Any] = {"name": "an environment"} | fields
    return client.beta.environments.create(**body)


@requirement(
    "environments:create", "environments:object:fields", "environments:retrieve", "environments:config:default"
)
def test_an_environment_needs_only_a_name(client: Anthropic) -> None:
    environment = made(client)
    shown = environment.to_dict()
    assert shown == {
        "id": environment.id,
        "type": "environment",
        "name": "an environment",
        "description": None,
        "config": CLOUD,
        "metadata": {},
        "scope": "organization",
        "created_at": shown["created_at"],
        "updated_at": shown["created_at"],
        "archived_at": None,
    }
    assert client.beta.environments.retrieve(environment.id) == environment


@requirement("environments:create:name")
def test_a_name_is_required(raw: httpx2.Client) -> None:
    for body in ({}, {"name": ""}, {"name": None}):
        answer = raw.post("/v1/environments", json=body)
        assert answer.status_code == 400
        assert "name" in answer.json()["error"]["message"]


@requirement("environments:config:default", "environments:config:cloud", "environments:config:packages")
@pytest.mark.parametrize("config", CONFIGS)
def test_a_cloud_config_reads_back_whole(client: Anthropic, config: Any) -> None:
    assert made(client, config=config).config.to_dict() == CLOUD


@requirement("environments:scope")
def test_the_scope_is_the_organization(client: Anthropic) -> None:
    assert made(client, scope="organization").scope == "organization"
    with refused(400, "scope"):
        made(client, scope="account")


@requirement("environments:update", "environments:update:missing-keeps", "environments:update:description-null")
def test_an_update_changes_what_it_names_and_null_clears_the_description(client: Anthropic) -> None:
    environment = made(client, description="d", metadata={"k": "v"})
    changed = client.beta.environments.update(environment.id, name="renamed", config={"type": "cloud"})
    assert (changed.name, changed.description, changed.metadata) == ("renamed", "d", {"k": "v"})
    assert changed.config.to_dict() == CLOUD
    assert changed.updated_at > environment.updated_at
    assert client.beta.environments.update(environment.id, name="renamed") == changed
    cleared = client.beta.environments.update(environment.id, description=None)
    assert (cleared.name, cleared.description) == ("renamed", None)


@requirement("environments:update:metadata", "errors:code:invalid_metadata", "errors:details")
def test_metadata_is_merged_by_key_and_its_limits_have_a_code(client: Anthropic) -> None:
    environment = made(client, metadata={"keep": "1", "null": "1", "empty": "1"})
    patch: Any = {"null": None, "empty": "", "add": "2"}
    assert client.beta.environments.update(environment.id, metadata=patch).metadata == {"keep": "1", "add": "2"}
    bags: list[Any] = [{"k" * 65: "v"}, {"k": "v" * 513}, {f"key {number}": "v" for number in range(17)}]
    for bag in bags:
        with refused(400, error_code="invalid_metadata"):
            made(client, metadata=bag)
        with refused(400, error_code="invalid_metadata"):
            client.beta.environments.update(environment.id, metadata=bag)


@requirement("environments:update:type", "errors:code:invalid_config_type_change")
def test_the_type_of_a_config_can_never_change(client: Anthropic) -> None:
    environment = made(client)
    with refused(400, "config.type", error_code="invalid_config_type_change"):
        client.beta.environments.update(environment.id, config={"type": "self_hosted"})
    assert client.beta.environments.retrieve(environment.id) == environment


@requirement("environments:archive", "environments:archive:twice", "environments:update:archived", "environments:list")
@requirement("environments:archive:no-new-sessions", "errors:code:environment_archived", "sessions:create:environment")
def test_an_archived_environment_takes_no_update_and_no_new_session(play: Play, client: Anthropic) -> None:
    talk = play(Turn("One."), Turn("Two."))
    said(talk, "hi")
    session = client.beta.sessions.retrieve(talk.id)
    archived = client.beta.environments.archive(session.environment_id)
    assert archived.archived_at is not None
    assert client.beta.environments.archive(archived.id) == archived
    with refused(400, error_code="environment_archived"):
        client.beta.environments.update(archived.id, name="other")
    with refused(400, error_code="environment_archived"):
        client.beta.sessions.create(agent=session.agent.id, environment_id=archived.id)
    assert said(talk, "go on")[-1].stop_reason.type == "end_turn"
    assert archived.id not in [one.id for one in client.beta.environments.list(limit=1)]
    assert client.beta.environments.list(limit=1, include_archived=True).data[0] == archived


@requirement("environments:delete", "environments:delete:in-use", "errors:409")
def test_an_environment_is_deleted_only_when_no_session_refers_to_it(play: Play, client: Anthropic) -> None:
    talk = play(Turn("Hi."))
    environment = client.beta.sessions.retrieve(talk.id).environment_id
    with refused(409, environment):
        client.beta.environments.delete(environment)
    client.beta.sessions.delete(talk.id)
    assert client.beta.environments.delete(environment).to_dict() == {"id": environment, "type": "environment_deleted"}
    with refused(404, error_code="environment_not_found"):
        client.beta.environments.retrieve(environment)


@requirement("errors:code:environment_not_found", "sessions:create:environment")
def test_an_unknown_environment_has_a_code_of_its_own(client: Anthropic) -> None:
    agent = client.beta.agents.create(name="an agent", model="any-model")
    with refused(404, error_code="environment_not_found"):
        client.beta.sessions.create(agent=agent.id, environment_id="env_unknown")
    environments = client.beta.environments
    for call in (environments.retrieve, environments.update, environments.archive, environments.delete):
        with refused(404, error_code="environment_not_found"):
            call("env_unknown")


@requirement("environments:names")
def test_two_environments_may_have_one_name(client: Anthropic) -> None:
    one, two = made(client, name="twin"), made(client, name="twin")
    assert one.id != two.id
    assert one.name == two.name
