"""Skills and memory stores at the SDK's own worker, unmodified: brought along, used by the agent, written back.

The worker has a process of its own, in which `/mnt` is its own, too: memory stores have to be where agents are told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic, AuthenticationError
from conftest_types import Play
from live_server import Server
from session_talk import Talk
from test_skills import loose, skill_file, zipped
from turns import TOOLSET, every, refused, text_of
from workers import environment_of, key_of, own_mnt, token_of, until_now, without_work, worker_apart

from conformance.requirements import requirement
from outrider.models.scripted.script import ToolUse, Turn

NOTES, RULES = "/mnt/memory/notes", "/mnt/memory/house-rules"
LOOK = "skills/greeting/scripts/hello.sh; cat {notes}/known.md {rules}/rule.md; ls {notes}"
WRITE = "cd {notes} && echo made > made.md && echo changed > known.md && rm gone.md && mkdir deep && echo x > deep/x.md"
DEFY = "echo mine > {rules}/rule.md; echo more > {rules}/more.md"


@dataclass
class Stores:
    """One that the session may write, and one that it may read."""

    client: Anthropic
    notes: str
    rules: str

    def resources(self) -> list[dict[str, Any]]:
        return [
            {"type": "memory_store", "memory_store_id": self.notes, "access": "read_write"},
            {"type": "memory_store", "memory_store_id": self.rules, "access": "read_only"},
        ]

    def contents(self, store: str) -> dict[str, str]:
        listed: Any = self.client.beta.memory_stores.memories.list(store, view="full")
        return {memory.path: memory.content for memory in listed}

    def written(self, talk: Talk) -> list[tuple[str, str, str]]:
        """What the session is said to have done: operation, path, actor."""
        versions: Any = self.client.beta.memory_stores.memory_versions.list(self.notes, session_id=talk.id)
        return sorted((one.operation, str(one.path), one.created_by.type) for one in versions)


@pytest.fixture
def stores(client: Anthropic) -> Stores:
    api = client.beta.memory_stores
    made = Stores(client, api.create(name="Notes").id, api.create(name="House rules").id)
    for path in ("known", "gone", "kept"):
        api.memories.create(made.notes, path=f"/{path}.md", content=f"{path}\n")
    api.memories.create(made.rules, path="/rule.md", content="the rule\n")
    return made


def turned_away(asks: Callable[[], object]) -> bool:
    """Keys that were revoked are trusted for a second at most."""
    try:
        asks()
    except AuthenticationError:
        return True
    return False


def bash(command: str) -> ToolUse:
    return ToolUse("bash", {"command": command.format(notes=NOTES, rules=RULES)})


def at_a_worker(play: Play, stores: Stores, environment: str, *turns: Turn) -> Talk:
    skills = stores.client.beta.skills
    made = [skills.create(files=[("s.zip", zipped(mode=0o100755))]), skills.create(files=loose(description="Another."))]
    agent = {"skills": [{"type": "custom", "skill_id": skill.id} for skill in made]}
    return play(*turns, tools=[TOOLSET], agent=agent, environment_id=environment, resources=stores.resources())


@requirement("helpers:environment-worker", "memory:session:worker", "skills:on-demand")
def test_a_session_at_a_worker_uses_its_skill_and_its_memories_and_what_it_writes_comes_back(
    play: Play, client: Anthropic, server: Server, stores: Stores, tmp_path: Path
) -> None:
    environment = environment_of(client)
    reading = ToolUse("read", {"file_path": "skills/greeting/SKILL.md"})
    other = bash("cat skills/greeting.2/SKILL.md")
    noting = ToolUse("write", {"file_path": f"{NOTES}/by-tool.md", "content": "written"})
    refusing = ToolUse("write", {"file_path": f"{RULES}/by-tool.md", "content": "written"})
    turns = (Turn(reading, bash(LOOK), other), Turn(noting, refusing), Turn(bash(WRITE), bash(DEFY)), Turn("Done."))
    talk = at_a_worker(play, stores, environment, *turns)
    talk.say("go")
    with worker_apart(server.url, environment, key_of(client, environment), tmp_path / "w", before=own_mnt()):
        until_now(lambda: "Done." in [text_of(one) for one in every(talk.history(), "agent.message")])
        without_work(client, environment)
    results = every(talk.history(), "user.tool_result")
    assert skill_file().decode().strip() in "\n".join(text_of(results[0]).splitlines())
    assert text_of(results[1]).split("\n")[:3] == ["hello", "known", "the rule"]
    assert [bool(one.is_error) for one in results] == [False, False, False, False, True, False, False]
    assert "description: Another." in text_of(results[2])
    assert stores.contents(stores.notes) == {
        "/by-tool.md": "written",
        "/deep/x.md": "x\n",
        "/kept.md": "kept\n",
        "/known.md": "changed\n",
        "/made.md": "made\n",
    }
    assert stores.written(talk) == [
        ("created", "/by-tool.md", "session_actor"),
        ("created", "/deep/x.md", "session_actor"),
        ("created", "/made.md", "session_actor"),
        ("deleted", "/gone.md", "session_actor"),
        ("modified", "/known.md", "session_actor"),
    ]
    assert stores.contents(stores.rules) == {"/rule.md": "the rule\n"}


@requirement("memory:session:worker:access")
def test_a_token_reaches_the_stores_of_its_session_with_their_access_and_an_environments_key_none(
    play: Play, client: Anthropic, server: Server, stores: Stores
) -> None:
    environment = environment_of(client)
    key, other = key_of(client, environment), client.beta.memory_stores.create(name="Others").id
    talk = at_a_worker(play, stores, environment, Turn(bash("ls")))
    talk.say("go")
    talk.wait()
    with server.client() as base:
        worker = base.with_options(api_key=key)
        item: Any = worker.beta.environments.work.poll(environment)
        memories = base.with_options(api_key=token_of(item)).beta.memory_stores.memories
        assert memories.create(stores.notes, path="/a.md", content="a").path == "/a.md"
        rule: Any = next(iter(memories.list(stores.rules)))
        with refused(403, "read-only"):
            memories.create(stores.rules, path="/a.md", content="a")
        with refused(403, "read-only"):
            memories.update(rule.id, memory_store_id=stores.rules, content="a")
        with refused(403, "read-only"):
            memories.delete(rule.id, memory_store_id=stores.rules)
        with refused(404, other):
            memories.list(other)
        with refused(403):
            worker.beta.memory_stores.memories.list(stores.notes)
        worker.beta.environments.work.stop(item.id, environment_id=environment, force=True)
        until_now(lambda: turned_away(lambda: memories.list(stores.notes)))
        with refused(401):
            memories.create(stores.notes, path="/late.md", content="late")
    assert stores.contents(stores.rules) == {"/rule.md": "the rule\n"}
