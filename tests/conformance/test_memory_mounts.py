"""Memory stores of sessions: attached when one is made, mounted in its sandbox, and what agents write there."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from anthropic import Anthropic
from conftest_types import Play
from live_server import Server
from on_disk import entries
from session_talk import Talk
from turns import TOOLSET, every, refused

from conformance.requirements import requirement
from outrider.models.scripted.script import Request, ToolUse, Turn

_numbers = itertools.count(1)
Notes = Callable[..., str]


@pytest.fixture
def notes(client: Anthropic) -> Notes:
    """Make a store with these memories; its id. Its name becomes a directory of its own."""

    def make(name: str | None = None, /, *, description: str = "", **memories: str) -> str:
        store = client.beta.memory_stores.create(name=name or f"Notes {next(_numbers)}", description=description).id
        for path, content in memories.items():
            client.beta.memory_stores.memories.create(store, path=f"/{path.replace('__', '/')}.md", content=content)
        return store

    return make


@pytest.fixture(scope="module")
def made(client: Anthropic) -> dict[str, str]:
    agent = client.beta.agents.create(name="tester", model="model-for-memory")
    return {"agent": agent.id, "environment_id": client.beta.environments.create(name="tests").id}


def attach(store: str, **more: Any) -> Any:
    return {"type": "memory_store", "memory_store_id": store, **more}


def session_with(client: Anthropic, made: dict[str, str], *resources: Any) -> Any:
    fields: Any = made | {"resources": list(resources)}
    return client.beta.sessions.create(**fields)


def bash(command: str) -> Turn:
    return Turn(ToolUse("bash", {"command": command}))


def contents(client: Anthropic, store: str) -> dict[str, str | None]:
    found: Any = client.beta.memory_stores.memories.list(store, view="full")
    return {one.path: one.content for one in found}


def versions(client: Anthropic, store: str) -> list[tuple[str, str, str]]:
    """(operation, path, who) of each change, oldest first."""
    found: Any = list(client.beta.memory_stores.memory_versions.list(store))
    return [(one.operation, one.path, one.created_by.type) for one in reversed(found)]


def results(talk: Talk) -> list[tuple[bool, str]]:
    found = every(talk.history(), "agent.tool_result")
    return [(bool(one.is_error), "\n".join(block.text for block in one.content)) for one in found]


def turn(talk: Talk) -> list[tuple[bool, str]]:
    before = len(results(talk))
    talk.say("go")
    talk.wait(seconds=60)
    return results(talk)[before:]


@requirement("resources:memory:form", "memory:session:resource", "sessions:list:memory-store")
def test_a_sessions_stores_are_shown_as_they_were_when_it_was_made(
    client: Anthropic, made: dict[str, str], notes: Notes
) -> None:
    first, second = notes("Über Team: Notes!", description="Who is who"), notes("Other")
    session = session_with(client, made, attach(first, access="read_only", instructions="Read it."), attach(second))
    shown = [one.to_dict() for one in session.resources]
    assert shown == [
        {
            "type": "memory_store", "memory_store_id": first, "access": "read_only", "instructions": "Read it.",
            "name": "Über Team: Notes!", "description": "Who is who", "mount_path": "/mnt/memory/-ber-team-notes-",
        },
        {
            "type": "memory_store", "memory_store_id": second, "access": "read_write", "instructions": None,
            "name": "Other", "description": "", "mount_path": "/mnt/memory/other",
        },
    ]  # fmt: skip
    client.beta.memory_stores.update(second, name="Renamed")
    assert [one.to_dict() for one in client.beta.sessions.retrieve(session.id).resources] == shown
    listed = [one.to_dict() for one in client.beta.sessions.resources.list(session.id)]
    assert sorted(listed, key=str) == sorted(shown, key=str)
    page = client.beta.sessions.resources.list(session.id, limit=1)
    assert sorted((one.to_dict() for one in page), key=str) == sorted(shown, key=str)
    assert [one.id for one in client.beta.sessions.list(memory_store_id=first)] == [session.id]
    assert list(client.beta.sessions.list(memory_store_id="memstore_none")) == []
    client.beta.sessions.delete(session.id)
    assert list(client.beta.sessions.list(memory_store_id=first)) == []


@requirement("resources:memory:form", "memory:session:resource")
def test_what_can_not_be_attached_is_refused(client: Anthropic, made: dict[str, str], notes: Notes) -> None:
    store, archived = notes(), notes()
    client.beta.memory_stores.archive(archived)
    for code, words, resources in (
        (404, "memstore_none", [attach("memstore_none")]),
        (400, "archived", [attach(archived)]),
        (400, "twice", [attach(store), attach(store)]),
        (400, "instructions", [attach(store, instructions="x" * 4097)]),
        (400, "access", [attach(store, access="all")]),
        (400, "at most 8", [attach(notes()) for _ in range(9)]),
    ):
        with refused(code, words):
            session_with(client, made, *resources)
    session = session_with(client, made, attach(store))
    with refused(400):
        client.beta.sessions.resources.add(session.id, type="file", file_id="", extra_body=attach(store))
    client.beta.memory_stores.archive(store)
    assert client.beta.sessions.retrieve(session.id).resources


@requirement("memory:session:mount", "tools:paths:memory")
def test_stores_with_one_name_have_directories_of_their_own(client: Anthropic, play: Play, notes: Notes) -> None:
    stores = [notes("Same", a="first"), notes("same", a="second")]
    talk = play(bash("cd /mnt/memory && ls && cat same/a.md same-2/a.md"), Turn("Done."), tools=[TOOLSET],
                resources=[attach(one) for one in stores])  # fmt: skip
    assert turn(talk) == [(False, "same\nsame-2\nfirstsecond")]


@requirement("memory:session:mount", "memory:session:write", "memory:version:actor")
def test_what_an_agent_writes_is_versions_by_its_session(client: Anthropic, play: Play, notes: Notes) -> None:
    store = notes("Diary", old="old", gone="gone", people__ada="Ada")
    here = "cd /mnt/memory/diary && "
    talk = play(
        bash(f"{here}cat old.md people/ada.md; echo -n new > old.md; rm gone.md; mkdir -p deep/er; echo x > deep/er/x"),
        Turn(ToolUse("write", {"file_path": "/mnt/memory/diary/note.md", "content": "w"})),
        Turn(ToolUse("edit", {"file_path": "/mnt/memory/diary/note.md", "old_string": "w", "new_string": "edited"})),
        bash(f"{here}mv note.md moved.md; touch old.md; mkdir empty; ls"),
        Turn("Done."),
        tools=[TOOLSET],
        resources=[attach(store)],
    )
    assert [error for error, _ in turn(talk)] == [False] * 4
    assert contents(client, store) == {
        "/old.md": "new", "/people/ada.md": "Ada", "/deep/er/x": "x\n", "/moved.md": "edited"
    }  # fmt: skip
    own = versions(client, store)[3:]
    assert {who for _, _, who in own} == {"session_actor"}
    assert [(what, path) for what, path, _ in own] == [
        ("deleted", "/gone.md"), ("created", "/deep/er/x"), ("modified", "/old.md"), ("created", "/note.md"),
        ("modified", "/note.md"), ("deleted", "/note.md"), ("created", "/moved.md"),
    ]  # fmt: skip
    by_session: Any = list(client.beta.memory_stores.memory_versions.list(store, session_id=talk.id))
    assert [one.created_by.session_id for one in by_session] == [talk.id] * len(own)
    assert list(client.beta.memory_stores.memory_versions.list(store, session_id="sesn_other")) == []


@requirement("memory:session:read-only")
def test_a_read_only_store_and_the_place_of_all_can_not_be_written(client: Anthropic, play: Play, notes: Notes) -> None:
    store = notes("Fixed", a="a")
    talk = play(
        bash("cd /mnt/memory/fixed; cat a.md; echo x > a.md; rm a.md; touch b; chmod 777 . ; ls /mnt/memory/fixed"),
        Turn(ToolUse("write", {"file_path": "/mnt/memory/fixed/b.md", "content": "w"})),
        bash("mkdir /mnt/memory/mine; touch /mnt/memory/x; ls /mnt/memory"),
        Turn("Done."), tools=[TOOLSET], resources=[attach(store, access="read_only")],
    )  # fmt: skip
    (_, first), (failed, second), (_, third) = turn(talk)
    assert first.count("Read-only file system") == 4
    assert (first.startswith("a"), first.endswith("a.md")) == (True, True)
    assert failed
    assert "read-only" in second
    assert third.endswith("fixed")
    assert contents(client, store) == {"/a.md": "a"}


@requirement("memory:session:prompt")
def test_the_agent_is_told_which_stores_it_has(client: Anthropic, play: Play, notes: Notes) -> None:
    seen: list[str] = []

    def decide(request: Request) -> Turn:
        seen.append("\n".join(block["text"] for block in request.body["system"]))
        return Turn("Done.")

    rw, ro = notes("Diary of all", description="What happened"), notes("Rules", description="")
    resources = [attach(rw, instructions="Write daily."), attach(ro, access="read_only")]
    turn(play(decide=decide, tools=[TOOLSET], resources=resources))
    told = (
        "- Diary of all, at /mnt/memory/diary-of-all (you may read and write)",
        "  What happened",
        "  Write daily.",
        "- Rules, at /mnt/memory/rules (read-only)",
    )
    assert "\n".join(told) in seen[0]
    turn(play(decide=decide, tools=[TOOLSET]))
    assert "/mnt/memory" not in seen[-1]


@requirement("memory:session:limits")
def test_what_no_memory_can_be_is_an_error_of_the_call_and_put_back(
    client: Anthropic, play: Play, notes: Notes
) -> None:
    store = notes("Odd", a="a")
    here = "cd /mnt/memory/odd && "
    talk = play(
        bash(f"{here}head -c 102401 /dev/zero | tr '\\0' x > a.md; echo ok > b.md"),
        bash(f"{here}wc -c < a.md; ls; (head -c 102396 /dev/zero | tr '\\0' y; echo end) > d.md; "
             "printf '\\377' > bin; ln -s /etc/passwd link; mkfifo pipe; "
             "echo tab > $'t\\tab'"),
        Turn(ToolUse("edit", {"file_path": "/mnt/memory/odd/d.md", "old_string": "end", "new_string": "longer"})),
        bash(f"{here}ls; tail -c 4 d.md | wc -c; head -c 102400 /dev/zero | tr '\\0' z > a.md"),
        Turn("Done."), tools=[TOOLSET], resources=[attach(store)],
    )  # fmt: skip
    first, second, third, fourth = turn(talk)
    assert first[0]
    assert "/mnt/memory/odd/a.md: file too large" in first[1]
    assert "b.md" not in first[1]
    assert second[0]
    assert second[1].startswith("1\na.md\nb.md\n")
    for words in ("bin: a memory is UTF-8", "link: only regular", "pipe: only regular", "t\tab: path: Input"):
        assert words in second[1]
    assert (third[0], "d.md: file too large" in third[1]) == (True, True)
    assert fourth == (False, "a.md\nb.md\nd.md\n4")
    assert contents(client, store) == {"/a.md": "z" * 102_400, "/b.md": "ok\n", "/d.md": "y" * 102_396 + "end\n"}


@requirement("memory:session:conflict", "memory:session:shared")
def test_writers_of_one_store_see_each_other_and_never_undo_each_other_unseen(
    client: Anthropic, play: Play, notes: Notes, server: Server
) -> None:
    store = notes("Both", a="a", b="b", c="c")
    memories = client.beta.memory_stores.memories
    listed: Any = list(memories.list(store))
    ids: dict[str, str] = {one.path: one.id for one in listed}

    def decide(request: Request) -> Turn:
        if request.replies == 1:  # between two calls
            memories.update(ids["/a.md"], memory_store_id=store, content="theirs")
            memories.delete(ids["/b.md"], memory_store_id=store)
            memories.create(store, path="/d/e.md", content="fresh")
        here = "cd /mnt/memory/both; "
        turns = (
            bash(f"{here}cat *"),
            bash(f"{here}cat a.md; ls; touch /workspace/begun; until [ -e /workspace/go ]; do sleep 0.02; done;"
                 " echo mine > c.md; rm a.md"),
            bash(f"{here}cat a.md c.md"), Turn("Done."),
        )  # fmt: skip
        return turns[request.replies]

    talk = play(decide=decide, tools=[TOOLSET], resources=[attach(store)])
    talk.say("go")
    workspace = server.data / "sandboxes" / "sessions" / talk.id / "own" / "workspace"
    until(lambda: (workspace / "begun").exists())
    memories.update(ids["/c.md"], memory_store_id=store, content="their c")
    memories.update(ids["/a.md"], memory_store_id=store, content="their second a")
    (workspace / "go").touch()
    talk.wait(seconds=60)
    first, second, third = results(talk)
    assert first == (False, "abc")
    assert second[1].startswith("theirsa.md\nc.md\nd")
    assert second[0]
    assert "/mnt/memory/both/c.md: it was changed by somebody else" in second[1]
    assert "/mnt/memory/both/a.md: it was changed by somebody else" in second[1]
    assert third == (False, "their second atheir c")
    assert contents(client, store) == {"/a.md": "their second a", "/c.md": "their c", "/d/e.md": "fresh"}


def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


@requirement("memory:session:limits")
def test_a_full_or_archived_store_refuses_and_a_deleted_one_is_empty(
    client: Anthropic, play: Play, notes: Notes, server: Server
) -> None:
    store = notes("Ending", a="canary-of-a-store")
    here = "cd /mnt/memory/ending && "
    talk = play(
        bash(f"{here}cat a.md"), Turn("1"), bash(f"{here}echo x > a.md; echo y > b.md"), Turn("2"),
        bash(f"{here}ls; rm a.md"), Turn("3"), bash(f"{here}ls; echo z > c.md"), Turn("4"),
        tools=[TOOLSET], resources=[attach(store)],
    )  # fmt: skip
    assert turn(talk) == [(False, "canary-of-a-store")]
    client.beta.memory_stores.archive(store)
    ((failed, text),) = turn(talk)
    assert failed
    assert text.count("is archived") == 2
    assert turn(talk) == [(False, "a.md")]
    assert contents(client, store) == {}
    client.beta.memory_stores.delete(store)
    ((failed, text),) = turn(talk)
    assert (failed, "the memory store was deleted" in text) == (True, True)
    own = server.data / "sandboxes" / "sessions" / talk.id / "own"
    assert not [place for place in entries(own / "memory", "*") if place.is_file()]
    client.beta.sessions.delete(talk.id)
    assert not own.exists()
