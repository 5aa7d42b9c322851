"""Kills the vault at each of its writes and calls: a client that tries again gets what it asked for, no secret is lost
or left over, and what a session has declared is kept or was never needed."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from anthropic import Anthropic
from kill_matrix import KEEPS
from kill_stores import SEED, Database

from conformance.oauth_scene import Scene, running_scene
from outrider.testing.server_process import ServerProcess, data_directory, running_server
from outrider.testing.stops import Stops

TODAY = ("before", "after")[SEED % 2]
"""On which side of each write and call the vault is killed in this run: the other one is for another day."""
POINTS = sorted(f"{place}.{when}" for place in KEEPS for when in ("before", "after"))
numbers = count()


@dataclass
class Deployment:
    server: ServerProcess
    oauth: Scene
    stops: Stops
    client: Anthropic
    database: Database

    def __post_init__(self) -> None:
        self.vault = self.client.beta.vaults.create(display_name="killed").id
        self.agent = self.client.beta.agents.create(name="a", model="scripted/echo").id
        self.place = self.client.beta.environments.create(name="e").id

    @property
    def api(self) -> Any:
        return self.client.beta.vaults.credentials

    def add(self) -> str:
        self.oauth.access, self.oauth.refresh = f"given-access-{next(numbers)}", f"given-refresh-{next(numbers)}"
        auth: Any = {
            "type": "mcp_oauth",
            "mcp_server_url": f"{self.oauth.url}/mcp/{next(numbers)}",
            "access_token": self.oauth.access,
            "refresh": {
                "refresh_token": self.oauth.refresh,
                "client_id": "client",
                "token_endpoint": f"{self.oauth.url}/token",
                "token_endpoint_auth": {"type": "none"},
            },
        }
        return str(self.api.create(self.vault, auth=auth).id)

    def validate(self, credential: str) -> str:
        return str(self.api.mcp_oauth_validate(credential, vault_id=self.vault).status)

    def expire(self, *, refused: bool = False) -> None:
        """The access token is good no more, nor the refresh token if `refused`."""
        self.oauth.access = "gone"
        if refused:
            self.oauth.refresh = "gone"

    def stored(self, name: str) -> int:
        with closing(sqlite3.connect(f"file:{self.server.data}/vault/secrets.db?mode=ro", uri=True)) as db:
            return db.execute("SELECT count(*) FROM secrets WHERE credential = ?", (name,)).fetchone()[0]

    @contextmanager
    def killed_at(self, point: str) -> Generator[None]:
        """The vault dies when it comes there for the first time in the block, and it must come."""
        before = self.server.children()["vault"]
        self.stops.want(point)
        killer = threading.Thread(target=self._kill)
        killer.start()
        yield
        killer.join(30)
        assert self.server.until_replaced("vault", before)

    def _kill(self) -> None:
        stop = self.stops.held()
        if stop is not None:
            os.kill(stop.pid, signal.SIGKILL)
            stop.go()


@pytest.fixture(scope="module")
def scene(database: Database) -> Generator[Deployment]:
    with running_scene() as oauth, data_directory() as data, Stops() as stops:
        data.mkdir(mode=0o711)
        (data / "config.toml").write_text('[mcp]\nallow_private = ["127.0.0.1"]\n')
        with running_server(data, environment=database.environment, faults=stops.theirs) as server:
            server.until_settled()
            with Anthropic(base_url=server.until_up(), api_key=server.key(), max_retries=8) as client:
                yield Deployment(server, oauth, stops, client, database)


def test_a_credential_is_stored_changed_and_erased_once_whenever_the_vault_dies(scene: Deployment) -> None:
    with scene.killed_at(f"vault.put.{TODAY}"):
        credential = scene.add()
    assert scene.validate(credential) == "valid"
    scene.oauth.access = "changed"
    with scene.killed_at(f"vault.put.{TODAY}"):
        scene.api.update(credential, vault_id=scene.vault, auth={"type": "mcp_oauth", "access_token": "changed"})
    assert scene.validate(credential) == "valid"
    with scene.killed_at(f"vault.purge.{TODAY}"):
        scene.api.archive(credential, vault_id=scene.vault)
    assert scene.stored(credential) == 0


@pytest.mark.parametrize("place", ["vault.probe", "vault.audit"])
def test_a_credential_is_tried_again_when_the_vault_dies_on_its_way(scene: Deployment, place: str) -> None:
    credential = scene.add()
    with scene.killed_at(f"{place}.{TODAY}"):
        assert scene.validate(credential) == "valid"


@pytest.mark.parametrize("point", ["vault.refresh.before", f"vault.put.{TODAY}"])
def test_a_refresh_is_made_once_whenever_the_vault_dies(scene: Deployment, point: str) -> None:
    """But for a rotated token that was never stored: nobody can know it any more, and the API says so."""
    credential = scene.add()
    scene.expire()
    with scene.killed_at(point):
        status = scene.validate(credential)
    assert status == ("invalid" if point == "vault.put.before" else "valid")


def test_a_rotated_token_that_died_with_the_vault_is_said_to_be_invalid_and_can_be_replaced(scene: Deployment) -> None:
    credential = scene.add()
    scene.expire()
    with scene.killed_at("vault.refresh.after"):
        assert scene.validate(credential) == "invalid"
    scene.oauth.access = "replaced"
    scene.api.update(credential, vault_id=scene.vault, auth={"type": "mcp_oauth", "access_token": "replaced"})
    assert scene.validate(credential) == "valid"


def test_what_the_vault_has_to_tell_is_told_whenever_it_dies(scene: Deployment) -> None:
    credential = scene.add()
    scene.expire(refused=True)
    with scene.killed_at(f"vault.tell.{TODAY}"):
        assert scene.validate(credential) == "invalid"
    with scene.killed_at(f"vault.forget.{TODAY}"):  # of another one: housekeeping may have heard of the first by now
        other = scene.add()
        scene.expire(refused=True)
        assert scene.validate(other) == "invalid"
        scene.api.retrieve(other, vault_id=scene.vault)
    for name in (credential, other):
        scene.api.retrieve(name, vault_id=scene.vault)
        told = scene.database.select(scene.server.data, "SELECT type FROM changes WHERE object = {name}", name)
        assert ("vault_credential.refresh_failed",) in told


def test_a_session_is_declared_whenever_the_vault_dies(scene: Deployment) -> None:
    with scene.killed_at(f"vault.declare.{TODAY}"):
        session = scene.client.beta.sessions.create(
            agent=scene.agent, environment_id=scene.place, vault_ids=[scene.vault]
        )
    assert scene.stored(session.id) == 1
