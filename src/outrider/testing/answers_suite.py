"""The contract of stored answers: each goes with what it is about, and none is stored about what is gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from outrider.ids import CountingIds
from outrider.ports.files import FileRecord
from outrider.ports.log import KeptAnswer, SessionKey, StoredAnswer
from outrider.ports.memory import MemoryStoreRecord, Write
from outrider.ports.records import EnvironmentRecord
from outrider.ports.skills import SkillRecord, SkillVersion
from outrider.ports.store import StorePorts
from outrider.ports.vaults import CredentialRecord, VaultRecord
from outrider.ports.webhooks import WebhookRecord
from outrider.testing.store_trial import Contract, Trial, record

ANSWERS_CONTRACTS: list[Contract] = []
A, B = "wrkspc_a", "wrkspc_b"
MOST = 1_000


def contract(function: Contract) -> Contract:
    ANSWERS_CONTRACTS.append(function)
    return function


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000Z"


def kept(name: str, *about: str) -> KeptAnswer:
    return KeptAnswer(name, at(1), StoredAnswer(200, b"{}"), about=about)


async def stored(store: StorePorts, name: str = "once", workspace: str = A) -> bool:
    return await store.answer(workspace, name, not_before="") is not None


async def environment(store: StorePorts) -> None:
    await store.put_environment(EnvironmentRecord(A, "env_1", at(0), None, b"{}"))


async def vault(store: StorePorts) -> None:
    await store.create_vault(VaultRecord(A, "vlt_1", at(0), at(0), None, b"{}"))


async def credential(store: StorePorts) -> None:
    await vault(store)
    await store.create_credential(
        CredentialRecord(A, "vlt_1", "vcrd_1", "env:A", 1, 1, at(0), at(0), None, b"{}"),
    )


async def memory_store(store: StorePorts) -> None:
    await store.create_memory_store(MemoryStoreRecord(A, "memstore_1", at(0), at(0), None, b"{}"))


def write(version: str) -> Write:
    return Write(A, "memstore_1", version, at(0), "api_actor", "apikey_1")


async def memory(store: StorePorts) -> None:
    await memory_store(store)
    await store.create_memory(write("memver_1"), "mem_1", "/a", b"one")


async def old_version(store: StorePorts) -> None:
    await memory(store)
    await store.update_memory(write("memver_2"), "mem_1", path=None, content=b"two", if_sha256=None)


async def webhook(store: StorePorts) -> None:
    made = WebhookRecord(A, "whk_1", at(0), at(0), "https://a.example/", "enabled", "", 1, 0, None, b"{}")
    await store.create_webhook(made, CountingIds())


async def session(store: StorePorts) -> None:
    await store.create_session(record("sesn_1"), [], wake=False)


async def item(store: StorePorts) -> None:
    await environment(store)
    await session(store)
    await store.enlist_work(SessionKey(A, "sesn_1"), "env_1", id="work_1", at=at(0), ttl=60)


@dataclass(frozen=True)
class Thing:
    """`about`: what an answer says something of, the thing last."""

    about: tuple[str, ...]
    make: Callable[[StorePorts], Awaitable[None]]
    delete: Callable[[StorePorts], Awaitable[object]]


def delete_session(store: StorePorts) -> Awaitable[None]:
    return store.delete_session(SessionKey(A, "sesn_1"), if_head=0)


THINGS: Mapping[str, Thing] = {
    "environment": Thing(("env_1",), environment, lambda store: store.delete_environment(A, "env_1")),
    "vault": Thing(("vlt_1",), vault, lambda store: store.delete_vault(A, "vlt_1", at(2))),
    "credential": Thing(
        ("vlt_1", "vcrd_1"), credential, lambda store: store.delete_credential(A, "vlt_1", "vcrd_1", at(2))
    ),
    "memory store": Thing(
        ("memstore_1",), memory_store, lambda store: store.delete_memory_store(A, "memstore_1", at(2))
    ),
    "memory": Thing(
        ("memstore_1", "mem_1"), memory, lambda store: store.delete_memory(write("memver_9"), "mem_1", if_sha256=None)
    ),
    "text": Thing(
        ("memstore_1", "mem_1", "memver_1"), old_version, lambda store: store.redact_memory_version(write("memver_1"))
    ),
    "webhook": Thing(("whk_1",), webhook, lambda store: store.delete_webhook(A, "whk_1")),
    "session": Thing(("sesn_1",), session, delete_session),
    "work item": Thing(("env_1", "work_1"), item, delete_session),
}


@contract
async def an_answer_goes_with_what_it_is_about_and_none_is_stored_after(trial: Trial) -> None:
    store = trial.store
    await store.put_answer(B, kept("once", *(one.about[-1] for one in THINGS.values())))
    for what, thing in THINGS.items():
        await thing.make(store)
        await store.put_answer(A, kept("once", *thing.about))
        await store.put_answer(A, kept(f"beside the {what}", *thing.about[:-1], "agent_1"))
        assert await stored(store), what
        await thing.delete(store)
        assert not await stored(store), what
        await store.put_answer(A, kept("once", *thing.about))
        assert not await stored(store), what
        assert await stored(store, f"beside the {what}")
        await _clear(store)
    assert not await stored(store, workspace=B)  # they were never there


async def _clear(store: StorePorts) -> None:
    """Of what was made, whatever is left."""
    if await store.vault(A, "vlt_1") is not None:
        await store.delete_vault(A, "vlt_1", at(3))
    if await store.memory_store(A, "memstore_1") is not None:
        await store.delete_memory_store(A, "memstore_1", at(3))
    if await store.environment(A, "env_1") is not None:
        await store.delete_environment(A, "env_1")


@contract
async def the_answer_to_an_upload_goes_with_what_was_uploaded(trial: Trial) -> None:
    store = trial.store
    made = FileRecord(
        A, "file_1", at(0), None, None, "a.txt", "text/plain", 1, downloadable=True, counted=True, blob="file_1"
    )
    await store.announce_file(A, "file_1", at(0))
    await store.add_file(made, most_bytes=MOST, keep=kept("file", "file_1"))
    versions = [SkillVersion(A, "skill_1", f"skillver_{n}", at(n), "a", "d", 1) for n in (1, 2)]
    skill = SkillRecord(A, "skill_1", at(1), at(1), "a", "A", versions[0].id)
    for one in versions:
        await store.announce_file(A, one.id, one.created_at)
    await store.add_skill(skill, versions[0], most_bytes=MOST, keep=kept("skill", "skill_1"))
    await store.add_skill_version(versions[1], most_bytes=MOST, keep=kept("version", "skill_1", "skillver_2"))
    assert all([await stored(store, name) for name in ("file", "skill", "version")])
    await store.delete_file(A, "file_1")
    await store.delete_skill_version(A, "skill_1", "skillver_2", at(3))
    assert [await stored(store, name) for name in ("file", "skill", "version")] == [False, True, False]
    await store.delete_skill(A, "skill_1")
    assert not await stored(store, "skill")
