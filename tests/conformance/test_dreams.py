"""Dreams through the SDK: the scripted model edits memories in a real sandbox, over a copy of the store or in place."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from conftest_types import Play
from live_server import Server, Stage
from on_disk import entries
from sdk_clients import sdk_client
from session_talk import message
from turns import TOOLSET, refused

from conformance.requirements import requirement
from outrider.models.scripted.script import Barrier, HttpError, Pause, Request, Text, ToolUse, Turn
from outrider.resources.dreamer import AGENT, ENVIRONMENT, SYSTEM

_numbers = itertools.count(1)
DEADLINE = 60.0
SECRET = "the ledger is kept in ledger.csv"
TRANSCRIPTS = "/mnt/session/uploads/transcripts"


def inputs(store: str, *sessions: str) -> list[Any]:
    return [{"type": "memory_store", "memory_store_id": store}, {"type": "sessions", "session_ids": list(sessions)}]


def in_place(store: str) -> Any:
    return {"type": "update_existing", "memory_store_id": store}


class Scene:
    """A memory store, and sessions that have happened."""

    def __init__(self, client: Anthropic, stage: Stage, play: Play) -> None:
        self.client, self.stage, self.play = client, stage, play
        self.api = client.beta.dreams
        self.model = f"dreamer-{next(_numbers)}"

    def store(self, **memories: str) -> str:
        store = self.client.beta.memory_stores.create(name="Notes", description="d", metadata={"a": "b"}).id
        for name, content in memories.items():
            self.client.beta.memory_stores.memories.create(store, path=f"/{name}.md", content=content)
        return store

    def session(self) -> str:
        agent = self.client.beta.agents.create(name="worker", model="model-that-never-answers").id
        place = self.client.beta.environments.create(name="tests").id
        return self.client.beta.sessions.create(agent=agent, environment_id=place, title="Empty").id

    def past(self) -> str:
        """In which something was said, and done with a tool."""
        talk = self.play(Turn("I look.", ToolUse("bash", {"command": "echo found it"})), Turn("Done."), tools=[TOOLSET])
        talk.send(message(SECRET))
        talk.wait(seconds=DEADLINE)
        return talk.id

    def dream(self, store: str, *sessions: str, turns: tuple[Any, ...] = (), decide: Any = None, **more: Any) -> Any:
        self.stage.put(self.model, *turns, decide=decide)
        return self.api.create(inputs=inputs(store, *sessions), model=self.model, **more)

    def standing(self, store: str, *sessions: str, **more: Any) -> Any:
        """A dream whose model stands at a barrier, after it has written something."""
        turns = (bash("cd /mnt/memory/notes && echo -n half > half.md"), Turn(Text(Barrier(self.model), "Done.")))
        dream = self.dream(store, *sessions, turns=turns, **more)
        self.stage.arrived(self.model)
        return dream

    def contents(self, store: str) -> dict[str, str | None]:
        found: Any = self.client.beta.memory_stores.memories.list(store, view="full")
        return {one.path: one.content for one in found}

    def until(self, look: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            if found := look():
                return found
            threading.Event().wait(0.05)
        raise AssertionError(f"not within {DEADLINE} s: {what}")

    def ended(self, dream: str) -> Any:
        def look() -> Any:
            found = self.api.retrieve(dream)
            return found if found.ended_at is not None else None

        return self.until(look, f"the end of {dream}")

    def closed(self, dream: Any) -> Any:
        """Its session, once that is archived."""
        session = self.api.retrieve(dream.id).session_id
        assert session is not None

        def look() -> Any:
            found = self.client.beta.sessions.retrieve(session)
            return found if found.archived_at is not None and not files(found) else None

        return self.until(look, f"session {session} is archived and cleared")


def files(session: Any) -> list[Any]:
    return [one for one in session.resources if one.type == "file"]


def bash(command: str) -> Turn:
    return Turn(ToolUse("bash", {"command": command}))


@pytest.fixture
def scene(client: Anthropic, stage: Stage, play: Play) -> Scene:
    return Scene(client, stage, play)


@requirement(
    "dreams:create", "dreams:session", "dreams:transcripts", "dreams:outputs", "dreams:usage", "dreams:create-new",
    "dreams:instructions", "dreams:model", "dreams:retrieve",
)  # fmt: skip
def test_a_dream_rewrites_a_copy_of_the_store_from_what_sessions_did(scene: Scene, server: Server) -> None:
    store, past, other = scene.store(old="stale", twice="one", again="one"), scene.past(), scene.session()
    seen: list[Request] = []
    here = "cd /mnt/memory/notes && "
    turns = [
        bash(f"cat {TRANSCRIPTS}/{past}.txt; echo x >> {TRANSCRIPTS}/{past}.txt; ls {TRANSCRIPTS}; ls /mnt/memory/*"),
        bash(f"{here}rm old.md again.md && echo -n 'one fact' > twice.md && echo -n ledger > ledger.md"),
        bash(f"{here}grep -r . | sort"),
        Turn("I merged two and dropped one."),
    ]

    def decide(request: Request) -> Turn:
        seen.append(request)
        return turns[len(seen) - 1]

    made = scene.dream(store, past, other, decide=decide, instructions="Keep it very short.")
    assert made.to_dict() | {"session_id": None, "outputs": []} == {
        "id": made.id, "type": "dream", "status": made.status, "inputs": inputs(store, *sorted((past, other))),
        "outputs": [], "model": {"id": scene.model}, "instructions": "Keep it very short.", "session_id": None,
        "output_behavior": {"type": "create_new"}, "error": None, "created_at": made.to_dict()["created_at"],
        "ended_at": None, "archived_at": None,
        "usage": {
            "input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0
        },
    }  # fmt: skip
    assert (made.id[:4], made.status, made.outputs, made.session_id) == ("drm_", "pending", [], None)
    done = scene.ended(made.id)
    assert (done.status, done.error, done.ended_at > done.created_at) == ("completed", None, True)
    (output,) = done.outputs
    assert output.memory_store_id != store
    assert scene.contents(store) == {"/old.md": "stale", "/twice.md": "one", "/again.md": "one"}
    assert scene.contents(output.memory_store_id) == {"/twice.md": "one fact", "/ledger.md": "ledger"}
    copied = scene.client.beta.memory_stores.retrieve(output.memory_store_id)
    assert (copied.name, copied.description, copied.metadata) == ("Notes", "d", {"a": "b"})
    versions: Any = list(scene.client.beta.memory_stores.memory_versions.list(output.memory_store_id))
    assert {one.created_by.session_id for one in versions} == {done.session_id}
    assert [one.operation for one in versions].count("created") == 4
    check_session(scene, done, server)
    check_prompts(seen, past, other)


def on_disk(server: Server, place: str, name: str) -> bool:
    """Whether anything is called like it, also while what is there is being erased."""
    return bool(entries(server.data / place, f"*{name}*"))


def check_session(scene: Scene, done: Any, server: Server) -> None:
    """Nothing of it is left but its log."""
    session = scene.client.beta.sessions.retrieve(done.session_id)
    assert (session.status, session.archived_at is not None, files(session)) == ("terminated", True, [])
    assert (session.agent.id, session.environment_id, session.title) == (AGENT, ENVIRONMENT, f"Dream {done.id}")
    assert list(scene.client.beta.files.list(scope_id=session.id)) == []
    assert not on_disk(server, "sandboxes", session.id)
    used, total = done.usage.output_tokens, session.usage.output_tokens
    assert used == total
    assert used > 0
    assert sum(done.usage.to_dict().values()) > used
    scene.client.beta.sessions.delete(session.id)
    assert scene.api.retrieve(done.id) == done


def check_prompts(seen: list[Request], past: str, other: str) -> None:
    system = "\n".join(block["text"] for block in seen[0].body["system"])
    assert SYSTEM in system
    assert "/mnt/memory/notes (you may read and write)" in system
    assert "Keep it very short." in str(seen[0].body["messages"][0])
    assert {tool["name"] for tool in seen[0].body["tools"]} == {"bash", "edit", "glob", "grep", "read", "write"}
    read = str(seen[1].body["messages"][-1])
    for words in (SECRET, "agent uses bash", "echo found it", "Done.", "Read-only file system", f"{other}.txt"):
        assert words in read
    assert past in read


@requirement("dreams:update-existing", "dreams:update-existing:conflict")
@pytest.mark.anyio
async def test_a_dream_in_place_has_its_store_for_itself(scene: Scene, server: Server) -> None:
    store, past = scene.store(a="a"), scene.session()
    first = scene.standing(store, past, output_behavior=in_place(store))
    async with AsyncAnthropic(base_url=server.url, api_key=server.key, max_retries=0) as client:
        with refused(409, first.id):
            await client.beta.dreams.create(
                inputs=inputs(store, past), model=scene.model, output_behavior=in_place(store)
            )
        assert [one.memory_store_id for one in (await client.beta.dreams.retrieve(first.id)).outputs] == [store]
        scene.stage.release(scene.model)
        assert scene.ended(first.id).status == "completed"
        assert scene.contents(store) == {"/a.md": "a", "/half.md": "half"}
        slow = scene.stage.put(f"{scene.model}-slow", Turn("Done.", first_byte=Pause(60)))
        second = await client.beta.dreams.create(
            inputs=inputs(store, past), model=slow, output_behavior=in_place(store)
        )
        canceled = await client.beta.dreams.cancel(second.id)
        archived = await client.beta.dreams.archive(second.id)
        assert (canceled.status, archived.status, archived.archived_at is not None) == ("canceled", "canceled", True)
        listed = [one.id async for one in client.beta.dreams.list(include_archived=True, limit=1)]
        assert listed[:2] == [second.id, first.id]


@requirement("dreams:references", "dreams:inputs")
def test_what_can_not_be_dreamed_is_refused(scene: Scene) -> None:
    store, other, past = scene.store(), scene.store(), scene.session()
    archived = scene.store()
    scene.client.beta.memory_stores.archive(archived)
    of_store, of_sessions = inputs(store, past)
    for code, words, fields in (
        (404, "memstore_none", {"inputs": inputs("memstore_none", past)}),
        (404, "sesn_none", {"inputs": inputs(store, past, "sesn_none")}),
        (400, "archived", {"inputs": inputs(archived, past)}),
        (400, "once", {"inputs": inputs(store, past, past)}),
        (400, "session_ids", {"inputs": inputs(store)}),
        (400, "session_ids", {"inputs": inputs(store, *(f"sesn_{number}" for number in range(101)))}),
        (400, "one memory_store and one sessions", {"inputs": [of_store, of_store]}),
        (400, "inputs", {"inputs": [of_store]}),
        (400, "inputs", {"inputs": [of_store, of_sessions, of_sessions]}),
        (400, "speed", {"model": {"id": "any-model", "speed": "fast"}}),
        (400, "model", {"model": ""}),
        (400, "instructions", {"instructions": ""}),
        (400, "instructions", {"instructions": "x" * 4097}),
        (400, "output_behavior", {"output_behavior": in_place(other)}),
    ):
        whole: Any = {"inputs": inputs(store, past), "model": "any-model"} | fields
        with refused(code, words):
            scene.api.create(**whole)
    for verb in (scene.api.retrieve, scene.api.cancel, scene.api.archive):
        with refused(404, "drm_none"):
            verb("drm_none")


@requirement("dreams:permission")
def test_a_key_that_may_not_write_stores_may_look_at_dreams_only(scene: Scene, server: Server) -> None:
    store, past = scene.store(), scene.session()
    asked = {"authorization": f"Bearer {server.key}"}
    made = httpx2.post(f"{server.url}/outrider/v1/keys", headers=asked, json={"name": "u", "scope": "user"}).json()
    user = sdk_client(server.url, made["key"])
    user.beta.dreams.list(limit=1)
    with refused(403, "developer"):
        user.beta.dreams.create(inputs=inputs(store, past), model="m", output_behavior=in_place(store))


@requirement("dreams:beta")
def test_without_the_beta_there_are_no_dreams(server: Server) -> None:
    for beta, code in (("managed-agents-2026-04-01", 404), ("dreaming-2026-04-21", 200)):
        headers = {"authorization": f"Bearer {server.key}", "anthropic-beta": beta}
        assert httpx2.get(f"{server.url}/v1/dreams", headers=headers).status_code == code


@requirement("dreams:cancel", "dreams:archive", "dreams:outputs", "dreams:session", "dreams:transcripts")
def test_a_canceled_dream_is_so_at_once_and_keeps_what_it_wrote(scene: Scene, server: Server) -> None:
    store, past = scene.store(a="a"), scene.session()
    dream = scene.standing(store, past)
    session: Any = scene.client.beta.sessions.retrieve(scene.api.retrieve(dream.id).session_id or "")
    (transcript,) = files(session)
    kept = [("blobs", transcript.file_id), ("sandboxes", session.id)]
    assert all(on_disk(server, place, name) for place, name in kept)
    with refused(400, "running"):
        scene.api.archive(dream.id)
    (output,) = scene.api.retrieve(dream.id).outputs
    canceled = scene.api.cancel(dream.id)
    assert (canceled.status, canceled.error, canceled.ended_at is not None) == ("canceled", None, True)
    assert scene.closed(dream).status == "terminated"
    scene.until(lambda: not any(on_disk(server, place, name) for place, name in kept), "its files are gone")
    assert scene.contents(output.memory_store_id) == {"/a.md": "a", "/half.md": "half"}
    again = scene.api.cancel(dream.id)
    assert (again.status, again.ended_at) == ("canceled", canceled.ended_at)
    archived = scene.api.archive(dream.id)
    assert (archived.status, archived.archived_at is not None) == ("canceled", True)
    assert scene.api.archive(dream.id) == archived == scene.api.retrieve(dream.id)


@requirement("dreams:inputs:removed", "dreams:error")
@pytest.mark.parametrize("removed", ["store", "session"])
def test_a_dream_fails_when_what_it_reads_is_removed(scene: Scene, removed: str) -> None:
    store, past = scene.store(a="a"), scene.session()
    dream = scene.standing(store, past)
    if removed == "store":
        scene.client.beta.memory_stores.delete(store)
    else:
        scene.client.beta.sessions.delete(past)
    failed = scene.ended(dream.id)
    kind = {"store": "input_memory_store_unavailable", "session": "input_session_unavailable"}[removed]
    assert (failed.status, failed.error.type) == ("failed", kind)
    assert {"store": store, "session": past}[removed] in failed.error.message
    assert scene.closed(dream).archived_at is not None
    assert "/half.md" in scene.contents(failed.outputs[0].memory_store_id)
    with refused(400, "failed"):
        scene.api.cancel(dream.id)
    assert scene.api.archive(dream.id).status == "failed"


@requirement("dreams:error")
@pytest.mark.parametrize("what", ["model", "interrupt", "delete"])
def test_a_dream_fails_when_its_session_does(scene: Scene, what: str) -> None:
    store, past = scene.store(), scene.session()
    if what == "model":
        dream = scene.dream(store, past, turns=(HttpError(400, "invalid_request_error"),))
    else:
        dream = scene.standing(store, past)
        session, api = scene.api.retrieve(dream.id).session_id, scene.client.beta.sessions
        assert session is not None
        api.events.send(session, events=[{"type": "user.interrupt"}])
        if what == "delete":
            scene.until(lambda: api.retrieve(session).status != "running", "it stands still")
            api.delete(session)
    failed = scene.ended(dream.id)
    assert (failed.status, failed.error.type) == ("failed", "internal_error")
    assert failed.session_id in failed.error.message


@requirement("dreams:model", "dreams:create-new")
def test_what_is_the_default_can_be_said(scene: Scene) -> None:
    slow = scene.stage.put(scene.model, Turn("Done.", first_byte=Pause(60)))
    model: Any = {"id": slow, "speed": "standard"}
    whole: Any = {"model": model, "output_behavior": {"type": "create_new"}, "instructions": None}
    made = scene.api.create(inputs=inputs(scene.store(), scene.session()), **whole)
    scene.api.cancel(made.id)
    assert made.model.to_dict() == model
    assert (made.output_behavior.type, made.instructions) == ("create_new", None)


@requirement("dreams:list")
def test_dreams_are_listed_newest_first_by_status_and_time(scene: Scene) -> None:
    store, past = scene.store(), scene.session()
    dreams = [scene.dream(store, past, turns=(Turn("Done."),)) for _ in range(2)]
    slow = scene.stage.put(f"{scene.model}-slow", Turn("Done.", first_byte=Pause(60)))
    dreams.append(scene.api.create(inputs=inputs(store, past), model=slow))
    ids = [one.id for one in dreams]
    scene.api.cancel(ids[2])
    for dream in ids:
        scene.ended(dream)
    ours: Any = {"created_at_gt": dreams[0].created_at}
    assert [one.id for one in scene.api.list(**ours)] == ids[:0:-1]
    assert [one.id for one in scene.api.list(created_at_lt=dreams[2].created_at, limit=1)][:2] == ids[1::-1]
    assert [one.id for one in scene.api.list(statuses=["canceled"], **ours)] == ids[2:]
    assert [one.id for one in scene.api.list(statuses=["completed", "failed"], **ours)] == ids[1:2]
    scene.api.archive(ids[1])
    assert [one.id for one in scene.api.list(**ours)] == ids[2:]
    assert [one.id for one in scene.api.list(include_archived=True, **ours)] == ids[:0:-1]
    with refused(400, "statuses"):
        list(scene.api.list(statuses=["asleep"]))  # type: ignore[list-item]
    with refused(400, "limit"):
        list(scene.api.list(limit=101))
