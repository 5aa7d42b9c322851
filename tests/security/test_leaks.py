"""A hostile harness, a reader of memory and a thief of backups, on a running server with canaries in its vault."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic

from outrider.links.vault import VaultLink
from outrider.ports.egress import EgressClaim, EgressCredential
from outrider.testing.leaks.disguises import disguises
from outrider.testing.leaks.places import files, in_memory, processes, sandbox_processes
from outrider.testing.leaks.planted import Planted
from outrider.testing.server_process import DEADLINE, ServerProcess, data_directory, running_server

ROOT = os.geteuid() == 0
UNRESTRICTED: dict[str, Any] = {"type": "unrestricted"}
TRIES = 60


class Scene:
    """One server, its canaries planted, sessions with sandboxes: one that may use them, one that may
    not, and one in whose name a hostile harness asks."""

    def __init__(self, server: ServerProcess, client: Anthropic) -> None:
        self.server = server
        self.client = client
        self.planted = Planted(client)
        self.planted.plant("scripted/tools")
        for with_vault in (True, False, True):
            self.planted.run("sleep 300 & env", scripted=True, with_vault=with_vault)
        self.may, self.may_not, self.claimed = self.planted.sessions
        self.wanted = disguises(self.planted.word.encode())
        self.workspace = self._workspace()

    def _workspace(self) -> str:
        claims = (self.server.data / "vault" / "egress-claims.jsonl").read_text().splitlines()
        return json.loads(claims[0])["workspace"]

    def credential(self, **changes: Any) -> EgressCredential:
        known: dict[str, Any] = {
            "name": "STOLEN",
            "workspace": self.workspace,
            "vault": self.planted.vault,
            "credential": self.planted.credentials[2],
            "version": 1,
            "networking": UNRESTRICTED,
            "header": True,
            "body": True,
        }
        return EgressCredential(**{**known, **changes})

    def claim(self, session: str, epoch: int, *credentials: EgressCredential) -> str:
        """What the vault answers a harness that asks for this."""

        async def ask() -> str:
            async with VaultLink(self.server.data / "run" / "vault.sock") as link:
                try:
                    await link.egress.claim(EgressClaim(session, epoch, self.workspace, UNRESTRICTED, (), credentials))
                except Exception as error:  # the test reads which
                    return type(error).__name__
                return "granted"

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def scene() -> Generator[Scene]:
    with data_directory() as data, running_server(data) as server:
        with Anthropic(base_url=server.until_up(), api_key=server.key(), max_retries=2) as client:
            yield Scene(server, client)


def test_a_harness_gets_a_credential_only_for_a_session_that_declared_its_vault(scene: Scene) -> None:
    assert scene.claim(scene.claimed, 1000, scene.credential()) == "granted"
    assert scene.claim(scene.may_not, 1000, scene.credential()) == "NotDeclared"
    assert scene.claim("sesn_invented", 1, scene.credential()) == "NotDeclared"
    assert scene.claim(scene.claimed, 1000, scene.credential(vault="vlt_other")) == "NotDeclared"
    assert scene.claim(scene.claimed, 1000, scene.credential(workspace="wrkspc_other")) == "NotDeclared"


def test_an_older_epoch_is_refused_also_by_a_vault_that_was_killed_meanwhile(scene: Scene) -> None:
    assert scene.claim(scene.claimed, 2000, scene.credential()) == "granted"
    assert scene.claim(scene.claimed, 1999, scene.credential()) == "Fenced"
    before = scene.server.children()["vault"]
    os.kill(before, signal.SIGKILL)
    scene.server.until_replaced("vault", before)
    assert scene.claim(scene.claimed, 1999, scene.credential()) == "Fenced"
    assert scene.claim(scene.claimed, 2000, scene.credential()) == "granted"


def test_a_backup_holds_no_canary_and_no_key(scene: Scene, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "outrider", "backup", "--data", str(scene.server.data), str(tmp_path / "b")]
    subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    key = (scene.server.data / "vault" / "key").read_bytes().strip()
    sight = files([tmp_path / "b"], {*scene.wanted, key, key.partition(b":")[2]})
    assert sight.looked > 1
    assert (sight.hits, sight.blind) == ([], [])
    assert str(tmp_path / "b" / "sandboxes.tar.zst") in files([tmp_path / "b"], {scene.may.encode()}).hits


@pytest.mark.skipif(not ROOT, reason="others' memory is closed to an ordinary user")
def test_no_process_but_the_vault_holds_a_canary_and_a_sandbox_never_did(scene: Scene) -> None:
    children = scene.server.children()
    pids = {"supervisor": scene.server.process.pid, **{name: children[name] for name in ("zygote", "scripted")}}
    sandboxes = sandbox_processes(scene.server.data)
    sight = processes({**pids, **sandboxes}, scene.wanted)
    stayed = sandboxes.keys() & sandbox_processes(scene.server.data).keys()  # some live for a moment only
    assert len(stayed) >= 2
    assert 3 * (len(pids) + len(stayed)) <= sight.looked <= 3 * (len(pids) + len(sandboxes))
    assert (sight.hits, sight.blind) == ([], [])


@pytest.mark.skipif(not ROOT, reason="others' memory is closed to an ordinary user")
def test_what_the_api_took_in_is_overwritten_by_later_requests_of_the_same_kind(scene: Scene) -> None:
    """Python can't promise when; that nothing holds on to it can be seen."""
    vault = scene.client.beta.vaults.create(display_name="later").id
    credentials = scene.client.beta.vaults.credentials

    def post(token: str) -> str:
        auth: Any = {"type": "static_bearer", "mcp_server_url": "https://later.invalid", "token": token}
        return credentials.create(vault, auth=auth).id

    canary = Planted(scene.client).word
    first = post(canary)
    server = scene.server.children()["server"]
    for number in range(TRIES):
        credentials.archive(first, vault_id=vault)
        first = post(f"other-token-{number:014d}")
        if not in_memory(server, disguises(canary.encode())):
            return
    pytest.fail(f"still there after {TRIES} other secrets")


