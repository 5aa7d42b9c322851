"""A tenant's credentials after every flow of theirs: in the vault process alone, and in no file, log or answer.

As root these look into every process; as an ordinary user only at files and what was said.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest
from leak_scene import model_server
from on_disk import entries, holding
from sdk_clients import sdk_client

from conformance.oauth_scene import Scene, running_scene
from outrider.testing.leaks.disguises import disguises
from outrider.testing.leaks.places import in_memory
from outrider.testing.server_process import ServerProcess, data_directory, running_server

ROOT = os.geteuid() == 0


class Flows:
    """All that a client does with credentials, each secret a canary; `said` is every answer and error."""

    def __init__(self, server: ServerProcess, oauth: Scene) -> None:
        self.server = server
        self.oauth = oauth
        self.canaries: list[bytes] = []
        self.said: list[str] = []
        self.client = sdk_client(server.until_up(), server.key())
        self.vault = self.client.beta.vaults.create(display_name="spied on").id

    def canary(self) -> str:
        text = f"canary-{secrets.token_hex(20)}"
        self.canaries.append(text.encode())
        return text

    def add(self, auth: Any) -> Any:
        made = self.client.beta.vaults.credentials.create(self.vault, auth=auth)
        self.said.append(made.to_json())
        return made

    def play(self) -> None:
        api = self.client.beta.vaults.credentials
        oauth = self._oauth()
        self.said.append(api.mcp_oauth_validate(oauth.id, vault_id=self.vault).to_json())
        self.oauth.access = "gone"
        self.said.append(api.mcp_oauth_validate(oauth.id, vault_id=self.vault).to_json())
        bearer = self.add({"type": "static_bearer", "mcp_server_url": "https://a.example", "token": self.canary()})
        change: Any = {"type": "static_bearer", "token": self.canary()}
        self.said.append(api.update(bearer.id, vault_id=self.vault, auth=change).to_json())
        networking = {"type": "unrestricted"}
        variable = {"type": "environment_variable", "secret_name": "A", "networking": networking}
        self.add({**variable, "secret_value": self.canary()})
        wrong: list[Any] = [
            {"type": "static_bearer", "mcp_server_url": "https://a.example", "token": self.canary()},
            {"type": "static_bearer", "mcp_server_url": "https://b.example", "token": f"{self.canary()}\r\nx: y"},
            {**variable, "secret_value": self.canary(), "secret_name": "PATH"},
        ]
        for auth in wrong:
            with pytest.raises(anthropic.APIStatusError) as refused:
                self.add(auth)
            self.said.append(refused.value.response.text)

    def _oauth(self) -> Any:
        self.oauth.access, self.oauth.refresh, secret = self.canary(), self.canary(), self.canary()
        return self.add(
            {
                "type": "mcp_oauth",
                "mcp_server_url": f"{self.oauth.url}/mcp",
                "access_token": self.oauth.access,
                "refresh": {
                    "refresh_token": self.oauth.refresh,
                    "client_id": "client",
                    "token_endpoint": f"{self.oauth.url}/token",
                    "token_endpoint_auth": {"type": "client_secret_basic", "client_secret": secret},
                },
            }
        )


@contextmanager
def _flows() -> Generator[Flows]:
    with model_server([]) as url, running_scene() as oauth, data_directory() as data:
        environment = {"OUTRIDER_MODEL_URL": url, "OUTRIDER_MODEL_KEY": "model-key"}
        data.mkdir(mode=0o711)
        (data / "config.toml").write_text('[mcp]\nallow_private = ["127.0.0.1"]\n')
        with running_server(data, environment=environment) as server:
            flows = Flows(server, oauth)
            flows.play()
            yield flows


@pytest.fixture(scope="module")
def flows() -> Generator[Flows]:
    with _flows() as found:
        yield found


def wanted(flows: Flows) -> set[bytes]:
    return {one for canary in flows.canaries for one in disguises(canary)}


def test_no_answer_log_line_or_file_shows_a_credential(flows: Flows) -> None:
    assert len(flows.said) == 9
    assert json.loads(flows.said[2])["refresh"]["status"] == "succeeded"
    shown = [*(text.encode() for text in flows.said), flows.server.said().encode()]
    assert all(entries(flows.server.data, name) for name in ("secrets.db", "audit.jsonl", "outrider.db"))
    assert not [text for text in shown if any(one in text for one in wanted(flows))]
    assert holding(flows.server.data, *flows.canaries) == []


def test_each_use_is_on_record(flows: Flows) -> None:
    lines = (flows.server.data / "vault" / "audit.jsonl").read_text().splitlines()
    uses = [json.loads(line) for line in lines]
    assert [(use["action"], use["outcome"]) for use in uses] == [
        ("validate", "ok"),
        ("validate", "401"),
        ("oauth.refresh", "succeeded"),
        ("validate", "ok"),
    ]
    assert all(use["at"] and use["workspace"] and use["credential"].startswith("vcrd_") for use in uses)


@pytest.mark.skipif(not ROOT, reason="others' memory is closed to an ordinary user")
def test_supervisor_and_zygote_never_had_a_credential(flows: Flows) -> None:
    pids = {"supervisor": flows.server.process.pid, **flows.server.children()}
    assert {role: in_memory(pids[role], wanted(flows)) for role in ("supervisor", "zygote")} == {
        "supervisor": set[bytes](),
        "zygote": set[bytes](),
    }


@pytest.mark.skipif(not ROOT, reason="others' memory is closed to an ordinary user")
def test_a_new_server_process_never_sees_what_is_stored(flows: Flows) -> None:
    """What it lists and reads of credentials after a restart has no secret in it."""
    pid = flows.server.children()["server"]
    os.kill(pid, 9)
    new = flows.server.until_replaced("server", pid)
    flows.server.until_up()
    listed = flows.client.beta.vaults.credentials.list(flows.vault).data
    assert len(listed) == 3
    assert in_memory(new, wanted(flows)) == set[bytes]()


@pytest.mark.skipif(not ROOT, reason="all processes are one user otherwise")
def test_the_servers_user_can_not_read_the_vaults_directory(flows: Flows) -> None:
    program = (
        "import os, sys; os.setgroups([]); os.setresgid(61000, 61000, 61000); os.setresuid(61000, 61000, 61000)\n"
        "for name in ('key', 'secrets.db', 'audit.jsonl', '.'):\n"
        "    path = os.path.join(sys.argv[1], name)\n"
        "    try:\n        os.listdir(path) if name == '.' else open(path)\n"
        "    except PermissionError:\n        continue\n"
        "    print('could read', name)\n"
    )
    directory = str(flows.server.data / "vault")
    said = subprocess.run(
        [sys.executable, "-S", "-E", "-c", program, directory], capture_output=True, text=True, timeout=30, check=True
    )
    assert said.stdout == ""


def test_a_rekey_beside_the_running_server_changes_the_key_and_loses_nothing(flows: Flows) -> None:
    directory = flows.server.data / "vault"
    before = (directory / "key").read_bytes()
    owner = (directory / "secrets.db").stat().st_uid
    command = [sys.executable, "-m", "outrider", "vault", "rekey", "--data", str(flows.server.data)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "3 secrets are under the new key.\n"
    assert (directory / "key").read_bytes() != before
    assert {path.stat().st_uid for path in directory.iterdir()} == {owner}
    credential = flows.client.beta.vaults.credentials.list(flows.vault).data[-1]
    found = flows.client.beta.vaults.credentials.mcp_oauth_validate(credential.id, vault_id=flows.vault)
    assert found.status == "valid"


def test_without_its_key_the_server_refuses_to_start_and_says_which_is_missing() -> None:
    with _flows() as flows:
        flows.server.end()
        data = flows.server.data
        key = data / "vault" / "key"
        kept = key.rename(data / "vault" / "key.away")
        with running_server(data, environment={"OUTRIDER_MODEL_KEY": ""}) as broken:
            assert broken.process.wait(30) == 3
            assert "refuses to start: Stored secrets are encrypted with vault key local-" in broken.said()
        assert not key.exists()
        kept.rename(key)
        with running_server(data) as whole:
            client = sdk_client(whole.until_up(), whole.key())
            assert len(client.beta.vaults.credentials.list(flows.vault).data) == 3
    assert not Path(data).exists()
