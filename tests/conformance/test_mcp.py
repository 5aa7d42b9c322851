"""MCP servers of agents, real ones, through a real server with the unmodified SDK."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from typing import Any

import pytest
from anthropic import Anthropic
from conftest_types import CUSTOM, Play
from live_server import Stage
from mcp_server import Grants, Scene, mcp_server
from session_talk import confirm
from turns import TOOLSET, every, kinds, only, refused, said, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import ToolUse, Turn

ALLOW = {"permission_policy": {"type": "always_allow"}}
TOKEN = "canary-4be1c07f-token"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared() -> Generator[Scene]:
    with mcp_server() as scene:
        yield scene


@pytest.fixture
def scene(shared: Scene) -> Generator[Scene]:
    shared.calls.clear()
    shared.said.clear()
    shared.headers.clear()
    for event in (shared.hold, shared.begun, shared.stopped):
        event.clear()
    yield shared
    shared.answer = None
    shared.hold.set()


@pytest.fixture(scope="module")
def locked() -> Generator[Scene]:
    with mcp_server(token=TOKEN) as scene:
        yield scene


def declared(url: str, name: str = "scene") -> dict[str, Any]:
    return {"type": "url", "name": name, "url": url}


def toolset(name: str = "scene", **more: Any) -> dict[str, Any]:
    return {"type": "mcp_toolset", "mcp_server_name": name, **more}


def agent(url: str, *tools: Any, **more: Any) -> dict[str, Any]:
    """The fields of an agent with one server, whose tools are allowed unless `tools` says otherwise."""
    return {"mcp_servers": [declared(url)], "tools": list(tools) or [toolset(default_config=ALLOW)], **more}


def use(name: str, server: str = "scene", **given: Any) -> ToolUse:
    return ToolUse(f"mcp__{server}__{name}", given)


def vault_with(client: Anthropic, *auths: Any) -> str:
    vault = client.beta.vaults.create(display_name=f"mcp {next(_numbers)}")
    for auth in auths:
        client.beta.vaults.credentials.create(vault.id, auth=auth)
    return vault.id


def bearer(url: str, token: str = TOKEN) -> Any:
    return {"type": "static_bearer", "mcp_server_url": url, "token": token}


# -- agents


@requirement("mcp:server", "mcp:toolset", "mcp:default-policy", "agents:create:mcp-servers")
def test_an_agent_reads_back_with_its_servers_and_resolved_toolsets(client: Anthropic) -> None:
    given: Any = [toolset(configs=[{"name": "add", **ALLOW}, {"name": "no.such/tool", "enabled": False}]), TOOLSET]
    made = client.beta.agents.create(
        name="a", model="m", tools=given, mcp_servers=[{"type": "url", "name": "scene", "url": "https://EXAMPLE.com/x"}]
    )
    shown = made.to_dict()
    assert shown["mcp_servers"] == [declared("https://EXAMPLE.com/x")]
    ask = {"type": "always_ask"}
    assert shown["tools"][0] == {  # type: ignore[index]
        "type": "mcp_toolset",
        "mcp_server_name": "scene",
        "default_config": {"enabled": True, "permission_policy": ask},
        "configs": [
            {"name": "add", "enabled": True, "permission_policy": {"type": "always_allow"}},
            {"name": "no.such/tool", "enabled": False, "permission_policy": ask},
        ],
    }


@requirement("mcp:paired", "mcp:server", "mcp:toolset", "agents:create:mcp-servers", "sessions:overrides:servers-tools")
def test_servers_and_toolsets_come_in_pairs_with_unique_names(client: Anthropic, scene: Scene) -> None:
    def make(tools: list[Any], servers: list[Any]) -> Any:
        return client.beta.agents.create(name="a", model="m", tools=tools, mcp_servers=servers)

    one = declared(scene.url)
    with refused(400, "tools.0.mcp_server_name: scene is not in mcp_servers"):
        make([toolset()], [])
    with refused(400, "mcp_servers.0: no mcp_toolset in tools refers to scene"):
        make([TOOLSET], [one])
    with refused(400, "mcp_servers: scene is given more than once"):
        make([toolset()], [one, one])
    with refused(400, "tools: scene is given more than once"):
        make([toolset(), toolset()], [one])
    with refused(400, "tools.0.configs: add is given more than once"):
        make([toolset(configs=[{"name": "add"}, {"name": "add"}])], [one])
    with refused(400, "mcp_servers.0.url"):
        make([toolset()], [declared("https://user:word@example.com/mcp")])
    with refused(400, "mcp_servers"):
        make([toolset(f"s{n}") for n in range(21)], [declared(scene.url, f"s{n}") for n in range(21)])
    with refused(400, "mcp_servers.0.name"):
        make([toolset("")], [declared(scene.url, "")])
    with refused(400, "permission_policy: auto is not offered"):
        make([toolset(default_config={"permission_policy": {"type": "auto"}})], [one])
    with refused(400, "at most 256 tools"):
        configs = [{"name": f"t{n}"} for n in range(256)]
        make([toolset(configs=configs), {**CUSTOM}], [one])


@requirement(
    "agents:update:lists-replace", "mcp:paired", "sessions:overrides:servers-tools", "sessions:update:agent:idle"
)
def test_updates_and_overrides_replace_servers_whole_and_keep_the_pairs(client: Anthropic, scene: Scene) -> None:
    made = client.beta.agents.create(name="a", model="m", **agent(scene.url))
    with refused(400, "tools.0.mcp_server_name"):
        client.beta.agents.update(made.id, mcp_servers=[])
    with refused(400, "mcp_servers.0: no mcp_toolset"):
        client.beta.agents.update(made.id, tools=None)
    other = client.beta.agents.update(
        made.id, mcp_servers=[{"type": "url", "name": "scene", "url": "https://b.example/"}]
    )
    assert (other.version, other.mcp_servers[0].url) == (2, "https://b.example/")
    environment = client.beta.environments.create(name="mcp").id
    reference: Any = {"type": "agent_with_overrides", "id": made.id}
    with refused(400, "agent.tools.0.mcp_server_name"):
        client.beta.sessions.create(agent=reference | {"mcp_servers": []}, environment_id=environment)
    plain = client.beta.sessions.create(
        agent=reference | {"mcp_servers": None, "tools": None}, environment_id=environment
    )
    assert plain.agent.mcp_servers == []
    with refused(400, "agent.mcp_servers.0: no mcp_toolset"):
        client.beta.sessions.update(plain.id, agent={"mcp_servers": [declared(scene.url)]})  # type: ignore[list-item]
    changed: Any = agent(scene.url)
    assert client.beta.sessions.update(plain.id, agent=changed).agent.mcp_servers[0].url == scene.url


@requirement("environments:networking:mcp-egress")
def test_limited_networking_must_let_the_servers_in(client: Anthropic, play: Play, scene: Scene) -> None:
    def limited(**more: Any) -> str:
        config: Any = {"type": "cloud", "networking": {"type": "limited", **more}}
        return client.beta.environments.create(name="limited", config=config).id

    with refused(400, "MCP egress is blocked: 127.0.0.1 of server scene"):
        play(agent=agent(scene.url), environment_id=limited())
    play(agent=agent(scene.url), environment_id=limited(allowed_hosts=["127.0.0.1"]))
    talk = play(Turn("Hi."), agent=agent(scene.url), environment_id=limited(allow_mcp_servers=True))
    assert kinds(said(talk, "hello"))[-1] == "session.status_idle"
    bare = play(agent={"tools": []}, environment_id=limited())
    with refused(400, "MCP egress is blocked"):
        client.beta.sessions.update(bare.id, agent=agent(scene.url))  # type: ignore[arg-type]


# -- calls


@requirement("emitted:agent.mcp_tool_use", "emitted:agent.mcp_tool_result", "mcp:transport")
def test_an_allowed_tool_runs_and_the_model_sees_its_result(
    play: Play, scene: Scene, stage: Stage, model_name: str
) -> None:
    talk = play(Turn("Let me see.", use("add", a=2, b=3)), Turn("Five."), agent=agent(scene.url))
    history = said(talk, "add")
    called, result = only(history, "agent.mcp_tool_use"), only(history, "agent.mcp_tool_result")
    assert (called.name, called.mcp_server_name, called.input) == ("add", "scene", {"a": 2, "b": 3})
    assert (called.evaluated_permission, called.evaluation.type) == ("allow", "always_allow")
    assert (result.mcp_tool_use_id, text_of(result), result.is_error) == (called.id, "5", False)
    first, second = stage.requests(model_name)
    assert first["tools"] == second["tools"]
    (offered,) = [tool for tool in first["tools"] if tool["name"] == "mcp__scene__add"]
    assert offered["description"] == "Add two numbers."
    assert set(offered["input_schema"]["properties"]) == {"a", "b"}
    shown = [block for block in second["messages"][1]["content"] if block["type"] == "tool_use"]
    assert [(block["name"], block["input"]) for block in shown] == [("mcp__scene__add", {"a": 2, "b": 3})]
    assert second["messages"][2]["content"][0]["content"] == [{"type": "text", "text": "5"}]
    assert scene.calls["add"] == 1
    assert not any("authorization" in headers for headers in scene.headers)


@requirement("mcp:transport")
def test_a_server_that_speaks_only_the_older_event_stream_is_reached_by_that(play: Play) -> None:
    with mcp_server(older=True) as scene:
        talk = play(Turn(use("add", a=2, b=3)), Turn("Five."), agent=agent(scene.url))
        assert text_of(only(said(talk, "add"), "agent.mcp_tool_result")) == "5"


@requirement(
    "mcp:default-policy", "permissions:ask", "flows:confirm:allow", "flows:confirm:deny", "flows:confirm:one-id"
)
def test_tools_ask_by_default_and_run_once_they_are_allowed(play: Play, scene: Scene) -> None:
    turn = Turn(use("note", text="one"), use("note", text="two"))
    talk = play(turn, Turn("Done."), agent=agent(scene.url, toolset()))
    with talk.stream() as reader:
        talk.say("note")
        waiting = reader.idle("requires_action").stop_reason.event_ids
        assert scene.calls["note"] == 0
        first, second = every(reader.events, "agent.mcp_tool_use")
        assert waiting == [first.id, second.id]
        assert (first.evaluated_permission, first.evaluation.type) == ("ask", "always_ask")
        talk.send(confirm(first.id, "deny", deny_message="not that"))
        assert reader.idle("requires_action").stop_reason.event_ids == [second.id]
        talk.send(confirm(second.id, "allow"))
        reader.idle("end_turn")
    denied, ran = every(reader.events, "agent.mcp_tool_result")
    assert (denied.mcp_tool_use_id, denied.is_error) == (first.id, True)
    assert "denied. The user said: not that" in text_of(denied)
    assert (ran.mcp_tool_use_id, text_of(ran)) == (second.id, "noted two")
    assert scene.said == ["two"]


@requirement("mcp:toolset", "tools:call:not-enabled")
def test_only_enabled_tools_are_offered_and_others_denied(
    play: Play, scene: Scene, stage: Stage, model_name: str
) -> None:
    only_add = toolset(default_config={"enabled": False}, configs=[{"name": "add", "enabled": True, **ALLOW}])
    talk = play(Turn(use("note", text="x"), use("nothing")), Turn("Oh."), agent=agent(scene.url, only_add))
    history = said(talk, "note")
    assert [tool["name"] for tool in stage.requests(model_name)[0]["tools"]] == ["mcp__scene__add"]
    called, result = only(history, "agent.mcp_tool_use"), only(history, "agent.mcp_tool_result")
    assert (called.evaluated_permission, called.evaluation, result.is_error) == ("deny", None, True)
    unknown = only(history, "agent.tool_use")
    assert (unknown.name, unknown.evaluated_permission) == ("mcp__scene__nothing", "deny")
    assert scene.calls["note"] == 0


def test_failures_of_a_tool_are_results_and_pictures_are_shown(
    play: Play, scene: Scene, stage: Stage, model_name: str
) -> None:
    talk = play(
        Turn(use("fail"), use("picture"), use("add", a="no number", b=1)), Turn("Well."), agent=agent(scene.url)
    )
    history = said(talk, "go")
    found = {result.mcp_tool_use_id: result for result in every(history, "agent.mcp_tool_result")}
    fail, picture, wrong = (found[called.id] for called in every(history, "agent.mcp_tool_use"))
    assert (fail.is_error, wrong.is_error, picture.is_error) == (True, True, False)
    assert picture.content[0].source.media_type == "image/png"
    sent = stage.requests(model_name)[1]["messages"][-1]["content"]
    assert [block["content"][0]["type"] for block in sent] == ["text", "image", "text"]
    assert not every(history, "session.error")


@requirement("tools:result:long")
def test_a_long_result_goes_to_a_file_that_the_agents_tools_can_read(play: Play, scene: Scene) -> None:
    look = ToolUse("bash", {"command": "cat /mnt/session/results/*.txt | wc -c; ls /mnt/session/results"})
    talk = play(
        Turn(use("much", count=150_000)),
        Turn(look),
        Turn("Long."),
        agent=agent(scene.url, toolset(default_config=ALLOW), TOOLSET),
    )
    history = said(talk, "go")
    result = only(history, "agent.mcp_tool_result")
    shown = text_of(result)
    assert "150,012 characters in all; the whole result is in /mnt/session/results/" in shown
    assert shown.startswith("begins xxx")
    assert shown.endswith("xxx ends")
    assert text_of(only(history, "agent.tool_result")).startswith("150012")


def test_a_long_result_is_cut_where_no_tool_could_read_a_file(play: Play, scene: Scene) -> None:
    talk = play(Turn(use("much", count=150_000)), Turn("Long."), agent=agent(scene.url))
    shown = text_of(only(said(talk, "go"), "agent.mcp_tool_result"))
    assert "150,012 characters in all; the rest could not be kept" in shown
    assert len(shown) < 10_000


@requirement("events:interrupt:ends-turn", "events:interrupt:open-calls")
def test_an_interrupt_ends_a_call_and_its_server_hears_of_it(play: Play, scene: Scene) -> None:
    talk = play(Turn(use("wait")), Turn("Again."), agent=agent(scene.url))
    with talk.stream() as reader:
        talk.say("wait")
        assert scene.begun.wait(20)
        talk.send({"type": "user.interrupt"})
        reader.idle("end_turn")
        assert scene.stopped.wait(20)
        assert "interrupted before completion" in text_of(only(reader.events, "agent.mcp_tool_result"))
        talk.say("again")
        reader.idle("end_turn")
    assert scene.calls["wait"] == 1


# -- failures and credentials


@requirement("mcp:connection-failed", "mcp:retried", "emitted:error:mcp")
def test_a_server_that_is_away_costs_its_tools_and_is_asked_again_in_the_next_turn(
    play: Play, scene: Scene, stage: Stage, model_name: str
) -> None:
    scene.answer = lambda _: 503
    talk = play(Turn("Without it."), Turn(use("add", a=1, b=1)), Turn("Two."), agent=agent(scene.url))
    history = said(talk, "go")
    problem = only(history, "session.error").error
    assert (problem.type, problem.mcp_server_name) == ("mcp_connection_failed_error", "scene")
    assert (problem.retry_status.type, "status 503" in problem.message) == ("retrying", True)
    assert history[-1].stop_reason.type == "end_turn"
    assert "tools" not in stage.requests(model_name)[0]
    scene.answer = None
    history = said(talk, "again")
    assert len(every(history, "session.error")) == 1
    assert text_of(only(history, "agent.mcp_tool_result")) == "2"


def test_tools_for_which_a_request_has_no_room_are_told_of_once(
    play: Play, scene: Scene, stage: Stage, model_name: str
) -> None:
    many = [{**CUSTOM, "name": f"own{n}"} for n in range(254)]
    talk = play(Turn("One."), Turn("Two."), agent=agent(scene.url, *many, toolset(default_config=ALLOW)))
    said(talk, "go")
    history = said(talk, "again")
    names = [tool["name"] for tool in stage.requests(model_name)[1]["tools"]]
    assert (len(names), names[254:]) == (256, ["mcp__scene__add", "mcp__scene__fail"])
    problem = only(history, "session.error").error
    assert (problem.type, problem.retry_status.type) == ("unknown_error", "retrying")
    assert problem.message.startswith("4 tools of MCP servers are not offered to the model")
    assert "mcp__scene__wait" in problem.message
    assert history[-1].stop_reason.type == "end_turn"


def test_tools_that_lose_their_room_when_the_agent_changes_are_told_of_once_per_change(
    play: Play, scene: Scene, stage: Stage, model_name: str
) -> None:
    many = [{**CUSTOM, "name": f"own{n}"} for n in range(255)]
    off, on = toolset(default_config={"enabled": False}), toolset(default_config=ALLOW)
    talk = play(*(Turn(f"{n}.") for n in range(6)), agent=agent(scene.url, *many[:254], off))
    told: list[str] = []
    tools: Any
    for tools in ([], [*many[:254], on], [], [*many, on], [*many[:9], on], [*many, on]):
        if tools:
            talk.client.beta.sessions.update(talk.id, agent={"tools": tools})
        told.append(" ".join(one.error.message[:7] for one in every(said(talk, "go"), "session.error")))
    assert told == ["", "4 tools", "4 tools", *["4 tools 5 tools"] * 2, "4 tools 5 tools 5 tools"]
    assert [len(one.get("tools", [])) for one in stage.requests(model_name)] == [254, 256, 256, 256, 15, 256]


@requirement("mcp:connection-failed")
def test_addresses_that_are_not_public_are_not_reached_unless_the_operator_allows_them(
    play_other: Play, scene: Scene
) -> None:
    talk = play_other(Turn("Without it."), agent=agent(f"{scene.url}/shut"))
    problem = only(said(talk, "go"), "session.error").error
    assert problem.type == "mcp_connection_failed_error"
    assert "127.0.0.1 is at a loopback address, which [mcp] allow_private must allow" in problem.message
    assert not [one for one in scene.headers if one["path"].endswith("/shut")]


@requirement("mcp:credential")
def test_the_first_vault_with_a_credential_for_the_address_gives_the_token(
    client: Anthropic, play: Play, locked: Scene
) -> None:
    other = vault_with(client, bearer("https://elsewhere.example/mcp", "wrong-token-1"))
    right = vault_with(client, bearer(locked.url.replace("http://", "HTTP://") + "/"))
    late = vault_with(client, bearer(locked.url, "wrong-token-2"))
    talk = play(Turn(use("add", a=1, b=2)), Turn("Three."), agent=agent(locked.url), vault_ids=[other, right, late])
    history = said(talk, "add")
    assert text_of(only(history, "agent.mcp_tool_result")) == "3"
    assert not every(history, "session.error")
    assert TOKEN not in str([event.to_dict() for event in history])


@requirement("mcp:authentication-failed", "emitted:error:mcp")
def test_a_refused_credential_is_an_error_event_and_a_mended_one_works_in_the_next_turn(
    client: Anthropic, play: Play, locked: Scene
) -> None:
    vault = vault_with(client, bearer(locked.url, "wrong-token-3"))
    (credential,) = client.beta.vaults.credentials.list(vault)
    talk = play(Turn("Without."), Turn(use("add", a=1, b=2)), Turn("3."), agent=agent(locked.url), vault_ids=[vault])
    problem = only(said(talk, "add"), "session.error").error
    assert (problem.type, problem.mcp_server_name) == ("mcp_authentication_failed_error", "scene")
    client.beta.vaults.credentials.update(credential.id, vault_id=vault, auth={"type": "static_bearer", "token": TOKEN})
    assert text_of(only(said(talk, "again"), "agent.mcp_tool_result")) == "3"


@requirement("mcp:authentication-failed", "mcp:credential")
def test_an_archived_credential_is_not_presented_any_more(client: Anthropic, play: Play, locked: Scene) -> None:
    vault = vault_with(client, bearer(locked.url))
    (credential,) = client.beta.vaults.credentials.list(vault)
    turns = (Turn(use("add", a=1, b=2)), Turn("3."), Turn("Without."))
    talk = play(*turns, agent=agent(locked.url), vault_ids=[vault])
    assert text_of(only(said(talk, "add"), "agent.mcp_tool_result")) == "3"
    client.beta.vaults.credentials.archive(credential.id, vault_id=vault)
    locked.headers.clear()
    problem = only(said(talk, "again"), "session.error").error
    assert "refused a request without credentials (401)" in problem.message
    assert not any("authorization" in headers for headers in locked.headers if headers["method"] == "POST")


def test_tokens_that_live_for_seconds_are_renewed_and_a_rotating_refresh_token_is_spent_once(
    client: Anthropic, play: Play
) -> None:
    grants = Grants(lifetime=3600)
    grants.access.clear()  # the first one is over already
    with mcp_server(grants=grants) as scene:
        base = scene.url.removesuffix("/mcp")
        refresh = {
            "refresh_token": "refresh-canary-0",
            "client_id": "client",
            "token_endpoint": f"{base}/token",
            "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "client-secret-0001"},
        }
        auth = {"type": "mcp_oauth", "mcp_server_url": scene.url, "access_token": "access-canary-0", "refresh": refresh}
        vault = vault_with(client, auth)
        talk = play(Turn(use("add", a=1, b=2)), Turn("3."), agent=agent(scene.url), vault_ids=[vault])
        history = said(talk, "add")
        assert text_of(only(history, "agent.mcp_tool_result")) == "3"
        assert (grants.refreshes, grants.refused) == (1, 0)
        assert "canary" not in str([event.to_dict() for event in history])
