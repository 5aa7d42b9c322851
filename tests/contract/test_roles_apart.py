"""Harness, sandbox hosts and vault as servers of their own, over mutual TLS, with the harness on SQLite."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import BadRequestError, ConflictError
from apart import Deployment, Part, deployment
from live_server import KEY, Stage
from on_disk import holding
from pki import Authority
from sdk_clients import sdk_client
from session_talk import Talk
from turns import TOOLSET, every, said, text_of

from outrider.endpoints import CAPABILITY_HEADER
from outrider.errors import ModelFailure
from outrider.links import peers
from outrider.links.vault import VaultLink, claim_text, vault_at
from outrider.models.scripted.script import ToolUse, Turn
from outrider.testing.postgres_server import PostgresServer

MODEL_KEY = "sk-canary-1b7e44a0c35d4f0a"


def bash(command: str) -> ToolUse:
    return ToolUse("bash", {"command": command})


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


@pytest.fixture(scope="module")
def made() -> Generator[Deployment]:
    with deployment() as made:
        yield made


@pytest.fixture(scope="module")
def vault(made: Deployment, stage: Stage) -> Part:
    part = made.vault({"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": MODEL_KEY})
    part.start()
    part.facts()
    return part


@pytest.fixture(scope="module")
def host(made: Deployment) -> Part:
    part = made.sandbox("h1")
    part.start()
    part.facts()
    return part


def front(made: Deployment, stage: Stage, name: str, *hosts: str, config: str = "") -> Part:
    """API and harness, with everything else elsewhere."""
    environment = made.reach(*hosts) | {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_API_KEY": KEY}
    part = made.part(name, "api,harness", config, environment)
    part.start()
    return part


def opened(part: Part, stage: Stage, model: str, *answers: Turn) -> Talk:
    stage.put(model, *answers)
    client = sdk_client(part.url(), KEY)
    agent = client.beta.agents.create(name="tester", model=model, tools=[TOOLSET])  # pyright: ignore[reportArgumentType]
    environment = client.beta.environments.create(name="tests")
    store: Any = {"type": "memory_store", "memory_store_id": client.beta.memory_stores.create(name="Notes").id}
    made = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, resources=[store])
    return Talk(client, made.id)


def memories(talk: Talk) -> dict[str, str | None]:
    """What the session's store holds."""
    store: Any = talk.client.beta.sessions.retrieve(talk.id).resources[0]
    found: Any = talk.client.beta.memory_stores.memories.list(store.memory_store_id, view="full")
    return {one.path: one.content for one in found}


def results(talk: Talk) -> list[str]:
    return [text_of(event) for event in every(talk.history(), "agent.tool_result")]


def memory(pid: int) -> bytes:
    """All that a process has in memory, as far as it can be read."""
    found = bytearray()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(word, 16) for word in line.split()[0].split("-"))
            if " r" in line[:40] and end - start < 1 << 28:
                try:
                    file.seek(start)
                    found += file.read(end - start)
                except (OSError, ValueError):
                    continue
    return bytes(found)


def test_a_session_runs_with_every_role_apart(made: Deployment, stage: Stage, vault: Part, host: Part) -> None:
    part = front(made, stage, "front", "h1")
    talk = opened(part, stage, "m1", Turn(bash("echo hand > f; id -u; cp f /mnt/memory/notes; cat f")), Turn("Done."))
    assert said(talk, "work")[-1].stop_reason.type == "end_turn"
    assert results(talk) == ["1000\nhand"]
    assert memories(talk) == {"/f": "hand\n"}
    assert not (part.data / "sandboxes").exists()
    assert list((host.data / "sandboxes" / "sessions").iterdir())
    assert set(host.facts()["children"]) == {"zygote", "sandboxes"}
    assert set(part.facts()["children"]) == {"server"}
    assert set(vault.facts()["children"]) == {"vault"}
    if os.geteuid() == 0:
        for pid in (host.facts()["supervisor"], *host.facts()["children"].values()):
            held = memory(pid) + Path(f"/proc/{pid}/environ").read_bytes()
            assert b"hand" in held or b"outrider" in held
            assert not [word for word in (MODEL_KEY, KEY) if word.encode() in held]
        assert MODEL_KEY.encode() not in memory(part.pid("server"))
    talk.client.beta.sessions.delete(talk.id)
    assert not list((host.data / "sandboxes" / "sessions").iterdir())
    talk.client.close()
    part.stop()