@pytest.mark.skipif(not ROOT, reason="others' memory is closed to an ordinary user")
def test_a_new_server_process_has_no_canary_after_it_drove_the_session(scene: Scene) -> None:
    before = scene.server.children()["server"]
    os.kill(before, signal.SIGKILL)
    new = scene.server.until_replaced("server", before)
    scene.server.until_up()
    with scene.client.beta.sessions.events.stream(scene.may) as stream:
        text: Any = [{"type": "text", "text": "bash: echo $AUDIT_TOKEN"}]
        scene.client.beta.sessions.events.send(scene.may, events=[{"type": "user.message", "content": text}])
        said: list[str] = []
        for event in stream:
            said.append(event.to_json())
            if event.type == "session.status_idle":
                break
    assert any("outr_secret_" in one for one in said)
    assert in_memory(new, scene.wanted) == set()


def test_nothing_that_a_client_can_read_shows_a_canary(scene: Scene) -> None:
    scene.planted.history()
    shown = [*scene.planted.said, scene.server.said()]
    assert not [one for one in shown if any(found in one.encode() for found in scene.wanted)]


ALONE = """
import json, os, socket, sys
from pathlib import Path
from outrider.config import Settings
from outrider.endpoints import Endpoint, Endpoints
from outrider.server import main
listener = socket.socket(fileno=int(sys.argv[1]))
settings = Settings(data=Path(sys.argv[2]))
for place in (settings.data, settings.run): place.mkdir(mode=0o700, exist_ok=True)
endpoints = Endpoints((Endpoint(name="far", profile="messages", base_url="http://127.0.0.1:9", auth="x-api-key",
                                secret="env:OUTRIDER_MODEL_KEY", claims=("any",)),), None)
import atexit
atexit.register(lambda: print(json.dumps(sorted(m for m in sys.modules if m.startswith("outrider.")))))
main(settings, listener, endpoints=endpoints, key_digest="0" * 64)
"""


def test_harness_and_api_run_without_any_vault_and_have_nothing_to_load_a_secret_with(tmp_path: Path) -> None:
    """Their composition root by itself, no vault process, no socket of one anywhere, a key and secrets on the disk."""
    canary = Planted(Anthropic(api_key="none")).word
    vault = tmp_path / "data" / "vault"
    vault.mkdir(parents=True)
    (vault / "key").write_text(canary)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        command = [sys.executable, "-c", ALONE, str(listener.fileno()), str(tmp_path / "data")]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()], stdout=subprocess.PIPE, text=True)
        try:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            assert json.load(urllib.request.urlopen(f"{address}/healthz", timeout=DEADLINE))
            with pytest.raises(urllib.error.HTTPError) as unready:
                urllib.request.urlopen(f"{address}/readyz", timeout=DEADLINE)
            assert b"vault" in unready.value.read()
            if ROOT:
                assert in_memory(process.pid, disguises(canary.encode())) == set()
        finally:
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=DEADLINE)
    loaded = json.loads(said.splitlines()[-1])
    assert "outrider.harness.loop" in loaded
    assert "outrider.api.routes.credentials" in loaded
    assert not [name for name in loaded if name.split(".")[1] in ("vault", "vaultd", "proxy")]
