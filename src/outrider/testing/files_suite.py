"""The contract of the port `files`: what every store of files must do. Bytes are the blob store's."""

from __future__ import annotations

from dataclasses import replace

from outrider.errors import Conflict, Fenced, HeadMoved, InvalidRequest, NotFound, Overloaded
from outrider.ports.copies import FileChanges, FileCopy
from outrider.ports.files import Announced, FileRecord, OutputRecord
from outrider.ports.log import KeptAnswer, SessionKey, StoredAnswer
from outrider.ports.records import Page
from outrider.ports.store import StorePorts
from outrider.testing.store_trial import Contract, Trial, event, record, refused

FILES_CONTRACTS: list[Contract] = []
A, B = "wrkspc_a", "wrkspc_b"
ALL = Page(limit=99)
PLENTY = 10**6


def contract(function: Contract) -> Contract:
    FILES_CONTRACTS.append(function)
    return function


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000Z"


def file(name: str = "file_1", *, second: int = 0, workspace: str = A, size: int = 10) -> FileRecord:
    return FileRecord(
        workspace, name, at(second), None, None, f"{name}.txt", "text/plain", size,
        downloadable=False, counted=True, blob=name,
    )  # fmt: skip


async def added(store: StorePorts, record: FileRecord, *, most_bytes: int = PLENTY) -> FileRecord:
    await store.announce_file(record.workspace, record.id, record.created_at)
    await store.add_file(record, most_bytes=most_bytes)
    return record


async def owners(store: StorePorts, *blobs: str) -> set[str]:
    return {blob for blob in blobs if await store.owns_bytes(A, blob)}


@contract
async def files_are_added_read_and_listed_within_their_workspace(trial: Trial) -> None:
    store = trial.store
    made = [await added(store, file(f"file_{n}", second=n)) for n in (1, 2, 3)]
    assert await store.file(A, "file_2") == made[1]
    assert await store.file(A, "file_9") is None
    assert [r.id for r in await store.files(A, ALL)] == ["file_3", "file_2", "file_1"]
    assert [r.id for r in await store.files(A, Page(limit=1, after=(at(3), "file_3")))] == ["file_2"]
    assert [r.id for r in await store.files(A, Page(limit=1, descending=False, after=(at(1), "file_1")))] == ["file_2"]
    assert await store.files_named(A, ["file_1", "file_9", "file_3"]) == [made[2], made[0]]
    assert await store.file(B, "file_1") is None
    assert await store.files(B, ALL) == []
    assert await store.files_named(B, ["file_1"]) == []


@contract
async def files_of_a_session_are_listed_alone_and_among_all(trial: Trial) -> None:
    store = trial.store
    await added(store, file("file_1", second=1))
    scoped = [
        await added(store, replace(file(f"file_{n}", second=n), session=session, downloadable=True))
        for n, session in ((2, "sesn_1"), (3, "sesn_1"), (4, "sesn_10"))
    ]
    assert await store.files(A, ALL, session="sesn_1") == [scoped[1], scoped[0]]
    assert await store.files(A, Page(limit=9, descending=False, after=(at(2), "file_2")), session="sesn_1") == [
        scoped[1]
    ]
    assert len(await store.files(A, ALL)) == 4
    assert await store.files(A, ALL, session="sesn_none") == []


@contract
async def what_was_not_announced_or_was_given_up_does_not_become_a_file(trial: Trial) -> None:
    store = trial.store
    await refused(Overloaded, store.add_file(file(), most_bytes=PLENTY))
    await store.announce_file(A, "file_1", at(1))
    await refused(Conflict, store.announce_file(A, "file_1", at(1)))
    assert await store.abandon_files(at(1)) == []
    assert await store.abandon_files(at(2)) == [Announced(A, "file_1")]
    assert await store.abandon_files(at(0)) == [Announced(A, "file_1")]
    await refused(Overloaded, store.add_file(file(), most_bytes=PLENTY))
    assert await owners(store, "file_1") == {"file_1"}
    assert await store.forget_announced(Announced(A, "file_1"))
    assert not await store.forget_announced(Announced(A, "file_1"))
    assert await owners(store, "file_1") == set()
    assert await store.files(A, ALL) == []


@contract
async def what_has_become_a_file_is_not_announced_any_more(trial: Trial) -> None:
    """Its writer may not have heard of that; whether the bytes are still its own tells this, and nothing else."""
    store = trial.store
    await added(store, file())
    assert not await store.forget_announced(Announced(A, "file_1"))
    assert await owners(store, "file_1") == {"file_1"}


@contract
async def an_answer_is_kept_with_the_file_or_not_at_all(trial: Trial) -> None:
    store, answer = trial.store, StoredAnswer(200, b"made")
    await store.announce_file(A, "file_1", at(1))
    keep = KeptAnswer("name", at(2), answer)
    await refused(InvalidRequest, store.add_file(file(), most_bytes=1, keep=keep))
    assert await store.answer(A, "name", not_before="") is None
    await store.add_file(file(), most_bytes=PLENTY, keep=keep)
    assert await store.answer(A, "name", not_before=at(2)) == answer