@pytest.mark.timeout(180)  # six servers and a database are started
def test_api_and_harness_apart_share_postgresql(
    made: Deployment, stage: Stage, vault: Part, host: Part, postgres: PostgresServer
) -> None:
    """Each role a server of its own; a second harness goes on where the first is killed."""
    database = {"OUTRIDER_DATABASE_URL": postgres.url(postgres.database(), tcp=True)}
    models = {"OUTRIDER_MODEL_URL": stage.url}
    api = made.part("api-1", "api", "", {**database, **models, "OUTRIDER_API_KEY": KEY})
    brains = [
        made.part(f"brain-{number}", "harness", "", {**database, **models, **made.reach("h1")}) for number in (1, 2)
    ]
    for part in (api, *brains):
        part.start()
    for brain in brains:
        brain.url()
    step = Turn(bash("echo x >> log; while [ ! -e /workspace/go ]; do sleep 0.05; done; cat log"))
    talk = opened(api, stage, "m4", step, Turn("Done."))
    talk.say("work")
    place = host.data / "sandboxes" / "sessions" / talk.id / "own" / "workspace"
    until(lambda: (place / "log").exists(), "the command runs")
    for brain in brains:  # each in turn, so that the one that owned the session was among them
        brain.kill()
        brain.start()
        brain.url()
    (place / "go").touch()
    talk.wait(seconds=40)
    assert results(talk) == ["x"]
    held = memory(host.pid("sandboxes")) if os.geteuid() == 0 else b""
    assert database["OUTRIDER_DATABASE_URL"].encode() not in held
    assert httpx2.get(f"{brains[0].url()}/v1/agents", timeout=10).status_code == 404
    talk.client.close()
    for part in (*brains, api):
        part.stop()


def serve(made: Deployment, host: Part) -> None:
    """For those who have little patience with it."""
    host.start()
    host.facts()

    def listens() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", made.ports[host.name]), 20).close()
            return True
        return False

    until(listens, "the host can be reached")


def test_a_lost_host_gives_a_clear_result_and_the_session_waits_for_it(
    made: Deployment, stage: Stage, vault: Part
) -> None:
    away = made.sandbox("h2")
    serve(made, away)
    part = front(made, stage, "front2", "h2", config="[sandbox]\nhost_patience = 1\n")
    step = Turn(bash("cat f || echo new > f"))
    talk = opened(part, stage, "m2", step, Turn("One."), step, Turn("Two."), step, Turn("Three."))
    said(talk, "one")
    away.kill()
    said(talk, "two")
    assert "Sandbox host h2 has been unreachable for 1 s" in results(talk)[1]
    assert "the session keeps its place there" in results(talk)[1]
    serve(made, away)
    said(talk, "three")
    assert results(talk)[2] == "new"
    talk.client.close()


def test_a_session_is_moved_off_a_lost_host_with_an_empty_workspace(
    made: Deployment, stage: Stage, vault: Part
) -> None:
    hosts = [made.sandbox(name) for name in ("l1", "l2")]
    for one in hosts:
        serve(made, one)
    part = front(made, stage, "front5", "l1", "l2", config="[sandbox]\nhost_patience = 1\n")
    step = Turn(bash("echo x >> f; cat f"))
    talk = opened(part, stage, "m5", step, Turn("One."), step, step, Turn("Two."))

    def move(**body: bool) -> str:
        return talk.client.post(f"/outrider/v1/sessions/{talk.id}/move", cast_to=str, body=body)

    with pytest.raises(ConflictError, match="has no place that it could leave"):
        move()
    said(talk, "one")
    (home,) = [one for one in hosts if (one.data / "sandboxes" / "sessions" / talk.id).exists()]
    with pytest.raises(ConflictError, match=f"{home.name} can be reached"):
        move()
    with pytest.raises(BadRequestError, match="force: must be true or false"):
        move(force="yes")  # pyright: ignore[reportArgumentType]
    home.kill()
    moved: list[str] = []

    def gone() -> bool:
        with contextlib.suppress(ConflictError):  # the connection's end may not have been heard of yet
            moved.append(move())
        return bool(moved)

    until(gone, "the host's death is known")
    assert json.loads(moved[0]) == {"type": "session_move", "session_id": talk.id, "from": home.name}
    assert json.loads(move())["from"] == home.name
    said(talk, "two")
    assert f"This call was not run: sandbox host {home.name}" in results(talk)[1]
    assert results(talk)[2] == "x"
    talk.client.close()
    part.stop()


