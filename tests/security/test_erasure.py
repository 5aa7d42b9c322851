"""Deletion is erasure: of what a client deletes, no byte is left in any file of the server or row of its database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from live_server import Server, Stage, data_directory, serving
from people import done, headers
from sdk_clients import sdk_client
from session_talk import Talk, message
from webhook_receiver import ask as ask_of_webhooks

from conformance.requirements import requirement
from outrider.models.scripted.script import Text, ToolUse, Turn
from outrider.testing.leaks.disguises import disguises, holds
from outrider.testing.leaks.places import files
from outrider.testing.postgres_server import PostgresServer, dumped

CONFIG = "[limits]\nbackoff_first = 0.05\nsandbox_idle = 0.2\n"
TOOLSET: Any = [{"type": "agent_toolset_20260401"}]
LARGE = 300_000  # bytes: such a body lies in the blob store
SECONDS = 60.0
pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True, slots=True)
class Scene:
    server: Server
    client: Anthropic
    stage: Stage
    dump: Callable[[], bytes]
    environment: dict[str, str]

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
        dump = partial(dumped, url)
    with Stage().open() as stage, data_directory() as data:
        environment |= {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "k"}
        with serving(data, environment, config=CONFIG) as server, server.client() as client:
            yield Scene(server, client, stage, dump, environment)


def ask(scene: Scene, method: str, path: str, body: Any = None) -> Any:
    """Of webhooks."""
    return ask_of_webhooks(scene.server.url, scene.server.key, method, path, body)


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
    done(scene.server.data, "session", "cold", session.id, environment=scene.environment)
    assert any("/cold" in place for place in scene.holding(word))
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
    memory = stores.memories.create(store, path="/erased.md", content=word, view="full")
    stores.memories.update(memory.id, memory_store_id=store, content=f"{word} two", view="full")
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


@requirement("transport:retry:erased")
def test_a_deleted_thing_leaves_nothing_in_answers_that_are_kept_for_retries(scene: Scene) -> None:
    """All that was said of it was also an answer to a request that made or changed it."""
    word, beta = canary(scene, "answers"), scene.client.beta
    environment = beta.environments.create(name=word).id
    beta.environments.update(environment, description=word, extra_headers={"idempotency-key": word})
    vault = beta.vaults.create(display_name=word).id
    beta.vaults.update(vault, metadata={"word": word})
    auth: Any = {"type": "static_bearer", "mcp_server_url": f"https://{word}.example.com/x", "token": "t"}
    beta.vaults.credentials.create(vault, display_name=word, auth=auth)
    store = beta.memory_stores.create(name=word, description=word).id
    file = beta.files.upload(file=(f"{word}.txt", b"erased")).id
    skill = beta.skills.create(files=[("a/SKILL.md", f"---\nname: erased\ndescription: {word}\n---\n".encode())])
    webhook = ask(scene, "POST", "", {"url": f"https://{word}.example.com/", "enabled_events": ["vault.created"]})["id"]
    ask(scene, "POST", f"/{webhook}", {"description": word})
    assert scene.holding(word)
    beta.environments.delete(environment)
    beta.vaults.delete(vault)
    beta.memory_stores.delete(store)
    beta.files.delete(file)
    beta.skills.delete(skill.id)
    ask(scene, "DELETE", f"/{webhook}")
    scene.until_gone(word)


@requirement("transport:retry:erased")
def test_a_redacted_text_leaves_nothing_though_its_memory_lives_on(scene: Scene) -> None:
    word, stores = canary(scene, "redacted"), scene.client.beta.memory_stores
    store = stores.create(name="erased").id
    memory = stores.memories.create(store, path="/kept.md", content=word, view="full")
    stores.memories.update(memory.id, memory_store_id=store, content="another", view="full")
    assert scene.holding(word)
    stores.memory_versions.redact(memory.memory_version_id, memory_store_id=store)
    scene.until_gone(word)
    assert stores.memories.retrieve(memory.id, memory_store_id=store).content == "another"


def doomed(scene: Scene, word: str) -> tuple[str, str]:
    """A workspace with something of everything, all of it named by this word, and a session in the middle of a call.
    Its id, and that of a credential in it."""
    data, told = scene.server.data, scene.environment
    workspace = done(data, "workspaces", "create", word, environment=told)
    key = done(data, "keys", "create", word, "--scope", "admin", "--workspace", workspace, environment=told)
    client = sdk_client(scene.server.url, key)
    beta = client.beta
    slow = ToolUse("bash", {"command": f"echo {word} | tee kept /mnt/session/outputs/{word}.txt; sleep 300"})
    fast = ToolUse("bash", {"command": f"echo {word} | tee kept /mnt/session/outputs/{word}.txt"})
    vault = beta.vaults.create(display_name=word).id
    auth: Any = {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com/x", "token": "a token"}
    credential = beta.vaults.credentials.create(vault, auth=auth, display_name=word).id
    store = beta.memory_stores.create(name=word, description=word).id
    beta.memory_stores.memories.create(store, path=f"/{word}.md", content=word, view="full")
    beta.files.upload(file=(f"{word}.txt", word.encode() * 10_000))
    beta.skills.create(files=[("a/SKILL.md", f"---\nname: erased\ndescription: {word}\n---\n".encode())])
    webhook = {"url": f"https://hooks.example.invalid/{word}", "enabled_events": ["vault.created", "session.deleted"]}
    ask_of_webhooks(scene.server.url, key, "POST", "", webhook)
    beta.vaults.create(display_name=word)
    environment = beta.environments.create(name=word, description=word).id
    for model, use in ((f"fast-{workspace}", fast), (f"slow-{workspace}", slow)):
        scene.stage.put(model, Turn(Text(word), use), Turn(word))
        agent = beta.agents.create(name=word, model=model, tools=TOOLSET).id
        talk = Talk(client, beta.sessions.create(agent=agent, environment_id=environment, vault_ids=[vault]).id)
        with talk.stream() as reader:
            talk.say(word + "x" * LARGE)
            reader.until("agent.tool_use" if use is slow else "session.status_idle")
    said: Any = [message(word)]
    beta.deployments.create(name=word, agent=agent, environment_id=environment, initial_events=said)
    return workspace, credential


@requirement("transport:workspace:delete")
def test_a_deleted_workspace_leaves_nothing(scene: Scene) -> None:
    word = canary(scene, "workspace")
    workspace, credential = doomed(scene, word)
    url, mine = f"{scene.server.url}/outrider/v1/workspaces/{workspace}", headers(scene.server.key)
    open_still = httpx2.delete(url, headers=mine)
    assert (open_still.status_code, open_still.json()["error"]["type"]) == (409, "conflict_error")
    assert "close it first" in open_still.json()["error"]["message"]
    done(scene.server.data, "workspaces", "archive", workspace, environment=scene.environment)
    assert len(scene.holding(word)) >= 2
    assert scene.holding(credential)
    before = scene.client.beta.agents.create(name="of another workspace", model="m").id
    deadline = time.monotonic() + SECONDS
    answers = [httpx2.delete(url, headers=mine, timeout=20).status_code]
    while answers[-1] != 404:
        assert answers[-1] == 202
        assert time.monotonic() < deadline
        threading.Event().wait(0.1)
        answers.append(httpx2.delete(url, headers=mine, timeout=20).status_code)
    assert answers[0] == 202
    scene.until_gone(word)
    scene.until_gone(credential)
    listed = done(scene.server.data, "workspaces", "list", "--all", environment=scene.environment)
    assert workspace not in listed
    assert scene.client.beta.agents.retrieve(before).id == before
