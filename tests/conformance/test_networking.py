"""What an environment's networking lets a session's commands reach, through the whole server."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import Anthropic
from conftest_types import Play
from live_server import Stage
from turns import TOOLSET, every, only, refused, said, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import ToolUse, Turn


def fetch(play: Play, url: str, **session: Any) -> str:
    """What a session's command says that fetches this address, which may name loopback."""
    talk = play(fetching(url), Turn("Done."), tools=[TOOLSET], **session)
    return text_of(only(said(talk, "fetch"), "agent.tool_result"))


def fetching(url: str) -> Turn:
    command = f"curl -sS --noproxy '' --max-time 20 -w ' %{{http_code}}' {url}; true"
    return Turn(ToolUse("bash", {"command": command}))


def limited(client: Anthropic, **networking: Any) -> str:
    config: Any = {"type": "cloud", "networking": {"type": "limited", **networking}}
    return client.beta.environments.create(name="limited", config=config).id


@requirement("environments:networking:unrestricted")
def test_a_command_reaches_any_host_by_the_proxy_that_its_environment_names(play: Play, stage: Stage) -> None:
    port = stage.url.rpartition(":")[2]
    assert fetch(play, f"http://localhost:{port}/control/unexpected").endswith(" 200")


@requirement("environments:networking:private")
def test_private_addresses_are_out_of_reach_unless_the_operator_allows_them(play: Play) -> None:
    answer = fetch(play, "http://169.254.169.254/latest/meta-data/")
    assert "metadata service address, which [egress] allow_private must allow" in answer
    assert answer.endswith(" 403")


@requirement("environments:networking:limited")
def test_limited_networking_lets_only_listed_hosts_in(play: Play, client: Anthropic, stage: Stage) -> None:
    url = f"http://localhost:{stage.url.rpartition(':')[2]}/control/unexpected"
    listed = limited(client, allowed_hosts=["localhost"])
    assert fetch(play, url, environment_id=listed).endswith(" 200")
    other = limited(client, allowed_hosts=["*.localhost"])
    answer = fetch(play, url, environment_id=other)
    assert "localhost is not in the environment's config.networking.allowed_hosts" in answer
    assert answer.endswith(" 403")


@requirement("environments:update:later-sandboxes")
def test_a_change_of_networking_is_for_sessions_made_later(play: Play, client: Anthropic, stage: Stage) -> None:
    url = f"http://localhost:{stage.url.rpartition(':')[2]}/control/unexpected"
    place = limited(client, allowed_hosts=["*.localhost"])
    turns = (fetching(url), Turn("Refused."), fetching(url), Turn("Refused."))
    talk = play(*turns, tools=[TOOLSET], environment_id=place)
    said(talk, "fetch")
    config: Any = {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["localhost"]}}
    client.beta.environments.update(place, config=config)
    said(talk, "once more")
    assert [text_of(one)[-4:] for one in every(talk.history(), "agent.tool_result")] == [" 403", " 403"]
    assert fetch(play, url, environment_id=place).endswith(" 200")


@requirement("emitted:error:credential_host_unreachable_error")
def test_a_credential_for_a_host_that_is_shut_out_is_told_once_a_turn(play: Play, client: Anthropic) -> None:
    vault = client.beta.vaults.create(display_name="v").id

    def add(name: str, *hosts: str) -> str:
        networking: Any = {"type": "limited", "allowed_hosts": hosts}
        auth: Any = {"type": "environment_variable", "secret_name": name, "secret_value": "s", "networking": networking}
        return client.beta.vaults.credentials.create(vault, auth=auth).id

    add("OPEN", "api.example.com", "*.example.net")
    shut = add("SHUT", "api.example.com", "*.example.org")
    place = limited(client, allowed_hosts=["api.example.com", "www.example.net"])
    uses = (Turn(ToolUse("bash", {"command": "true"})) for _ in range(2))
    talk = play(*uses, Turn("Done."), tools=[TOOLSET], environment_id=place, vault_ids=[vault])
    error = only(said(talk, "go"), "session.error").error
    assert (error.type, error.vault_id, error.credential_id) == ("credential_host_unreachable_error", vault, shut)
    assert error.retry_status.type == "retrying"
    assert "*.example.org" in error.message


@requirement("environments:networking:host-form")
@pytest.mark.parametrize(
    "host",
    ["https://example.com", "example.com:443", "example.com/x", "*", "a.*.com", "[::1]", "127.1", "b\u00fccher.de", ""],
)
def test_an_allowed_host_is_a_bare_name_or_a_wildcard(client: Anthropic, host: str) -> None:
    with refused(400, "config.networking.allowed_hosts.0"):
        limited(client, allowed_hosts=[host])


@requirement("environments:networking:limited", "environments:update:missing-keeps")
def test_limited_networking_reads_back_whole_and_an_update_keeps_what_it_leaves_out(client: Anthropic) -> None:
    environment = limited(client, allowed_hosts=["example.com", "*.example.org"])
    config: Any = {"type": "cloud", "networking": {"type": "limited", "allow_mcp_servers": True}}
    changed = client.beta.environments.update(environment, config=config).config.to_dict()
    assert changed["networking"] == {
        "type": "limited",
        "allowed_hosts": ["example.com", "*.example.org"],
        "allow_mcp_servers": True,
        "allow_package_managers": False,
    }
