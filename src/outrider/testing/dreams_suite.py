"""The contract of the port `dreams`, one function a promise, for every store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

from outrider.errors import AlreadyAnswered, Conflict, InvalidRequest, NotFound
from outrider.ports.dreams import TOO_LARGE, Copying, DreamFilter, DreamRecord, Dreams
from outrider.ports.log import KeptAnswer, SessionKey
from outrider.ports.memory import MemoryStoreRecord, VersionFilter, Write
from outrider.ports.records import Page, StoredAnswer
from outrider.testing.store_trial import Contract, Trial, record, refused

DREAM_CONTRACTS: list[Contract] = []
A, B = "wrkspc_a", "wrkspc_b"
COPYING = Copying("mem_c", "memver_c", 1_000)
ERROR = b'{"type":"timeout"}'


def contract(function: Contract) -> Contract:
    DREAM_CONTRACTS.append(function)
    return function


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000Z"


def dream(name: str = "drm_1", *, output: str = "memstore_2", second: int = 0, workspace: str = A) -> DreamRecord:
    session = f"sesn_of_{name}"
    return DreamRecord(workspace, name, "pending", at(second), "memstore_1", output, session, b'{"model":"m"}')


async def opened(trial: Trial, *memories: tuple[str, bytes], workspace: str = A) -> None:
    """The store that dreams read here."""
    await trial.store.create_memory_store(
        MemoryStoreRecord(workspace, "memstore_1", at(0), at(0), None, b'{"name":"n"}')
    )
    for number, (path, content) in enumerate(memories):
        write = Write(workspace, "memstore_1", f"memver_{number}", at(1), "api_actor", "apikey_1")
        await trial.store.create_memory(write, f"mem_{number}", path, content)


async def made(trial: Trial, *records: DreamRecord) -> None:
    await opened(trial)
    for one in records:
        await trial.store.create_dream(one)


async def found(trial: Trial, name: str = "drm_1") -> DreamRecord:
    one = await trial.store.dream(A, name)
    assert one is not None
    return one


async def problem_of(call: Awaitable[object]) -> InvalidRequest:
    try:
        await call
    except InvalidRequest as problem:
        return problem
    raise AssertionError("it was not refused")


@contract
async def a_dream_comes_back_as_it_was_stored_and_only_to_its_workspace(trial: Trial) -> None:
    store: Dreams = trial.store
    await refused(NotFound, store.create_dream(dream()))
    await opened(trial)
    keep = KeptAnswer("asked", at(1), StoredAnswer(200, b"{}"))
    await store.create_dream(dream(), keep=keep)
    assert await trial.store.answer(A, "asked", not_before=at(1)) == keep.answer
    assert await store.dream(A, "drm_1") == dream()
    assert await store.dream(B, "drm_1") is None
    assert await store.unsettled_dreams(limit=9) == [dream()]
    await trial.store.archive_memory_store(A, "memstore_1", at(1))
    await refused(InvalidRequest, store.create_dream(dream("drm_2")))


@contract
async def of_dreams_that_write_in_place_one_store_has_one_at_a_time(trial: Trial) -> None:
    store: Dreams = trial.store
    await made(trial, dream("drm_1"))
    tries = [store.create_dream(dream(f"drm_{number}", output="memstore_1")) for number in range(2, 8)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(one).__name__ for one in results) == ["Conflict"] * 5 + ["NoneType"]
    (first,) = [one for one in await store.unsettled_dreams(limit=9) if one.in_place]
    await store.decide_dream(first, "canceled", None, at=at(2))
    await refused(Conflict, store.create_dream(dream("drm_9", output="memstore_1")))
    await store.settle_dream(first, b"{}", at=at(3))
    await store.create_dream(dream("drm_9", output="memstore_1"))


@contract
async def a_dream_begins_once_with_a_copy_of_every_memory(trial: Trial) -> None:
    store = trial.store
    await opened(trial, ("/b", b"of b"), ("/a/c", b"of c"))
    await store.create_dream(dream())
    begun = [store.begin_dream(dream(), replace(COPYING, memory=f"mem_{n}"), at=at(5)) for n in range(5)]
    assert sorted(await asyncio.gather(*begun)) == [False] * 4 + [True]
    current = await store.current(A, "memstore_2", after="", limit=9, most_bytes=1_000)
    assert [(one.path, content, one.created_at) for one, content in current] == [
        ("/a/c", b"of c", at(5)),
        ("/b", b"of b", at(5)),
    ]
    versions = await store.memory_versions(A, "memstore_2", VersionFilter(), after=None, limit=9)
    assert {(one.id, one.memory) for one in versions} == {(one.version, one.id) for one, _ in current}
    assert {(one.operation, one.actor_type, one.actor) for one in versions} == {
        ("created", "session_actor", "sesn_of_drm_1")
    }
    copied = await store.memory_store(A, "memstore_2")
    assert copied == MemoryStoreRecord(A, "memstore_2", at(5), at(5), None, b'{"name":"n"}')
    told = [(one.type, one.object) for one in await store.changes(after=0, limit=9)]
    assert told == [("memory_store.created", "memstore_1"), ("memory_store.created", "memstore_2")]
    assert await found(trial) == replace(dream(), status="running", begun_at=at(5))
    assert len(await store.memories(A, "memstore_1", "", after="", limit=9)) == 2


@contract
async def what_is_written_in_place_is_not_copied(trial: Trial) -> None:
    store = trial.store
    await opened(trial, ("/a", b"of a"))
    kept = dream(output="memstore_1")
    await store.create_dream(kept)
    assert await store.begin_dream(kept, replace(COPYING, most_bytes=0), at=at(5))
    assert [one.id for one in await store.memory_stores(A, Page(limit=9))] == ["memstore_1"]
    assert (await found(trial)).status == "running"


@contract
async def a_dream_whose_store_is_too_large_archived_or_gone_does_not_begin(trial: Trial) -> None:
    store = trial.store
    await opened(trial, ("/a", b"x" * 500), ("/b", b"x" * 501))
    await store.create_dream(dream())
    assert (await problem_of(store.begin_dream(dream(), COPYING, at=at(5)))).error_code == TOO_LARGE
    await store.archive_memory_store(A, "memstore_1", at(6))
    await refused(InvalidRequest, store.begin_dream(dream(), COPYING, at=at(7)))
    await store.delete_memory_store(A, "memstore_1", at(8))
    await refused(NotFound, store.begin_dream(dream(), COPYING, at=at(9)))
    assert await found(trial) == dream()
    assert await store.memory_store(A, "memstore_2") is None


@contract
async def a_dream_is_decided_once_and_ends_when_it_is_settled(trial: Trial) -> None:
    store = trial.store
    await made(trial, dream())
    await store.settle_dream(dream(), b"{}", at=at(4))
    assert await found(trial) == dream()
    await store.begin_dream(dream(), COPYING, at=at(5))
    for second in (6, 7):
        await store.open_dream(dream(), at=at(second))
    assert await store.decide_dream(dream(), "failed", ERROR, at=at(8))
    assert not await store.decide_dream(dream(), "completed", None, at=at(9))
    running = replace(dream(), status="running", begun_at=at(5), opened_at=at(6), outcome="failed", error=ERROR)
    assert await found(trial) == running
    assert not await store.archive_dream(A, "drm_1", at(9))
    for second in (10, 11):
        await store.settle_dream(dream(), b'{"input_tokens":1}', at=at(second))
    ended = replace(
        running, status="failed", ended_at=at(10), settled_at=at(10), usage=b'{"input_tokens":1}'
    )  # fmt: skip
    assert await found(trial) == ended
    assert not await store.decide_dream(dream(), "canceled", None, at=at(12))
    assert await store.unsettled_dreams(limit=9) == []
    assert not await store.archive_dream(B, "drm_1", at(13))
    for second in (13, 14):
        assert await store.archive_dream(A, "drm_1", at(second))
    assert await found(trial) == replace(ended, archived_at=at(13))


@contract
async def a_dream_is_canceled_at_once_whatever_was_decided_before(trial: Trial) -> None:
    store = trial.store
    await made(trial, dream())
    await store.decide_dream(dream(), "failed", ERROR, at=at(5))
    assert await store.decide_dream(dream(), "canceled", None, at=at(6))
    assert not await store.decide_dream(dream(), "canceled", None, at=at(7))
    canceled = replace(dream(), status="canceled", outcome="canceled", ended_at=at(6))
    assert await found(trial) == canceled
    assert not await store.begin_dream(dream(), COPYING, at=at(8))
    await store.settle_dream(dream(), b"{}", at=at(9))
    assert await found(trial) == replace(canceled, settled_at=at(9), usage=b"{}")


@contract
async def a_dream_that_was_decided_makes_no_session_and_what_made_one_can_still_be_decided(trial: Trial) -> None:
    store = trial.store
    await made(trial, dream(), dream("drm_2"))
    await store.decide_dream(dream(), "failed", ERROR, at=at(5))
    for name in ("drm_1", "drm_2"):
        keep = KeptAnswer(name, at(6), StoredAnswer(200, b""), if_none_since="")
        making = store.create_session(record(f"sesn_of_{name}"), [], wake=False, keep=keep)
        if name == "drm_1":
            await refused(AlreadyAnswered, making)
        else:
            await making
    assert await store.decide_dream(dream("drm_2"), "completed", None, at=at(7))
    assert await store.living(["sesn_of_drm_2"]) == {"sesn_of_drm_2"}
    await store.settle_dream(dream("drm_2"), b"{}", at=at(8))
    assert await store.living(["sesn_of_drm_2"]) == set()
    assert await store.session(SessionKey(A, "sesn_of_drm_2")) is not None


@contract
async def dreams_are_listed_by_status_and_time_within_their_workspace(trial: Trial) -> None:
    store = trial.store
    await opened(trial, workspace=B)
    await store.create_dream(dream("drm_1", workspace=B))
    await made(trial, *(dream(f"drm_{number}", second=number) for number in range(1, 5)))
    await store.begin_dream(dream("drm_2"), COPYING, at=at(5))
    for name in ("drm_3", "drm_4"):
        await store.decide_dream(dream(name), "canceled", None, at=at(6))
    await store.archive_dream(A, "drm_4", at(7))

    async def listed(page: Page, *statuses: str) -> list[str]:
        return [one.id[-1] for one in await store.dreams(A, page, DreamFilter(statuses))]

    assert await listed(Page(limit=9)) == ["3", "2", "1"]
    assert await listed(Page(limit=9, include_archived=True)) == ["4", "3", "2", "1"]
    assert await listed(Page(limit=9), "canceled", "pending") == ["3", "1"]
    assert await listed(Page(limit=9), "completed") == []
    assert await listed(Page(limit=2)) == ["3", "2"]
    assert await listed(Page(limit=9, after=(at(3), "drm_3"))) == ["2", "1"]
    assert await listed(Page(limit=9, descending=False)) == ["1", "2", "3"]
    assert await listed(Page(limit=9, created={"gt": at(1), "lt": at(3)})) == ["2"]
    assert [one.id for one in await store.unsettled_dreams(limit=2)] == ["drm_1", "drm_1"]
