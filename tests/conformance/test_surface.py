"""Fields of requests that no test of a feature happens to send, each with what it changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from anthropic import Anthropic
from conftest_types import Play
from live_server import Stage
from oauth_scene import Scene, running_scene
from session_talk import message
from turns import TOOLSET, refused, said

from conformance.requirements import requirement
from outrider.models.scripted.script import Turn

EARLY, LATE = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
SAY: Any = {"type": "user.message", "content": [{"type": "text", "text": "Go."}]}
BUDGET: Any = {"type": "limit", "max_list_cost": {"amount": "2500", "currency": "USD"}}


def ids(found: Any) -> list[str]:
    return [one.id for one in found]


# -- agents


def test_every_built_in_tool_takes_its_settings_by_name_and_type(client: Anthropic) -> None:
    names = ("bash", "edit", "glob", "grep", "read", "write")
    ask = {"type": "always_ask"}
    configs: Any = [{"type": name, "name": name, "enabled": name != "glob", "permission_policy": ask} for name in names]
    tools: Any = [TOOLSET | {"configs": configs}]
    agent: Any = client.beta.agents.create(name="a", model="m", tools=tools)
    shown = {one.name: (one.enabled, one.permission_policy.type) for one in agent.tools[0].configs}
    assert {name: shown[name] for name in names} == {name: (name != "glob", "always_ask") for name in names}


@pytest.mark.parametrize("effort", ["low", "medium", "high", "xhigh", "max"])
def test_effort_is_said_as_an_object_too_and_reaches_the_model(
    client: Anthropic, play: Play, stage: Stage, model_name: str, effort: Any
) -> None:
    name = stage.put(f"pro-{model_name}", Turn("Hi."))
    talk = play(Turn("Hi."), agent={"model": {"id": name, "effort": {"type": effort}}})
    said(talk, "go")
    (asked,) = stage.requests(name)
    assert asked["output_config"] == {"effort": effort}
    shown: Any = client.beta.sessions.retrieve(talk.id).agent.model
    assert shown.effort.type == effort


def test_an_agents_versions_come_in_pages(client: Anthropic) -> None:
    agent = client.beta.agents.create(name="one", model="m")
    for version, name in ((1, "two"), (2, "three")):
        client.beta.agents.update(agent.id, version=version, name=name)
    first = client.beta.agents.versions.list(agent.id, limit=2)
    second = client.beta.agents.versions.list(agent.id, limit=2, page=first.next_page or "")
    assert [one.version for one in (*first.data, *second.data)] == [3, 2, 1]


def test_the_execution_identity_of_an_agent_is_the_service_account(client: Anthropic) -> None:
    agent = client.beta.agents.create(name="one", model="m", execution_identity={"type": "service_account"})
    same = client.beta.agents.update(agent.id, version=1, execution_identity={"type": "service_account"})
    assert (same.version, same.execution_identity.type) == (1, "service_account")
    role: Any = {"type": "aws_role", "role_arn": "arn:aws:iam::123456789012:role/r"}
    with refused(400, "execution_identity"):
        client.beta.agents.update(agent.id, version=1, execution_identity=role)


def test_overrides_name_a_version_and_servers_of_their_own(client: Anthropic) -> None:
    agent = client.beta.agents.create(name="one", model="m", description="first")
    client.beta.agents.update(agent.id, version=1, description="second")
    environment = client.beta.environments.create(name="e").id
    own: Any = {"type": "url", "name": "other", "url": "https://mcp.example.com/"}
    tools: Any = [{"type": "mcp_toolset", "mcp_server_name": "other"}]
    overrides: Any = {
        "type": "agent_with_overrides", "id": agent.id, "version": 1, "mcp_servers": [own], "tools": tools,
        "system": "Be brief.",
    }  # fmt: skip
    session = client.beta.sessions.create(agent=overrides, environment_id=environment)
    assert (session.agent.version, session.agent.description) == (1, "first")
    assert [one.url for one in session.agent.mcp_servers] == [own["url"]]
    thread: Any = next(iter(client.beta.sessions.threads.list(session.id)))
    assert (thread.agent.description, thread.agent.system) == ("first", "Be brief.")


def test_a_prebuilt_skill_has_a_version(client: Anthropic) -> None:
    listed = next(iter(client.beta.skills.list(source="anthropic")))
    version = next(iter(client.beta.skills.versions.list(listed.id))).id
    skills: Any = [{"type": "anthropic", "skill_id": listed.id, "version": version}]
    agent = client.beta.agents.create(name="a", model="m", skills=skills, tools=[{"type": "agent_toolset_20260401"}])
    assert [one.version for one in agent.skills] == [version]
    skills[0]["version"] = "no-such"
    with refused(404):
        client.beta.agents.create(name="a", model="m", skills=skills, tools=[{"type": "agent_toolset_20260401"}])


# -- environments and deployments


def test_an_environment_changes_its_words_and_keeps_its_scope(client: Anthropic) -> None:
    config: Any = {"type": "cloud", "networking": {"type": "limited", "allow_package_managers": True}}
    made = client.beta.environments.create(name="e", config=config, scope="organization")
    shown: Any = made.to_dict()
    assert shown["config"]["networking"]["allow_package_managers"] is True
    changed = client.beta.environments.update(made.id, description="new words", scope="organization")
    assert (changed.description, changed.scope) == ("new words", "organization")
    with refused(400, "scope"):
        client.beta.environments.update(made.id, scope="account")


def test_a_deployment_moves_to_another_environment_and_gets_a_budget(client: Anthropic) -> None:
    agent = client.beta.agents.create(name="a", model="priced-deployed").id
    first, other = (client.beta.environments.create(name=name).id for name in ("first", "other"))
    store = client.beta.memory_stores.create(name="s").id
    file = client.beta.files.upload(file=("a.txt", b"a")).id
    checkout = {"type": "branch", "name": "main"}
    resources: Any = [
        {"type": "file", "file_id": file, "mount_path": "/mnt/a.txt"},
        {"type": "memory_store", "memory_store_id": store, "access": "read_only", "instructions": "Look here."},
        {"type": "github_repository", "url": "https://github.com/first/app", "checkout": checkout},
    ]
    made = client.beta.deployments.create(
        name="d", agent=agent, environment_id=first, initial_events=[SAY], resources=resources
    )
    shown: Any = [one.to_dict() for one in made.resources]
    assert (shown[0]["mount_path"], shown[1]["access"], shown[1]["instructions"], shown[2]["checkout"]) == (
        *("/mnt/a.txt", "read_only", "Look here."), checkout,
    )  # fmt: skip
    moved = client.beta.deployments.update(made.id, environment_id=other, budget=BUDGET, resources=[])
    assert moved.environment_id == other
    run = client.beta.deployments.run(made.id)
    session = client.beta.sessions.retrieve(run.session_id or "")
    assert session.environment_id == other
    assert session.budget is not None
    assert session.budget.to_dict() == BUDGET


# -- lists


def test_lists_are_bounded_by_time(client: Anthropic, play: Play) -> None:
    talk = play(Turn("Hi."))
    said(talk, "go")
    events: Any = client.beta.sessions.events
    assert ids(events.list(talk.id, created_at_gte=EARLY, created_at_lt=LATE)) == ids(events.list(talk.id))
    assert ids(events.list(talk.id, created_at_gte=LATE)) == ids(events.list(talk.id, created_at_lt=EARLY)) == []
    runs: Any = client.beta.deployment_runs
    made = client.beta.deployments.create(
        name="d",
        agent=client.beta.sessions.retrieve(talk.id).agent.id,
        environment_id=client.beta.environments.create(name="e").id,
        initial_events=[SAY],
    )
    run = client.beta.deployments.run(made.id).id
    assert ids(runs.list(deployment_id=made.id, created_at_gte=EARLY, created_at_lt=LATE)) == [run]
    assert ids(runs.list(deployment_id=made.id, created_at_gte=LATE)) == []
    assert ids(runs.list(deployment_id=made.id, created_at_lt=EARLY)) == []


def test_a_memorys_versions_are_bounded_by_time_and_shown_with_or_without_their_text(client: Anthropic) -> None:
    store = client.beta.memory_stores.create(name="s").id
    client.beta.memory_stores.memories.create(store, path="/a", content="text")
    versions = client.beta.memory_stores.memory_versions
    (one,) = versions.list(store, created_at_lte=LATE)
    assert ids(versions.list(store, created_at_lte=EARLY)) == []
    assert versions.retrieve(one.id, memory_store_id=store, view="full").content == "text"
    assert versions.retrieve(one.id, memory_store_id=store, view="basic").content is None


def test_vaults_come_in_pages(client: Anthropic) -> None:
    made = [client.beta.vaults.create(display_name=f"v {number}").id for number in range(2)]
    first = client.beta.vaults.list(limit=1)
    second = client.beta.vaults.list(limit=1, page=first.next_page or "")
    assert ids((*first.data, *second.data)) == made[::-1]


def test_models_are_listed_by_their_lifecycle_and_all_are_active(client: Anthropic) -> None:
    every = ids(client.beta.models.list())
    assert ids(client.beta.models.list(lifecycle=["active", "retired"])) == every
    assert ids(client.beta.models.list(lifecycle=["deprecated", "retired"])) == []
    assert ids(client.beta.models.list(limit=1, after_id=every[0]).data) == every[1:2]
    assert client.beta.models.list(limit=1, before_id=every[1]).data[0] == client.beta.models.retrieve(every[0])
    wrong: Any = ["asleep"]
    with refused(400, "lifecycle"):
        client.beta.models.list(lifecycle=wrong)


def test_a_threads_stream_has_previews_where_they_are_asked_for(client: Anthropic, play: Play) -> None:
    talk = play(Turn("A few words that come in pieces."))
    thread = next(iter(client.beta.sessions.threads.list(talk.id))).id
    threads = client.beta.sessions.threads
    with threads.events.stream(thread, session_id=talk.id, event_deltas=["agent.message"]) as stream:
        talk.send(message("go"))
        talk.wait()
        seen = list[str]()
        for event in stream:
            seen.append(event.type)
            if event.type == "session.thread_status_idle":
                break
    assert {"event_start", "event_delta", "agent.message"} <= set(seen)


# -- credentials


def test_a_variable_changes_its_value_its_hosts_and_its_places(client: Anthropic) -> None:
    vault = client.beta.vaults.create(display_name="v").id
    credentials: Any = client.beta.vaults.credentials
    auth = {"type": "environment_variable", "secret_name": "A", "secret_value": "one"}
    anywhere = {"type": "unrestricted"}
    places = {"header": True, "body": True}
    made = credentials.create(vault, auth=auth | {"networking": anywhere, "injection_location": places})
    assert made.auth.networking.type == "unrestricted"
    limited = {"type": "limited", "allowed_hosts": ["api.example.com"]}
    change = {"networking": limited, "secret_value": "two", "injection_location": {"header": False, "body": True}}
    auth = {"type": "environment_variable"} | change
    changed = credentials.update(made.id, vault_id=vault, auth=auth, display_name="other")
    assert changed.display_name == "other"
    told = changed.auth.to_dict()
    assert (told["networking"], told["injection_location"]) == (limited, {"header": False, "body": True})


@requirement("credentials:update:oauth")
def test_an_oauth_credential_names_its_resource_and_changes_what_it_is_refreshed_with(client: Anthropic) -> None:
    with running_scene() as scene:
        _oauth(client, scene)


def _oauth(client: Anthropic, scene: Scene) -> None:
    vault = client.beta.vaults.create(display_name="v").id
    credentials: Any = client.beta.vaults.credentials
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    def made(path: str, auth: str) -> Any:
        refresh = {
            "refresh_token": "stale", "client_id": "c", "token_endpoint": f"{scene.url}/token",
            "token_endpoint_auth": {"type": auth, "client_secret": "s"}, "resource": f"{scene.url}{path}",
        }  # fmt: skip
        server = {"mcp_server_url": f"{scene.url}{path}", "access_token": "stale"}
        return credentials.create(vault, auth={"type": "mcp_oauth", "refresh": refresh, **server})

    basic = made("/mcp", "client_secret_basic")
    told = basic.auth.to_dict()["refresh"]
    assert (told["resource"], told["token_endpoint_auth"]) == (f"{scene.url}/mcp", {"type": "client_secret_basic"})
    refresh = {"refresh_token": scene.refresh}
    changed = credentials.update(
        basic.id, vault_id=vault, auth={"type": "mcp_oauth", "expires_at": soon, "refresh": refresh}
    )
    assert changed.auth.expires_at is not None
    assert credentials.mcp_oauth_validate(basic.id, vault_id=vault).status == "valid"
    assert scene.refreshes[-1]["resource"] == f"{scene.url}/mcp"
    assert scene.basic[-1] is not None
    post = made("/other", "client_secret_post")
    secret = {"token_endpoint_auth": {"type": "client_secret_post", "client_secret": "new"}}
    secret["refresh_token"] = scene.refresh  # pyright: ignore[reportArgumentType]
    credentials.update(post.id, vault_id=vault, auth={"type": "mcp_oauth", "refresh": secret})
    assert credentials.mcp_oauth_validate(post.id, vault_id=vault).status == "valid"
    assert scene.refreshes[-1]["client_secret"] == "new"