def test_a_session_moved_off_a_host_that_lives_leaves_nothing_there(
    made: Deployment, stage: Stage, vault: Part
) -> None:
    """A host that is the only one takes the session back: with nothing of what it had, and nothing of it running."""
    only = made.sandbox("o1")
    only.start()
    only.facts()
    part = front(made, stage, "front6", "o1")
    first = Turn(bash("echo x > f; (sleep 3; echo late > /workspace/g) >/dev/null 2>&1 & echo begun"))
    second = Turn(bash("sleep 4; ls -A /workspace"))
    talk = opened(part, stage, "m6", first, Turn("One."), second, second, Turn("Two."))
    said(talk, "one")
    talk.client.post(f"/outrider/v1/sessions/{talk.id}/move", cast_to=str, body={"force": True})
    said(talk, "two")
    assert "This call was not run: sandbox host o1" in results(talk)[1]
    assert results(talk)[2] == "(no output)"
    talk.client.close()
    part.stop()


def test_on_shared_storage_a_session_moves_with_its_files(made: Deployment, stage: Stage, vault: Part) -> None:
    shared = made.place / "shared"
    shared.mkdir()
    shared.chmod(0o711)
    hosts = [made.sandbox(name, "shared_workspaces = true\nlease = 6\n") for name in ("s1", "s2")]
    for one in hosts:
        (one.data / "sandboxes").symlink_to(shared)
        one.start()
        one.facts()
    config = "[sandbox]\nshared_workspaces = true\nlease = 6\nhost_patience = 8\n"
    part = front(made, stage, "front3", "s1", "s2", config=config)
    first, long = Turn(bash("echo here > f")), Turn(bash("echo begun >> f; sleep 1000"))
    talk = opened(part, stage, "m3", first, Turn("One."), long, Turn(bash("cat f")), Turn("Two."))
    said(talk, "one")
    (home,) = [one for one in hosts if talk.id in os.listdir(one.data / "run" / "s")]
    talk.say("two")
    workspace = shared / "sessions" / talk.id / "own" / "workspace" / "f"
    until(lambda: workspace.read_text() == "here\nbegun\n", "the long command runs")
    home.kill()
    talk.wait(seconds=40)
    assert "may have partly run" in results(talk)[1]
    assert results(talk)[2] == "here\nbegun"
    talk.client.close()


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 40
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.anyio
@pytest.mark.parametrize("role", ["api", "sandbox", "vault"])
async def test_only_a_harness_may_ask_the_vault_for_models(role: str, made: Deployment, vault: Part) -> None:
    context = peers.client_context(made.authority.issue(f"to-vault-{role}", role))
    url = f"https://127.0.0.1:{made.ports['vault']}"
    headers = {CAPABILITY_HEADER: claim_text("sesn_x", 1)}
    async with httpx2.AsyncClient(transport=vault_at(url, context)(), base_url="http://vault") as client:
        for path in ("/model/default/v1/messages", "/capabilities"):
            answer = await client.post(path, headers=headers, content=b"{}")
            assert answer.status_code == 403, answer.text
            refusal = f"for the role {role}; here it must be api or harness"
            assert (f"The role api may not ask for {path}" if role == "api" else refusal) in answer.text


@pytest.mark.anyio
async def test_a_vault_without_the_role_vault_is_no_vault(made: Deployment, vault: Part, host: Part) -> None:
    context = peers.client_context(made.authority.issue("asks", "harness"))
    link = VaultLink(vault_at(f"https://127.0.0.1:{made.ports['h1']}", context))
    with pytest.raises(ModelFailure, match="for the role sandbox; here it must be vault"):
        await link.capability("sesn_1", 1, "default")
    await link.close()


@pytest.mark.anyio
async def test_another_deployment_is_refused_by_the_vault(made: Deployment, vault: Part, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "ca").issue("me", "harness")
    mixed = peers.Identity(made.authority.identity("vault").ca, stranger.cert, stranger.key)
    link = VaultLink(vault_at(f"https://127.0.0.1:{made.ports['vault']}", peers.client_context(mixed)))
    with pytest.raises(ModelFailure, match="does not accept our certificate: unknown ca"):
        await link.capability("sesn_1", 1, "default")
    await link.close()


