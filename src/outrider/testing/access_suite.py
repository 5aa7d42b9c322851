"""The contract of the port `access`: what every store of keys and workspaces must do."""

from __future__ import annotations

from dataclasses import replace

from outrider.errors import Conflict, NotFound
from outrider.ports.access import ApiKey, Doomed, Scope, Workspace
from outrider.ports.log import KeptAnswer, StoredAnswer
from outrider.ports.memory import MemoryStoreRecord, Write
from outrider.ports.records import EnvironmentRecord, Page
from outrider.ports.vaults import Change, VaultRecord
from outrider.testing.store_trial import Contract, Trial, refused

ACCESS_CONTRACTS: list[Contract] = []
A, B = "wrkspc_a", "wrkspc_b"
ALL = Page(limit=99, include_archived=True)
MANY = 201  # rows: more than go in one step


def contract(function: Contract) -> Contract:
    ACCESS_CONTRACTS.append(function)
    return function


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000Z"


def key(name: str, *, workspace: str = A, scope: Scope = "user", second: int = 0) -> ApiKey:
    return ApiKey(name, workspace, f"digest of {name}", f"named {name}", scope, at(second))


async def two_workspaces(trial: Trial) -> None:
    await trial.store.add_workspace(Workspace(A, "a", at(1)))
    await trial.store.add_workspace(Workspace(B, "b", at(2)))


@contract
async def a_key_is_found_by_its_digest_and_in_its_workspace_alone(trial: Trial) -> None:
    await two_workspaces(trial)
    store, one = trial.store, key("key_1")
    await store.add_key(one)
    assert await store.key_by_digest(one.digest) == one
    assert await store.key_by_digest("another") is None
    assert await store.key(A, "key_1") == one
    assert await store.key(B, "key_1") is None
    assert await store.keys(B, ALL) == []
    await refused(Conflict, store.add_key(replace(one, id="key_2", workspace=B)))
    await refused(NotFound, store.add_key(key("key_3", workspace="wrkspc_unknown")))


@contract
async def keys_are_listed_in_pages_and_revoked_ones_when_asked_for(trial: Trial) -> None:
    await two_workspaces(trial)
    store = trial.store
    made = [key(f"key_{n}", second=n) for n in range(4)]
    for one in made:
        await store.add_key(one)
    await store.revoke_key(A, "key_1", at(9))
    newest = await store.keys(A, Page(limit=9))
    assert [one.id for one in newest] == ["key_3", "key_2", "key_0"]
    assert await store.keys(A, Page(limit=9, descending=False)) == newest[::-1]
    assert await store.keys(A, Page(limit=1, after=(at(3), "key_3"))) == newest[1:2]
    assert [one.revoked_at for one in await store.keys(A, ALL)] == [None, None, at(9), None]


@contract
async def a_revoked_key_stays_revoked_and_raises_the_revision_once(trial: Trial) -> None:
    await two_workspaces(trial)
    store, before = trial.store, await trial.store.access_revision()
    await store.add_key(key("key_1"))
    assert await store.access_revision() == before
    await refused(NotFound, store.revoke_key(B, "key_1", at(3)))
    await refused(NotFound, store.revoke_key(A, "key_2", at(3)))
    for second in (3, 4):
        await store.revoke_key(A, "key_1", at(second))
        found = await store.key_by_digest(key("key_1").digest)
        assert found is not None
        assert found.revoked_at == at(3)
        assert await store.access_revision() == before + 1


@contract
async def a_key_of_one_environment_names_one_of_its_workspace(trial: Trial) -> None:
    await two_workspaces(trial)
    store = trial.store
    await store.put_environment(EnvironmentRecord(A, "env_1", at(0), None, b"{}"))
    one = replace(key("key_1", scope="environment"), environment="env_1")
    await refused(NotFound, store.add_key(replace(one, workspace=B)))
    await refused(NotFound, store.add_key(replace(one, environment="env_2")))
    await store.add_key(one)
    assert await store.key(A, "key_1") == one


@contract
async def a_nodes_first_key_takes_the_place_of_the_former_one(trial: Trial) -> None:
    store = trial.store
    one, two = (key(name, workspace=store.default_workspace, scope="admin") for name in ("key_1", "key_2"))
    assert await store.first_key("node-a", one) == one
    assert await store.first_key("node-a", replace(one, id="key_9")) == one
    before = await store.access_revision()
    assert await store.first_key("node-a", two) == two
    assert await store.key_by_digest(one.digest) is None
    assert await store.access_revision() == before + 1
    again = replace(one, id="key_3")
    assert await store.first_key("node-a", again) == again
    assert await store.key_by_digest(two.digest) is None


@contract
async def a_first_key_stays_while_another_node_begins_with_it(trial: Trial) -> None:
    store = trial.store
    one, two = (key(name, workspace=store.default_workspace, scope="admin") for name in ("key_1", "key_2"))
    for node in ("node-a", "node-b"):
        await store.first_key(node, one)
    await store.first_key("node-a", two)
    assert await store.key_by_digest(one.digest) == one
    await store.first_key("node-b", two)
    assert await store.key_by_digest(one.digest) is None


