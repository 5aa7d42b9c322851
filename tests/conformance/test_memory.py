"""Memory stores, memories and versions: made, changed under conditions, listed by directory, redacted, erased."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from live_server import Server
from on_disk import until_gone
from turns import error_of, refused

from conformance.requirements import requirement

_numbers = itertools.count(1)


@pytest.fixture
def notes(client: Anthropic) -> str:
    return client.beta.memory_stores.create(name=f"store {next(_numbers)}").id


def add(client: Anthropic, notes: str, path: str, content: str = "", **more: Any) -> Any:
    return client.beta.memory_stores.memories.create(notes, path=path, content=content, **more)


def shown(client: Anthropic, notes: str, **query: Any) -> list[str]:
    return [item.path for item in client.beta.memory_stores.memories.list(notes, **query)]


def versions(client: Anthropic, notes: str, **query: Any) -> list[Any]:
    return list(client.beta.memory_stores.memory_versions.list(notes, **query))


def denied(code: int, ask: Callable[..., Any], *given: Any, **named: Any) -> str:
    """The message with which a request is refused."""
    with refused(code) as found:
        ask(*given, **named)
    return found.value.message


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@requirement("memory:store:create", "memory:store:update")
def test_a_store_is_made_read_and_changed(client: Anthropic) -> None:
    made = client.beta.memory_stores.create(name="notes", metadata={"team": "a"})
    told = made.to_dict()
    assert told == {
        "id": made.id, "type": "memory_store", "name": "notes", "description": "", "metadata": {"team": "a"},
        "created_at": told["created_at"], "updated_at": told["created_at"], "archived_at": None,
    }  # fmt: skip
    assert made.id.startswith("memstore_")
    assert client.beta.memory_stores.retrieve(made.id) == made
    assert client.beta.memory_stores.update(made.id) == made
    change: Any = {"team": None, "of": "b"}
    changed = client.beta.memory_stores.update(made.id, name="more", description="of all", metadata=change)
    assert (changed.name, changed.description, changed.metadata) == ("more", "of all", {"of": "b"})
    assert changed.updated_at > made.updated_at
    assert client.beta.memory_stores.update(made.id, description="").description == ""


@requirement("memory:store:create")
@pytest.mark.parametrize(
    "body", [{"name": ""}, {"name": "n" * 256}, {"name": "a\nb"}, {"name": "n", "description": "d" * 1025}]
)
def test_a_store_that_breaks_a_limit_is_refused_by_the_field(client: Anthropic, body: Any) -> None:
    error = denied(400, client.beta.memory_stores.create, **body)
    assert list(body)[-1] in error


@requirement("memory:store:list", "memory:store:archive")
def test_stores_are_listed_newest_first_and_archived_ones_when_asked_for(client: Anthropic) -> None:
    ids = [client.beta.memory_stores.create(name="listed").id for _ in range(3)]
    archived = client.beta.memory_stores.archive(ids[1])
    assert archived.archived_at is not None
    assert client.beta.memory_stores.archive(ids[1]) == archived
    since = client.beta.memory_stores.retrieve(ids[0]).created_at
    found = client.beta.memory_stores.list(created_at_gte=since, limit=1)
    assert [one.id for one in found] == [ids[2], ids[0]]
    whole = client.beta.memory_stores.list(created_at_gte=since, include_archived=True)
    assert [one.id for one in whole] == ids[::-1]
    assert list(client.beta.memory_stores.list(created_at_lte=datetime.fromisoformat("2020-01-01T00:00:00Z"))) == []


@requirement("memory:store:archived")
def test_an_archived_store_is_read_emptied_and_redacted_but_not_written(client: Anthropic, notes: str) -> None:
    memory = add(client, notes, "/a", "text")
    client.beta.memory_stores.archive(notes)
    denied(400, client.beta.memory_stores.update, notes, name="other")
    denied(400, add, client, notes, "/b")
    denied(400, client.beta.memory_stores.memories.update, memory.id, memory_store_id=notes, content="new")
    assert shown(client, notes) == ["/a"]
    client.beta.memory_stores.memories.delete(memory.id, memory_store_id=notes)
    redact = client.beta.memory_stores.memory_versions.redact
    assert redact(memory.memory_version_id, memory_store_id=notes).redacted_at is not None


@requirement("memory:store:delete")
def test_a_deleted_store_is_gone_with_all_that_it_held(client: Anthropic, server: Server, notes: str) -> None:
    canary = f"canary-{notes}-secret"
    memory = add(client, notes, "/a", canary)
    gone = client.beta.memory_stores.delete(notes)
    assert gone.to_dict() == {"id": notes, "type": "memory_store_deleted"}
    denied(404, client.beta.memory_stores.retrieve, notes)
    denied(404, client.beta.memory_stores.memories.retrieve, memory.id, memory_store_id=notes)
    denied(404, client.beta.memory_stores.memory_versions.list, notes)
    denied(404, client.beta.memory_stores.delete, notes)
    until_gone(server.data, canary)


@requirement("memory:create", "memory:view", "memory:content")
def test_a_memory_is_a_text_under_a_path_with_its_hash(client: Anthropic, notes: str) -> None:
    text = "Gr\u00fc\u00dfe \u0065\u0301 \r\n"
    made = add(client, notes, "/people/ada.md", text)
    told = made.to_dict()
    assert told == {
        "id": made.id, "type": "memory", "memory_store_id": notes, "memory_version_id": made.memory_version_id,
        "path": "/people/ada.md", "content": None, "content_sha256": sha256(text),
        "content_size_bytes": len(text.encode()), "created_at": told["created_at"], "updated_at": told["created_at"],
    }  # fmt: skip
    memories = client.beta.memory_stores.memories
    assert memories.retrieve(made.id, memory_store_id=notes).content == text
    assert memories.retrieve(made.id, memory_store_id=notes, view="basic").content is None
    assert add(client, notes, "/empty", "", view="full").content == ""
    denied(404, memories.retrieve, "mem_none", memory_store_id=notes)


@requirement("memory:content")
def test_content_is_limited_in_bytes(client: Anthropic, notes: str) -> None:
    most = "\u00e9" * 51_200
    assert add(client, notes, "/most", most).content_size_bytes == 102_400
    assert "content" in denied(400, add, client, notes, "/more", most + "x")


@requirement("memory:path")
@pytest.mark.parametrize(
    "path",
    ["", "a", "/", "/a/", "//a", "/a//b", "/.", "/a/../b", "/" + "/".join("a" * 21), "/" + "\u00e9" * 512,
     "/a\nb", "/a\u200bb", "/a\u2028b", "/e\u0301", "/.anthropic-memory-store"],
)  # fmt: skip
def test_a_path_that_breaks_a_rule_is_refused(client: Anthropic, notes: str, path: str) -> None:
    assert "path" in denied(400, add, client, notes, path)


@requirement("memory:path")
def test_paths_may_be_long_deep_and_in_any_language(client: Anthropic, notes: str) -> None:
    paths = ["/" + "/".join("a" * 20), "/" + "b" * 1023, "/\u65e5\u8a18 \u00e9.md"]
    for path in paths:
        assert add(client, notes, path).path == path
    assert shown(client, notes, limit=1) == paths


@requirement("memory:path:conflict", "memory:path:directory")
def test_a_taken_path_is_a_conflict_that_names_the_other_memory(
    client: Anthropic, raw: httpx2.Client, notes: str
) -> None:
    taken = add(client, notes, "/a/b")
    other = add(client, notes, "/c")
    for path in ("/a/b", "/a", "/a/b/c"):
        answer = raw.post(f"/v1/memory_stores/{notes}/memories", json={"path": path, "content": "x"})
        error_of(answer, 409, "memory_path_conflict_error")
        assert answer.headers["x-should-retry"] == "false"
        error = answer.json()["error"]
        assert (error["conflicting_memory_id"], error["conflicting_path"]) == (taken.id, "/a/b")
        denied(409, client.beta.memory_stores.memories.update, other.id, memory_store_id=notes, path=path)


@requirement("memory:update", "memory:update:nothing")
def test_an_update_changes_content_and_path_and_keeps_the_id(client: Anthropic, notes: str) -> None:
    made = add(client, notes, "/a", "one")
    update = client.beta.memory_stores.memories.update
    changed = update(made.id, memory_store_id=notes, content="two", view="full")
    assert (changed.id, changed.path, changed.content) == (made.id, "/a", "two")
    assert changed.memory_version_id != made.memory_version_id
    moved = update(made.id, memory_store_id=notes, path="/b/c")
    assert (moved.path, moved.content_sha256, moved.content) == ("/b/c", sha256("two"), None)
    nothing: list[Any] = [{}, {"content": "two"}, {"path": "/b/c"}]
    for same in nothing:
        assert update(made.id, memory_store_id=notes, **same) == moved
    assert [one.operation for one in versions(client, notes)] == ["modified", "modified", "created"]


@requirement("memory:precondition")
def test_a_precondition_guards_the_content_that_is_replaced(client: Anthropic, raw: httpx2.Client, notes: str) -> None:
    made = add(client, notes, "/a", "one")
    update = client.beta.memory_stores.memories.update

    def given(text: str) -> Any:
        return {"type": "content_sha256", "content_sha256": sha256(text)}

    assert update(made.id, memory_store_id=notes, content="two", precondition=given("one")).content_size_bytes == 3
    place = f"/v1/memory_stores/{notes}/memories/{made.id}"
    answer = raw.post(place, json={"content": "three", "precondition": given("one")})
    error_of(answer, 409, "memory_precondition_failed_error")
    denied(409, update, made.id, memory_store_id=notes, path="/b", precondition=given("one"))
    same = update(made.id, memory_store_id=notes, content="two", precondition=given("one"))
    assert same.content_sha256 == sha256("two")
    for wrong in ({"type": "content_sha256"}, {"type": "content_sha256", "content_sha256": "abc"}):
        assert "content_sha256" in denied(400, update, made.id, memory_store_id=notes, precondition=wrong)


@requirement("memory:delete", "memory:version:outlives")
def test_a_deletion_may_expect_a_hash_and_versions_outlive_it(client: Anthropic, notes: str) -> None:
    made = add(client, notes, "/a", "one")
    delete = client.beta.memory_stores.memories.delete
    denied(409, delete, made.id, memory_store_id=notes, expected_content_sha256=sha256("two"))
    denied(400, delete, made.id, memory_store_id=notes, expected_content_sha256="one")
    gone = delete(made.id, memory_store_id=notes, expected_content_sha256=sha256("one"))
    assert gone.to_dict() == {"id": made.id, "type": "memory_deleted"}
    denied(404, client.beta.memory_stores.memories.retrieve, made.id, memory_store_id=notes)
    last, first = versions(client, notes, view="full")
    assert (last.operation, last.path, last.content, last.content_sha256) == ("deleted", "/a", None, None)
    assert (first.operation, first.content, first.memory_id) == ("created", "one", made.id)


@requirement("memory:list", "memory:list:prefix", "memory:list:depth")
def test_memories_are_listed_by_path_and_by_directory(client: Anthropic, notes: str) -> None:
    paths = ["/a-b", "/a/1", "/a/b/2", "/a/b/3", "/a/c", "/d/e/f", "/g"]
    for path in reversed(paths):
        add(client, notes, path, path)
    assert shown(client, notes) == shown(client, notes, depth=0, limit=2) == paths
    assert shown(client, notes, path_prefix="/a/") == paths[1:5]
    for limit in (1, 2, 100):
        assert shown(client, notes, depth=1, limit=limit) == ["/a-b", "/a/", "/d/", "/g"]
        assert shown(client, notes, path_prefix="/a/", depth=1, limit=limit) == ["/a/1", "/a/b/", "/a/c"]
    kinds = [item.type for item in client.beta.memory_stores.memories.list(notes, depth=1, view="full")]
    assert kinds == ["memory", "memory_prefix", "memory_prefix", "memory"]
    listed: Any = client.beta.memory_stores.memories.list(notes, view="full", limit=2)
    assert [item.content for item in listed] == paths
    for wrong in ({"depth": 2}, {"path_prefix": "/a"}, {"path_prefix": "a/"}, {"limit": 101}, {"page": "x"}):
        denied(400, client.beta.memory_stores.memories.list, notes, **wrong)


@requirement("memory:list")
def test_a_page_with_contents_holds_twenty(client: Anthropic, notes: str) -> None:
    for number in range(22):
        add(client, notes, f"/{number:02}")
    page = client.beta.memory_stores.memories.list(notes, view="full", limit=100)
    assert len(page.data) == 20
    assert page.has_next_page()
    assert len(client.beta.memory_stores.memories.list(notes, limit=100).data) == 22


@requirement("memory:version:list", "memory:version:actor")
def test_versions_are_found_by_memory_operation_and_actor(client: Anthropic, notes: str) -> None:
    first, second = add(client, notes, "/a", "1"), add(client, notes, "/b", "2")
    client.beta.memory_stores.memories.update(first.id, memory_store_id=notes, content="3")
    whole = versions(client, notes)
    assert [(one.memory_id, one.operation) for one in whole] == [
        (first.id, "modified"), (second.id, "created"), (first.id, "created"),
    ]  # fmt: skip
    assert [one.content for one in whole] == [None] * 3
    assert whole[0].created_by.type == "api_actor"
    key = whole[0].created_by.api_key_id
    assert versions(client, notes, limit=1) == whole
    assert versions(client, notes, memory_id=first.id) == [whole[0], whole[2]]
    assert versions(client, notes, operation="created") == whole[1:]
    assert versions(client, notes, api_key_id=key) == whole
    assert versions(client, notes, session_id="sesn_1") == versions(client, notes, service_account_id="svac_1") == []
    assert versions(client, notes, created_at_gte=whole[1].created_at) == whole[:2]
    assert [one.content for one in versions(client, notes, view="full")] == ["3", "2", "1"]
    one = client.beta.memory_stores.memory_versions.retrieve(whole[0].id, memory_store_id=notes)
    assert (one.content, one.path, one.content_size_bytes) == ("3", "/a", 1)
    denied(404, client.beta.memory_stores.memory_versions.retrieve, "memver_none", memory_store_id=notes)
    denied(400, client.beta.memory_stores.memory_versions.list, notes, session_id="s", api_key_id="k")


@requirement("memory:version:redact", "memory:version:redact:head")
def test_redaction_takes_what_was_said_and_keeps_who_and_when(client: Anthropic, server: Server, notes: str) -> None:
    canary = f"canary-{notes}-redacted"
    made = add(client, notes, "/a", canary)
    redact = client.beta.memory_stores.memory_versions.redact
    denied(400, redact, made.memory_version_id, memory_store_id=notes)
    client.beta.memory_stores.memories.update(made.id, memory_store_id=notes, content="mild")
    gone = redact(made.memory_version_id, memory_store_id=notes)
    assert (gone.content, gone.path, gone.content_sha256, gone.content_size_bytes) == (None, None, None, None)
    assert (gone.operation, gone.memory_id, gone.created_at) == ("created", made.id, made.created_at)
    assert gone.redacted_by == gone.created_by
    assert redact(made.memory_version_id, memory_store_id=notes) == gone
    until_gone(server.data, canary)


@requirement("memory:most")
@pytest.mark.timeout(240)
def test_a_full_store_takes_no_more_and_can_still_be_changed(raw: httpx2.Client, client: Anthropic, notes: str) -> None:
    place = f"/v1/memory_stores/{notes}/memories"

    def put(number: int) -> int:
        return raw.post(place, json={"path": f"/{number:04}", "content": ""}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(put, range(2000))) == {200}
    error_of(raw.post(place, json={"path": "/more", "content": ""}), 400, "invalid_request_error")
    first: Any = client.beta.memory_stores.memories.list(notes).data[0]
    client.beta.memory_stores.memories.update(first.id, memory_store_id=notes, content="changed")
    assert len(shown(client, notes, limit=100)) == 2000


@requirement("memory:beta", "transport:beta:memory")
def test_memory_goes_by_its_own_beta_value_or_the_agents_one_but_not_by_both(raw: httpx2.Client) -> None:
    def asked(*betas: str) -> httpx2.Response:
        return raw.get("/v1/memory_stores", headers={"anthropic-beta": ",".join(betas)})

    own, agents = "agent-memory-2026-07-22", "managed-agents-2026-04-01"
    assert asked(own).status_code == asked(agents).status_code == asked(own, "unknown-2026-01-01").status_code == 200
    error_of(asked("unknown-2026-01-01"), 404, "not_found_error")
    error_of(asked(own, agents), 400, "invalid_request_error")


@pytest.mark.anyio
async def test_the_asynchronous_client_lives_through_a_store(server: Server) -> None:
    async with AsyncAnthropic(base_url=server.url, api_key=server.key, max_retries=0) as client:
        stores = client.beta.memory_stores
        store = await stores.create(name="async")
        memory = await stores.memories.create(store.id, path="/a", content="1")
        await stores.memories.update(memory.id, memory_store_id=store.id, content="2")
        assert [item.path async for item in stores.memories.list(store.id)] == ["/a"]
        assert [one.operation async for one in stores.memory_versions.list(store.id)] == ["modified", "created"]
        await stores.memories.delete(memory.id, memory_store_id=store.id)
        await stores.archive(store.id)
        assert (await stores.delete(store.id)).type == "memory_store_deleted"