@pytest.mark.anyio
async def test_a_killed_vault_elsewhere_comes_back_to_its_callers(made: Deployment, vault: Part) -> None:
    context = peers.client_context(made.authority.issue("again", "harness"))
    link = VaultLink(vault_at(f"https://127.0.0.1:{made.ports['vault']}", context))
    assert await link.capability("sesn_1", 1, "default")
    os.kill(vault.pid("vault"), signal.SIGKILL)
    assert await link.capability("sesn_2", 1, "default")
    await link.close()


REFUSED: tuple[tuple[str, str, dict[str, str], str], ...] = (
    ("harness", "", {"OUTRIDER_DATABASE_URL": "postgres://x"}, "needs OUTRIDER_VAULT_URL"),
    ("api,harness,vault", "", {}, "needs OUTRIDER_SANDBOX_HOSTS"),
    ("api", "", {}, "two processes can't share SQLite: set OUTRIDER_DATABASE_URL"),
    ("vault", "", {}, "needs server.vault_listen"),
    ("sandbox", "", {}, "needs sandbox.listen"),
    ("sandbox", '[sandbox]\nlisten = "x"\n', {}, "sandbox.listen must be host:port"),
    ("sandbox", "", {"OUTRIDER_MODEL_KEY": "k"}, "OUTRIDER_MODEL_KEY is for the role vault alone"),
    ("sandbox", "", {"OUTRIDER_DATABASE_URL": "postgres://x"}, "for the roles api and harness"),
    ("vault", "", {"OUTRIDER_API_KEY": "0123456789abcdef"}, "for the roles api and harness"),
    ("api,harness,vault,sandbox", "", {"OUTRIDER_VAULT_URL": "https://v:1"}, "for an api or harness without a vault"),
    ("api,harness,sandbox", "", {"OUTRIDER_VAULT_URL": "http://v"}, "must be https://host:port"),
    ("api,harness", "", {"OUTRIDER_VAULT_URL": "https://v:1", "OUTRIDER_SANDBOX_HOSTS": "h"}, "name=https://host:port"),
    ("api,vaults", "", {}, "`vaults` is no role"),
)


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_a_role_without_what_it_needs_is_refused(number: int, made: Deployment) -> None:
    role, config, environment, reason = REFUSED[number]
    part = made.part(f"refused-{number}", "harness", config, environment)
    part.role = role
    assert reason in part.refusal()


def test_certificates_are_checked_before_anything_starts(made: Deployment) -> None:
    listen = '[sandbox]\nlisten = "127.0.0.1:1"\n'
    part = made.part("wrong", "harness", listen)
    part.role = "sandbox"
    assert "is for harness; this server needs sandbox" in part.refusal()
    part = made.part("loose", "sandbox", listen)
    (made.authority.place / "loose.key").chmod(0o644)
    assert "loose.key can be read by others" in part.refusal()
    part = made.part("torn", "sandbox", listen)
    (made.authority.place / "torn.pem").write_text("nothing")
    assert "must be a PEM certificate and its key" in part.refusal()
    part = made.part("none", "sandbox")
    (part.data / "config.toml").write_text(listen)
    assert "give ca, cert and key in the table [peers]" in part.refusal()


CREDENTIAL = "canary-5a0f1c77b2e94d10"


def test_an_api_by_itself_hands_credentials_to_the_vault_and_may_ask_it_for_nothing_else(
    made: Deployment, vault: Part, stage: Stage, postgres: PostgresServer
) -> None:
    """Over TLS, with a certificate for the role api alone."""
    environment = {"OUTRIDER_VAULT_URL": made.reach()["OUTRIDER_VAULT_URL"], "OUTRIDER_MODEL_URL": stage.url}
    environment |= {"OUTRIDER_API_KEY": KEY, "OUTRIDER_DATABASE_URL": postgres.url(postgres.database(), tcp=True)}
    part = made.part("api-alone", "api", "", environment)
    part.start()
    client = sdk_client(part.url(), KEY)
    owner = client.beta.vaults.create(display_name="apart")
    auth: Any = {"type": "static_bearer", "mcp_server_url": "https://a.example", "token": CREDENTIAL}
    credential = client.beta.vaults.credentials.create(owner.id, auth=auth)
    assert credential.to_dict()["auth"] == {"type": "static_bearer", "mcp_server_url": "https://a.example"}
    assert holding(vault.data / "vault", credential.id) != []
    assert holding(vault.data / "vault", CREDENTIAL) == []