@contract
async def a_first_key_that_was_revoked_is_not_revived(trial: Trial) -> None:
    store = trial.store
    one, two = (key(name, workspace=store.default_workspace, scope="admin") for name in ("key_1", "key_2"))
    await store.first_key("node-a", one)
    await store.revoke_key(store.default_workspace, "key_1", at(5))
    for _ in range(2):
        assert (await store.first_key("node-a", replace(one, id="key_7"))).revoked_at == at(5)
        await store.first_key("node-a", two)


@contract
async def workspaces_have_names_of_their_own(trial: Trial) -> None:
    await two_workspaces(trial)
    store = trial.store
    assert {one.name for one in await store.workspaces()} == {"default", "a", "b"}
    await refused(Conflict, store.add_workspace(Workspace("wrkspc_c", "a", at(3))))
    await refused(Conflict, store.rename_workspace(B, "a"))
    await store.rename_workspace(B, "b")
    await store.rename_workspace(B, "new")
    assert {one.id: one.name for one in await store.workspaces()}[B] == "new"
    await refused(NotFound, store.rename_workspace("wrkspc_unknown", "x"))


@contract
async def a_closed_workspace_is_marked_erased_and_forgotten(trial: Trial) -> None:
    await two_workspaces(trial)
    store = trial.store
    await refused(Conflict, store.delete_workspace(A, at(3)))
    await refused(Conflict, store.delete_workspace(store.default_workspace, at(3)))
    await refused(NotFound, store.delete_workspace("wrkspc_unknown", at(3)))
    await store.archive_workspace(A, at(4))
    for second in (5, 6):
        await store.delete_workspace(A, at(second))
    assert {one.id: one.deleting_at for one in await store.workspaces()}[A] == at(5)
    assert await store.doomed_workspaces() == [Doomed(A)]
    for second in (7, 8):
        await store.erase_workspace(A, at(second))
    assert {one.name for one in await store.workspaces()} == {"default", "b"}
    assert await store.doomed_workspaces() == [Doomed(A, at(7))]
    await refused(NotFound, store.delete_workspace(A, at(9)))
    await store.forget_workspaces(at(7))
    assert await store.doomed_workspaces() == [Doomed(A, at(7))]
    await store.forget_workspaces(at(8))
    assert await store.doomed_workspaces() == []


@contract
async def all_records_of_an_erased_workspace_go_and_no_other_s(trial: Trial) -> None:
    await two_workspaces(trial)
    store = trial.store
    for workspace in (A, B):
        name = workspace[-1]
        await store.add_key(key(f"key_{name}", workspace=workspace))
        for number in range(MANY if workspace == A else 1):
            await store.add_change(Change(workspace, "vault.created", f"vlt_{number}", at(3)))
        await store.create_vault(VaultRecord(workspace, "vlt_1", at(3), at(3), None, b"{}"))
        await store.put_environment(EnvironmentRecord(workspace, "env_1", at(3), None, b"{}"))
        await store.create_memory_store(MemoryStoreRecord(workspace, "memstore_1", at(3), at(3), None, b"{}"))
        write = Write(workspace, "memstore_1", "memver_1", at(3), "api_actor", "apikey_1")
        await store.create_memory(write, "mem_1", "/a", b"text")
        about = KeptAnswer("once", at(3), StoredAnswer(200, b"{}"), about=("vlt_1",))
        await store.put_answer(workspace, about)
    await store.archive_workspace(A, at(4))
    await store.delete_workspace(A, at(5))
    await store.erase_workspace(A, at(6))
    assert [await held(trial, workspace) for workspace in (A, B)] == [0, 6]
    assert {change.workspace for change in await store.changes(after=0, limit=9_999)} == {B}


async def held(trial: Trial, workspace: str) -> int:
    """How much of what was made there is still found."""
    store = trial.store
    found = [
        await store.key(workspace, f"key_{workspace[-1]}"),
        await store.vault(workspace, "vlt_1"),
        await store.environment(workspace, "env_1"),
        await store.memory(workspace, "memstore_1", "mem_1"),
        await store.memory_version(workspace, "memstore_1", "memver_1"),
        await store.answer(workspace, "once", not_before=""),
    ]
    return sum(one is not None for one in found)


@contract
async def archiving_a_workspace_revokes_its_keys_and_frees_its_name(trial: Trial) -> None:
    await two_workspaces(trial)
    store = trial.store
    for one in (key("key_1"), key("key_2"), key("key_3", workspace=B)):
        await store.add_key(one)
    before = await store.access_revision()
    for second in (5, 6):
        await store.archive_workspace(A, at(second))
    assert [one.revoked_at for one in await store.keys(A, ALL)] == [at(5), at(5)]
    assert await store.key(B, "key_3") == key("key_3", workspace=B)
    assert await store.access_revision() == before + 1
    assert {one.id: one.archived_at for one in await store.workspaces()}[A] == at(5)
    await refused(Conflict, store.add_key(key("key_4")))
    await refused(NotFound, store.rename_workspace(A, "again"))
    await store.add_workspace(Workspace("wrkspc_c", "a", at(7)))
    await refused(Conflict, store.archive_workspace(store.default_workspace, at(8)))
    await refused(NotFound, store.archive_workspace("wrkspc_unknown", at(8)))