@contract
async def an_id_is_used_once(trial: Trial) -> None:
    await added(trial.store, file())
    await refused(Conflict, trial.store.announce_file(A, "file_1", at(9)))


@contract
async def a_workspaces_files_hold_no_more_than_they_may(trial: Trial) -> None:
    store = trial.store
    await added(store, file("file_1", size=60), most_bytes=100)
    await store.announce_file(A, "file_2", at(0))
    await refused(InvalidRequest, store.add_file(file("file_2", size=41), most_bytes=100))
    assert await store.file(A, "file_2") is None
    await store.add_file(file("file_2", size=40), most_bytes=100)
    await added(store, replace(file("file_3", size=5), counted=False), most_bytes=100)
    await added(store, file("file_1", size=41, workspace=B), most_bytes=100)
    assert (await store.stored_bytes(A), await store.stored_bytes(B)) == (100, 41)
    await store.delete_file(A, "file_3")
    await store.delete_file(A, "file_2")
    assert await store.stored_bytes(A) == 60
    await added(store, file("file_4", size=40), most_bytes=100)


@contract
async def the_last_file_with_its_bytes_gives_them_up(trial: Trial) -> None:
    store = trial.store
    await added(store, file("file_1"))
    await added(store, replace(file("file_2"), blob="file_1"))
    assert await owners(store, "file_1", "file_2", "file_3") == {"file_1"}
    assert not await store.owns_bytes(B, "file_1")
    assert await store.delete_file(A, "file_1") is None
    assert await owners(store, "file_1") == {"file_1"}
    assert await store.delete_file(A, "file_2") == "file_1"
    assert await owners(store, "file_1") == set()
    await refused(NotFound, store.delete_file(A, "file_2"))
    await refused(NotFound, store.delete_file(B, "file_1"))


@contract
async def an_expired_file_loses_its_bytes_and_later_its_record(trial: Trial) -> None:
    store = trial.store
    await added(store, file("file_1"))
    timed = await added(store, replace(file("file_2"), expires_at=at(20)))
    assert await store.expire_files(at(19), forget=at(0)) == 0
    assert await store.expire_files(at(20), forget=at(0)) == 1
    assert await store.expire_files(at(21), forget=at(0)) == 0
    assert await store.file(A, "file_2") == replace(timed, blob=None, counted=False)
    assert await owners(store, "file_1", "file_2") == {"file_1"}
    assert await store.stored_bytes(A) == 10
    assert await store.expire_files(at(50), forget=at(20)) == 1
    assert [r.id for r in await store.files(A, ALL)] == ["file_1"]
    assert await store.stored_bytes(A) == 10


def output(name: str, *, path: str = "a.txt", mark: str = "1", digest: str = "a") -> OutputRecord:
    return OutputRecord(path, name, mark, digest)


async def left(trial: Trial, name: str, path: str = "a.txt", *, epoch: int = 1, size: int = 10) -> str | None:
    record = replace(file(name, size=size), session="sesn_1", downloadable=True)
    await trial.store.announce_file(A, name, at(0))
    return await trial.store.add_output(record, output(name, path=path), epoch=epoch, most_bytes=PLENTY)


@contract
async def an_output_takes_the_place_of_what_its_path_was_before(trial: Trial) -> None:
    store, key = trial.store, (await trial.owned()).key
    assert await left(trial, "file_1") is None
    assert await left(trial, "file_2", "b.txt") is None
    assert await left(trial, "file_3") == "file_1"
    assert {r.id for r in await store.files(A, ALL, session="sesn_1")} == {"file_2", "file_3"}
    assert await store.outputs(key) == {"a.txt": output("file_3"), "b.txt": output("file_2", path="b.txt")}
    await store.renew_output(key, "a.txt", "2")
    assert (await store.outputs(key))["a.txt"] == output("file_3", mark="2")
    await store.delete_file(A, "file_3")
    assert (await store.outputs(key))["a.txt"] == output("file_3", mark="2"), "or it would come back"
    assert await left(trial, "file_4") is None
    assert await store.stored_bytes(A) == 20


@contract
async def an_output_is_added_by_its_sessions_owner_only(trial: Trial) -> None:
    store, key = trial.store, (await trial.owned()).key
    await refused(Fenced, left(trial, "file_1", epoch=2))
    await store.forget_announced(Announced(A, "file_1"))
    await left(trial, "file_1")
    await store.announce_file(A, "file_2", at(0))
    too_much = store.add_output(
        replace(file("file_2"), session="sesn_1"), output("file_2", digest="b"), epoch=1, most_bytes=5
    )
    await refused(InvalidRequest, too_much)
    assert (await store.outputs(key))["a.txt"].file == "file_1"
    assert await store.file(A, "file_1") is not None


