"""Deletion is erasure: of what a client deletes, no byte is left in any file of the server or row of its database."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import pytest
from anthropic import Anthropic
from live_server import Server, Stage, data_directory, serving
from session_talk import Talk, message

from outrider.models.scripted.script import Text, ToolUse, Turn
from outrider.testing.leaks.disguises import disguises, holds
from outrider.testing.leaks.places import files
from outrider.testing.postgres_server import PostgresServer, binaries

CONFIG = "[limits]\nbackoff_first = 0.05\nsandbox_idle = 0.2\n"
TOOLSET: Any = [{"type": "agent_toolset_20260401"}]
LARGE = 300_000  # bytes: such a body lies in the blob store
SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Scene:
    server: Server
    client: Anthropic
    stage: Stage
    dump: Callable[[], bytes]

    def holding(self, canary: str) -> list[str]:
        """Where it is: files of the data directory, the server's log, the database."""
        wanted = disguises(canary.encode())
        sight = files([self.server.data.parent], wanted)
        assert sight.looked > 5
        assert not [place for place in sight.blind if "run/" not in place], sight.blind
        return sight.hits + (["the database"] if holds(self.dump(), wanted) else [])

    def until_gone(self, canary: str) -> None:
        """Files of a sandbox go by a process of its own, soon after the answer."""
        deadline = time.monotonic() + SECONDS
        while found := self.holding(canary):
            assert time.monotonic() < deadline, found
            threading.Event().wait(0.2)


def nothing() -> bytes:
    return b""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def scene(request: pytest.FixtureRequest) -> Generator[Scene]:
    environment: dict[str, str] = {}
    dump = nothing
    if request.param == "postgres":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        url = postgres.url(postgres.database(), tcp=True)
        environment["OUTRIDER_DATABASE_URL"] = url

        def dumped() -> bytes:
            command = [binaries() / "pg_dump", "--data-only", url]
            return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout

        dump = dumped
    with Stage().open() as stage, data_directory() as data:
        environment |= {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "k"}
        with serving(data, environment, config=CONFIG) as server, server.client() as client:
            yield Scene(server, client, stage, dump)


def canary(scene: Scene, name: str) -> str:
    """A word that is nowhere else."""
    word = f"canary-{name}-{time.monotonic_ns()}"
    assert not scene.holding(word)
    return word


def test_a_deleted_session_leaves_nothing(scene: Scene) -> None:
    word = canary(scene, "session")
    command = f"echo {word} | tee kept /mnt/session/outputs/{word}.txt /tmp/{word}"
    uses = Turn(Text(f"{word} "), ToolUse("bash", {"command": command}))
    scene.stage.put("eraser", uses, Turn(f"{word} done"), Turn(f"{word} again"))
    beta = scene.client.beta
    agent = beta.agents.create(name="eraser", model="eraser", tools=TOOLSET)
    environment = beta.environments.create(name="eraser")
    lent = beta.files.upload(file=("lent.txt", b"lent"))
    first: Any = [message(word)]
    session = beta.sessions.create(
        agent={"type": "agent_with_overrides", "id": agent.id, "system": f"Say {word}."},
        environment_id=environment.id,
        title=word,
        metadata={"word": word},
        initial_events=first,
        resources=[{"type": "file", "file_id": lent.id, "mount_path": f"/{word}.md"}],
    )
    talk = Talk(scene.client, session.id)
    talk.wait()
    talk.say(word + "x" * LARGE + word)
    talk.wait()
    beta.sessions.update(session.id, metadata={"word": None, "other": word})
    assert len(scene.holding(word)) >= 2
    beta.sessions.delete(session.id)
    scene.until_gone(word)


def test_a_deleted_file_leaves_nothing_of_its_content(scene: Scene) -> None:
    word, beta = canary(scene, "file"), scene.client.beta
    made = [beta.files.upload(file=("erased.txt", word.encode() * times)) for times in (1, 100_000)]
    assert scene.holding(word)
    for one in made:
        beta.files.delete(one.id)
    scene.until_gone(word)


def test_a_deleted_memory_leaves_nothing_of_its_content(scene: Scene) -> None:
    word, stores = canary(scene, "memory"), scene.client.beta.memory_stores
    store = stores.create(name="erased").id
    memory = stores.memories.create(store, path="/erased.md", content=word)
    stores.memories.update(memory.id, memory_store_id=store, content=f"{word} two")
    assert scene.holding(word)
    stores.memories.delete(memory.id, memory_store_id=store)
    for version in stores.memory_versions.list(store):
        stores.memory_versions.redact(version.id, memory_store_id=store)
    scene.until_gone(word)


def test_a_deleted_memory_store_leaves_nothing_of_its_memories(scene: Scene) -> None:
    word, stores = canary(scene, "store"), scene.client.beta.memory_stores
    store = stores.create(name="erased").id
    stores.memories.create(store, path="/erased.md", content=word)
    assert scene.holding(word)
    stores.delete(store)
    scene.until_gone(word)


def test_a_deleted_vault_leaves_nothing_of_its_secrets(scene: Scene) -> None:
    """They were ciphertext before; what is looked for is the ciphertext's record and, at all times, the secret."""
    word, vaults = canary(scene, "vault"), scene.client.beta.vaults
    vault = vaults.create(display_name="erased").id
    auth: Any = {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com/x", "token": word}
    credential = vaults.credentials.create(vault, auth=auth).id
    assert not scene.holding(word)
    assert scene.holding(credential)
    vaults.delete(vault)
    assert not scene.holding(word)


def test_the_name_of_a_thing_that_is_deleted_is_not_left_in_the_log_of_changes(scene: Scene) -> None:
    """The store's write-ahead log is emptied with every deletion. (Answers kept for retries are held to a day.)"""
    word, environments = canary(scene, "environment"), scene.client.beta.environments
    made = environments.create(name="erased").id
    environments.update(made, description=word, extra_headers={"idempotency-key": word})
    environments.update(made, description="")
    environments.delete(made)
    left = scene.holding(word)
    assert not [place for place in left if place.endswith("-wal")], left
