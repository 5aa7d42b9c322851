"""Egress through a whole server: its API, its vault process as it runs, real sandboxes, and what lies on disk after."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic, NotFoundError
from egress_trial import Web
from live_server import Server, Stage, data_directory, serving
from on_disk import holding
from session_talk import Talk
from turns import TOOLSET, every, said, text_of
from workers import until_now

from outrider.models.scripted.script import Request, ToolUse, Turn
from outrider.vault.authority import Authority

SECRET = "canary-61c0f4b8d9e27a35"


def commands(request: Request) -> Turn:
    """The model runs what the last message says."""
    content: Any = request.body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1].get("text")
    return Turn(ToolUse("bash", {"command": text})) if text else Turn("Done.")


def opened(client: Anthropic, host: str) -> Talk:
    """A session with the credential in a vault, on an environment with limited networking."""
    vaults: Any = client.beta.vaults
    vault = vaults.create(display_name="tests")
    auth = {
        "type": "environment_variable",
        "secret_name": "API_TOKEN",
        "secret_value": SECRET,
        "networking": {"type": "limited", "allowed_hosts": [host]},
    }
    vaults.credentials.create(vault.id, auth=auth)
    tools: Any = [TOOLSET]
    agent = client.beta.agents.create(name="tester", model="scripted-one", tools=tools)
    networking: Any = {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": [host]}}
    environment = client.beta.environments.create(name="tests", config=networking)
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, vault_ids=[vault.id])
    return Talk(client, session.id)


def ran(talk: Talk, command: str) -> str:
    return text_of(every(said(talk, command), "agent.tool_result")[-1])


def scene(server: Server, web: Web) -> None:
    with server.client() as client:
        talk = opened(client, "localhost")
        fetch = f"curl -sS --noproxy '' -H \"X: $API_TOKEN\" https://localhost:{web.port}/echo"
        placeholder = ran(talk, "echo $API_TOKEN").strip()
        assert placeholder.startswith("outr_secret_")
        assert "x: " + "*" * len(SECRET) in ran(talk, fetch)
        assert SECRET.encode() in web.seen[-1]
        os.kill(server.pids()["vault"], signal.SIGKILL)
        assert ran(talk, f"echo $API_TOKEN && {fetch}").startswith(placeholder)
        assert [SECRET.encode() in head for head in web.seen] == [True, True]
        beyond = ran(talk, "curl -sS -o /dev/null -w '%{http_code}' http://other.example/; true")
        assert beyond.endswith("403")
        shown(server, talk, web)


def shown(server: Server, talk: Talk, web: Web) -> None:
    """What the operator sees of it."""

    def recorded() -> list[Any]:
        return json.loads(talk.client.get(f"/outrider/v1/sessions/{talk.id}/requests?limit=10", cast_to=str))["data"]

    until_now(lambda: len(recorded()) == 3)  # each is written when its connection has ended
    found = recorded()
    assert [(one["host"], one["verdict"]) for one in found] == [
        ("localhost", "allowed"), ("localhost", "allowed"), ("other.example", "refused"),
    ]  # fmt: skip
    last = json.loads(talk.client.get(f"/outrider/v1/sessions/{talk.id}/requests?limit=1", cast_to=str))["data"]
    assert last == found[-1:]
    with pytest.raises(NotFoundError):
        talk.client.get("/outrider/v1/sessions/sesn_none/requests", cast_to=str)
    environment = os.environ | {"OUTRIDER_API_KEY": server.key}
    command = [sys.executable, "-m", "outrider", "session", "requests", talk.id, "--data", str(server.data)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert f"terminated localhost:{web.port}" in done.stdout
    assert "refused  http       other.example:80" in done.stdout


@pytest.mark.anyio
async def test_a_command_uses_a_secret_that_is_nowhere_but_in_the_vault(tmp_path: Path) -> None:
    outside = Authority(tmp_path)
    with data_directory() as data, Stage().open() as stage:
        trusted = data.parent / "trusted.pem"
        trusted.write_text(outside.certificate)
        trusted.chmod(0o644)
        stage.put("scripted-one", decide=commands)
        async with Web().serving(outside.context("localhost")) as web:
            config = f'[egress]\nallow_private = ["127.0.0.1:{web.port}"]\n'
            environment = {"OUTRIDER_MODEL_URL": stage.url, "SSL_CERT_FILE": str(trusted)}

            def act() -> None:
                with serving(data, environment, config=config) as server:
                    scene(server, web)

            await asyncio.to_thread(act)
        assert (data / "vault" / "egress-ca.pem").stat().st_mode & 0o077 == 0
        assert "API_TOKEN" in (data / "vault" / "egress-claims.jsonl").read_text()
        assert holding(data.parent, SECRET) == []
