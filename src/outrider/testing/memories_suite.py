"""The contract of the port `memory`: what every store of memories must do."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from outrider.errors import Conflict, Fenced, InvalidRequest, MemoryPathConflict, MemoryPreconditionFailed, NotFound
from outrider.ports.log import SessionKey
from outrider.ports.memory import MOST_MEMORIES, Attachment, MemoryRecord, MemoryStoreRecord, VersionFilter, Write
from outrider.ports.records import Page, SessionFilter
from outrider.testing.store_trial import Contract, Trial, record, refused

MEMORIES_CONTRACTS: list[Contract] = []
A, B = "wrkspc_a", "wrkspc_b"
NONE = VersionFilter()


def contract(function: Contract) -> Contract:
    MEMORIES_CONTRACTS.append(function)
    return function


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000Z"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(number: int, *, workspace: str = A, store: str = "memstore_1", actor: str = "apikey_1") -> Write:
    """The version takes its name from the number, which is its second, too."""
    return Write(workspace, store, f"memver_{number:02}", at(number), "api_actor", actor)


async def opened(trial: Trial, name: str = "memstore_1", *, second: int = 0) -> MemoryStoreRecord:
    made = MemoryStoreRecord(A, name, at(second), at(second), None, b"{}")
    await trial.store.create_memory_store(made)
    return made


async def paths(trial: Trial, prefix: str = "", *, after: str = "", limit: int = 99) -> list[str]:
    return [r.path for r in await trial.store.memories(A, "memstore_1", prefix, after=after, limit=limit)]


@contract
async def stores_of_memories_are_created_changed_listed_archived_and_deleted(trial: Trial) -> None:
    store = trial.store
    first = await opened(trial)
    await opened(trial, "memstore_2", second=2)
    changed = replace(first, body=b'{"a":1}', updated_at=at(5))
    await store.update_memory_store(changed, if_updated=at(0))
    assert await store.memory_store(A, "memstore_1") == changed
    await refused(Conflict, store.update_memory_store(changed, if_updated=at(0)))
    assert [r.id for r in await store.memory_stores(A, Page(limit=9))] == ["memstore_2", "memstore_1"]
    for second in (7, 8):
        await store.archive_memory_store(A, "memstore_1", at(second))
    assert await store.memory_store(A, "memstore_1") == replace(changed, archived_at=at(7), updated_at=at(7))
    assert [r.id for r in await store.memory_stores(A, Page(limit=9))] == ["memstore_2"]
    await refused(Conflict, store.update_memory_store(changed, if_updated=at(7)))
    await store.delete_memory_store(A, "memstore_1", at(9))
    assert await store.memory_store(A, "memstore_1") is None
    told = [(one.type, one.object) for one in await store.changes(after=0, limit=99)]
    assert told == [
        ("memory_store.created", "memstore_1"),
        ("memory_store.created", "memstore_2"),
        ("memory_store.archived", "memstore_1"),
        ("memory_store.deleted", "memstore_1"),
    ]
    await refused(NotFound, store.archive_memory_store(A, "memstore_1", at(9)))
    await refused(NotFound, store.delete_memory_store(A, "memstore_1", at(9)))


@contract
async def another_workspaces_memories_do_not_exist(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    await store.create_memory(write(1), "mem_1", "/a", b"")
    assert await store.memory_store(B, "memstore_1") is None
    assert await store.memory_stores(B, Page(limit=9)) == []
    assert await store.memory(B, "memstore_1", "mem_1") is None
    assert await store.memories(B, "memstore_1", "", after="", limit=9) == []
    assert await store.memory_version(B, "memstore_1", "memver_01") is None
    assert await store.memory_versions(B, "memstore_1", NONE, after=None, limit=9) == []
    assert await store.contents(B, "memstore_1", ["memver_01"]) == {}
    foreign = write(2, workspace=B)
    await refused(NotFound, store.create_memory(foreign, "mem_2", "/b", b""))
    await refused(NotFound, store.update_memory(foreign, "mem_1", path="/c", content=None, if_sha256=None))
    await refused(NotFound, store.delete_memory(foreign, "mem_1", if_sha256=None))
    await refused(NotFound, store.redact_memory_version(replace(foreign, version="memver_01")))
    await refused(NotFound, store.delete_memory_store(B, "memstore_1", at(3)))


@contract
async def each_change_of_a_memory_is_a_version_with_its_content(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    made = await store.create_memory(write(1), "mem_1", "/a", b"one")
    named = (A, "memstore_1", "mem_1", "/a", "memver_01", sha256(b"one"), 3)
    assert made == MemoryRecord(*named, at(1), at(1)) == await store.memory(A, "memstore_1", "mem_1")
    changed = await store.update_memory(write(2), "mem_1", path="/b", content="zwölf".encode(), if_sha256=None)
    assert (changed.path, changed.size, changed.version) == ("/b", 6, "memver_02")
    assert (changed.created_at, changed.updated_at) == (at(1), at(2))
    moved = await store.update_memory(write(3), "mem_1", path="/c", content=None, if_sha256=changed.sha256)
    assert moved == replace(changed, path="/c", version="memver_03", updated_at=at(3))
    await store.delete_memory(write(4), "mem_1", if_sha256=moved.sha256)
    assert await store.memory(A, "memstore_1", "mem_1") is None
    found = await store.memory_versions(A, "memstore_1", NONE, after=None, limit=9)
    assert [(v.id, v.operation, v.path, v.content and bytes(v.content), v.size) for v in found] == [
        ("memver_04", "deleted", "/c", None, None),
        ("memver_03", "modified", "/c", "zwölf".encode(), 6),
        ("memver_02", "modified", "/b", "zwölf".encode(), 6),
        ("memver_01", "created", "/a", b"one", 3),
    ]
    assert {(v.memory, v.actor_type, v.actor) for v in found} == {("mem_1", "api_actor", "apikey_1")}
    contents = await store.contents(A, "memstore_1", ["memver_01", "memver_04", "memver_99"])
    assert {id: bytes(content) for id, content in contents.items()} == {"memver_01": b"one"}
    await refused(NotFound, store.delete_memory(write(5), "mem_1", if_sha256=None))
    await refused(NotFound, store.update_memory(write(5), "mem_1", path="/z", content=None, if_sha256=None))


@contract
async def what_is_so_already_is_no_change(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    made = await store.create_memory(write(1), "mem_1", "/a", b"one")
    for path, content in ((None, None), ("/a", None), (None, b"one"), ("/a", b"one")):
        same = await store.update_memory(write(2), "mem_1", path=path, content=content, if_sha256="0" * 64)
        assert same == made
    assert len(await store.memory_versions(A, "memstore_1", NONE, after=None, limit=9)) == 1


@contract
async def a_change_may_ask_for_the_content_that_it_replaces(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    made = await store.create_memory(write(1), "mem_1", "/a", b"one")
    for path, content in (("/b", None), (None, b"two")):
        job = store.update_memory(write(2), "mem_1", path=path, content=content, if_sha256=sha256(b"else"))
        await refused(MemoryPreconditionFailed, job)
    await refused(MemoryPreconditionFailed, store.delete_memory(write(2), "mem_1", if_sha256=sha256(b"else")))
    assert await store.memory(A, "memstore_1", "mem_1") == made


@contract
async def a_path_is_neither_taken_nor_a_directory_of_another(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    await store.create_memory(write(1), "mem_1", "/a/b", b"")
    for path in ("/a/b", "/a", "/a/b/c", "/a/b/c/d"):
        await refused(MemoryPathConflict, store.create_memory(write(2), "mem_2", path, b""))
    await store.create_memory(write(2), "mem_2", "/a/b.c", b"")
    await store.create_memory(write(3), "mem_3", "/a-b", b"")
    for path in ("/a/b", "/a/b/x", "/a"):
        await refused(
            MemoryPathConflict, store.update_memory(write(4), "mem_3", path=path, content=None, if_sha256=None)
        )
    lone = await store.update_memory(write(5), "mem_3", path="/a-b/c", content=None, if_sha256=None)
    assert lone.path == "/a-b/c"


@contract
async def memories_are_listed_by_the_bytes_of_their_paths(trial: Trial) -> None:
    await opened(trial)
    for number, path in enumerate(("/b/x", "/b-c", "/B", "/b/y/z", "/é", "/z", "/b/\U0001f600", "/b/\uffee")):
        await trial.store.create_memory(write(number), f"mem_{number}", path, b"")
    whole = ["/B", "/b-c", "/b/x", "/b/y/z", "/b/\uffee", "/b/\U0001f600", "/z", "/é"]
    assert await paths(trial) == whole
    assert await paths(trial, after="/b-c", limit=3) == whole[2:5]
    assert await paths(trial, "/b/") == whole[2:6]
    assert await paths(trial, "/b/", after="/b/y/z") == whole[4:6]
    assert await paths(trial, "/nothing/") == []


@contract
async def versions_are_found_by_memory_operation_actor_and_time_a_page_at_a_time(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    await store.create_memory(write(1), "mem_1", "/a", b"1")
    await store.create_memory(write(2, actor="apikey_2"), "mem_2", "/b", b"2")
    await store.update_memory(write(3, actor="apikey_2"), "mem_1", path=None, content=b"3", if_sha256=None)

    async def found(where: VersionFilter, after: tuple[str, str] | None = None, limit: int = 9) -> list[int]:
        versions = await store.memory_versions(A, "memstore_1", where, after=after, limit=limit)
        return [int(version.id[-2:]) for version in versions]

    assert await found(NONE) == [3, 2, 1]
    assert await found(NONE, limit=2) == [3, 2]
    assert await found(NONE, after=(at(2), "memver_02")) == [1]
    assert await found(VersionFilter(memory="mem_1")) == [3, 1]
    assert await found(VersionFilter(operation="modified")) == [3]
    assert await found(VersionFilter(actor=("api_actor", "apikey_2"))) == [3, 2]
    assert await found(VersionFilter(actor=("session_actor", "apikey_2"))) == []
    assert await found(VersionFilter(created={"gte": at(2), "lte": at(2)})) == [2]


@contract
async def redaction_takes_what_was_said_and_leaves_who_and_when(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    await store.create_memory(write(1), "mem_1", "/a", b"secret")
    await refused(InvalidRequest, store.redact_memory_version(write(1)))
    await store.update_memory(write(2), "mem_1", path=None, content=b"mild", if_sha256=None)
    before = await store.memory_version(A, "memstore_1", "memver_01")
    assert before is not None
    for second in (5, 6):
        by = replace(write(second, actor="apikey_9"), version="memver_01")
        await store.redact_memory_version(by)
    gone = replace(before, path=None, content=None, sha256=None, size=None, redacted_at=at(5))
    gone = replace(gone, redactor_type="api_actor", redactor="apikey_9")
    assert await store.memory_version(A, "memstore_1", "memver_01") == gone
    assert await store.contents(A, "memstore_1", ["memver_01"]) == {}
    await store.delete_memory(write(7), "mem_1", if_sha256=None)
    await store.redact_memory_version(write(2))
    await refused(NotFound, store.redact_memory_version(write(99)))


@contract
async def an_archived_store_takes_no_memory_and_lets_them_go(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    await store.create_memory(write(1), "mem_1", "/a", b"1")
    await store.archive_memory_store(A, "memstore_1", at(2))
    await refused(InvalidRequest, store.create_memory(write(3), "mem_2", "/b", b""))
    await refused(InvalidRequest, store.update_memory(write(3), "mem_1", path="/b", content=None, if_sha256=None))
    await store.delete_memory(write(3), "mem_1", if_sha256=None)
    await store.redact_memory_version(write(1))


@contract
async def a_store_holds_so_many_memories_and_no_more(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    for number in range(MOST_MEMORIES):
        await store.create_memory(replace(write(1), version=f"memver_{number}"), f"mem_{number}", f"/{number}", b"")
    await refused(InvalidRequest, store.create_memory(write(2), "mem_more", "/more", b""))
    await store.delete_memory(write(3), "mem_7", if_sha256=None)
    await store.create_memory(write(4), "mem_more", "/more", b"")


@contract
async def nothing_of_a_deleted_store_is_found(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    await store.create_memory(write(1), "mem_1", "/a", b"1")
    await store.delete_memory_store(A, "memstore_1", at(2))
    assert await store.memory(A, "memstore_1", "mem_1") is None
    assert await store.memory_version(A, "memstore_1", "memver_01") is None
    assert await store.memory_versions(A, "memstore_1", NONE, after=None, limit=9) == []
    await refused(NotFound, store.create_memory(write(3), "mem_2", "/b", b""))


@contract
async def current_memories_come_with_their_contents_in_portions(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    for number, path in enumerate(("/b", "/a", "/c/d"), 1):
        await store.create_memory(write(number), f"mem_{number}", path, path.encode() * 10)
    await store.update_memory(write(4), "mem_2", path=None, content=b"new", if_sha256=None)

    async def portion(after: str, limit: int, most: int) -> list[tuple[str, bytes]]:
        found = await store.current(A, "memstore_1", after=after, limit=limit, most_bytes=most)
        return [(one.path, content) for one, content in found]

    assert await portion("", 9, 999) == [("/a", b"new"), ("/b", b"/b" * 10), ("/c/d", b"/c/d" * 10)]
    assert await portion("", 9, 23) == [("/a", b"new"), ("/b", b"/b" * 10)]
    assert await portion("/b", 9, 1) == [("/c/d", b"/c/d" * 10)]
    assert await portion("", 1, 999) == [("/a", b"new")]
    assert await portion("/c/d", 9, 999) == []
    assert await store.current(B, "memstore_1", after="", limit=9, most_bytes=999) == []


@contract
async def sessions_have_stores_that_are_there_and_not_archived(trial: Trial) -> None:
    store = trial.store
    for number in (1, 2, 3):
        await opened(trial, f"memstore_{number}", second=number)
    await store.archive_memory_store(A, "memstore_3", at(9))
    key = SessionKey(A, "sesn_1")
    found = await store.attach(key, ["memstore_2", "memstore_1"], at(10))
    assert [one.id for one in found] == ["memstore_1", "memstore_2"]
    assert found[0].body == b"{}"
    await refused(NotFound, store.attach(SessionKey(B, "sesn_1"), ["memstore_1"], at(10)))
    await refused(InvalidRequest, store.attach(SessionKey(A, "sesn_2"), ["memstore_1", "memstore_3"], at(10)))
    for number in (1, 2):
        await store.create_session(record(f"sesn_{number}", workspace=A), [], wake=False)

    async def having(name: str) -> list[str]:
        found = await store.sessions(A, Page(limit=9), SessionFilter(memory_store=name))
        assert found == await store.sessions(A, Page(limit=9, descending=False), SessionFilter(memory_store=name))
        return [one.id for one in found]

    assert await having("memstore_1") == ["sesn_1"]
    assert await having("memstore_3") == []
    await store.delete_session(key, if_head=0)
    await store.delete_memory_store(A, "memstore_1", at(11))
    assert await store.orphans(9) == []


@contract
async def what_sessions_have_of_a_deleted_store_is_known_until_it_was_erased(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    for number in (1, 2):
        await store.attach(SessionKey(A, f"sesn_{number}"), ["memstore_1"], at(number))
    await store.create_session(record("sesn_2", workspace=A), [], wake=False)
    assert await store.orphans(9) == []
    await store.delete_memory_store(A, "memstore_1", at(5))
    assert [one.session for one in await store.orphans(9)] == ["sesn_1", "sesn_2"]
    assert len(await store.orphans(1)) == 1
    await store.forget_attachments(at(0), at(1))
    await store.forget_attachments(at(2), at(9))
    assert len(await store.orphans(9)) == 2
    await store.forget_attachments(at(1), at(9))
    assert await store.orphans(9) == [Attachment(A, "memstore_1", "sesn_2")]
    await store.note_erased(Attachment(A, "memstore_1", "sesn_2"), at(9))
    assert await store.orphans(9) == []


@contract
async def a_session_that_has_another_owner_writes_no_memory(trial: Trial) -> None:
    store = trial.store
    await opened(trial)
    await store.create_session(record("sesn_1", workspace=A), [], wake=True)
    (lease,) = await store.claim("worker", limit=1)
    owner = replace(write(1), actor_type="session_actor", actor="sesn_1", epoch=lease.epoch)
    await store.create_memory(owner, "mem_1", "/a", b"1")
    before = replace(owner, version="memver_2", epoch=lease.epoch - 1)
    await refused(Fenced, store.create_memory(before, "mem_2", "/b", b"1"))
    await refused(Fenced, store.update_memory(before, "mem_1", path=None, content=b"2", if_sha256=None))
    await refused(Fenced, store.delete_memory(before, "mem_1", if_sha256=None))
    (made,) = await store.memory_versions(A, "memstore_1", NONE, after=None, limit=9)
    assert (made.actor_type, made.actor) == ("session_actor", "sesn_1")