@contract
async def a_deleted_session_takes_its_files_along_and_no_others(trial: Trial) -> None:
    store, key = trial.store, (await trial.owned()).key
    await added(store, file("file_1"))
    await left(trial, "file_2")
    await added(store, replace(file("file_3"), session="sesn_10"))
    await store.delete_session(key, if_head=await store.head(key))
    assert {r.id for r in await store.files(A, ALL)} == {"file_1", "file_3"}
    assert await store.outputs(key) == {}
    assert await owners(store, "file_1", "file_2", "file_3") == {"file_1", "file_3"}
    assert await store.stored_bytes(A) == 20
    await refused(Fenced, left(trial, "file_4"))


def copied(source: str, name: str, *, second: int = 5) -> FileChanges:
    return FileChanges((FileCopy(source, name, at(second)),))


@contract
async def a_session_is_made_with_copies_of_files_or_not_at_all(trial: Trial) -> None:
    store = trial.store
    made = await added(store, replace(file("file_1"), expires_at=at(9), downloadable=True))
    await refused(NotFound, store.create_session(record("sesn_1"), [], wake=True, files=copied("file_9", "file_2")))
    late = copied("file_1", "file_2", second=9)
    await refused(NotFound, store.create_session(record("sesn_1"), [event("a")], wake=True, files=late))
    foreign = record("sesn_1", workspace=B)
    await refused(NotFound, store.create_session(foreign, [], wake=True, files=copied("file_1", "file_2")))
    assert not await store.has_sessions()
    assert [r.id for r in await store.files(A, ALL)] == ["file_1"]
    lease = await store.create_session(
        record("sesn_1"), [event("a")], wake=True, worker="worker_1", files=copied("file_1", "file_2")
    )
    assert lease is not None
    assert lease.head == 1
    own = replace(made, id="file_2", created_at=at(5), expires_at=None, session="sesn_1", counted=False)
    assert await store.files(A, ALL, session="sesn_1") == [own]
    assert await store.stored_bytes(A) == 10
    assert [rows[0].id for key, rows in trial.commits if key.session == "sesn_1"] == ["a"]


@contract
async def a_session_is_made_with_files_of_its_own_or_not_at_all(trial: Trial) -> None:
    store = trial.store
    own = replace(file("file_1"), session="sesn_1", counted=False)
    await refused(Overloaded, store.create_session(record("sesn_1"), [], wake=False, files=FileChanges(added=(own,))))
    assert await store.files(A, ALL) == []
    await store.announce_file(A, "file_1", at(0))
    await store.create_session(record("sesn_1"), [], wake=False, files=FileChanges(added=(own,)))
    assert await store.files(A, ALL, session="sesn_1") == [own]
    assert await store.abandon_files(at(9)) == []
    assert await store.stored_bytes(A) == 0
    await store.update_session(
        record("sesn_1"), [event("a")], if_head=0, columns="details", files=FileChanges(dropped=("file_1",))
    )
    assert await owners(store, "file_1") == set()


@contract
async def a_copy_outlives_its_source_and_goes_with_its_session(trial: Trial) -> None:
    store = trial.store
    await added(store, replace(file("file_1"), expires_at=at(9)))
    await store.create_session(record("sesn_1"), [], wake=False, files=copied("file_1", "file_2"))
    key = SessionKey(A, "sesn_1")
    assert await store.expire_files(at(9), forget=at(9)) == 1
    assert await owners(store, "file_1") == {"file_1"}
    await store.delete_session(key, if_head=0)
    assert await store.files(A, ALL) == []
    assert await owners(store, "file_1") == set()
    assert await store.stored_bytes(A) == 0


@contract
async def a_change_of_a_session_adds_and_drops_copies_with_its_rows(trial: Trial) -> None:
    store, key = trial.store, await trial.session()
    await added(store, file("file_1"))
    changed = record("sesn_1", details=b'{"title":"new"}')

    async def change(files: FileChanges, *, if_head: int, row: str) -> None:
        keep = KeptAnswer(row, at(7), StoredAnswer(200, b"done"))
        await store.update_session(changed, [event(row)], if_head=if_head, columns="details", files=files, keep=keep)

    await change(copied("file_1", "file_2"), if_head=0, row="a")
    await refused(HeadMoved, change(copied("file_1", "file_3"), if_head=0, row="b"))
    await refused(NotFound, change(copied("file_9", "file_3"), if_head=1, row="b"))
    assert await store.head(key) == 1
    assert {r.id for r in await store.files(A, ALL)} == {"file_1", "file_2"}
    both = FileChanges((FileCopy("file_1", "file_3", at(6)),), ("file_2", "file_gone"))
    assert await store.answer(A, "b", not_before="") is None
    await change(both, if_head=1, row="b")
    assert await store.answer(A, "b", not_before=at(7)) == StoredAnswer(200, b"done")
    assert {r.id for r in await store.files(A, ALL, session="sesn_1")} == {"file_3"}
    assert await owners(store, "file_1", "file_2") == {"file_1"}
    stored = await store.session(key)
    assert stored is not None
    assert stored.details == changed.details
    assert await store.stored_bytes(A) == 10
