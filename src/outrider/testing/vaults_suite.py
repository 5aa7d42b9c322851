"""The contract of the port `vaults`: what every store of vaults and credentials must do."""

from __future__ import annotations

from dataclasses import replace

from outrider.errors import Conflict, InvalidRequest, NotFound
from outrider.ports.records import Page
from outrider.ports.vaults import MOST_CREDENTIALS, Change, CredentialRecord, SecretRef, VaultRecord
from outrider.testing.store_trial import Contract, Trial, refused

VAULTS_CONTRACTS: list[Contract] = []
A, B = "wrkspc_a", "wrkspc_b"
ALL = Page(limit=99, include_archived=True)


def contract(function: Contract) -> Contract:
    VAULTS_CONTRACTS.append(function)
    return function


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000Z"


def vault(name: str = "vlt_1", *, second: int = 0, workspace: str = A) -> VaultRecord:
    return VaultRecord(workspace, name, at(second), at(second), None, b"{}")


def credential(name: str, place: str, *, vault: str = "vlt_1", second: int = 0, workspace: str = A) -> CredentialRecord:
    return CredentialRecord(workspace, vault, name, place, 1, 1, at(second), at(second), None, b"{}")


async def told(trial: Trial) -> list[tuple[str, str, str | None]]:
    changes = await trial.store.changes(after=0, limit=99)
    assert [change.seq for change in changes] == sorted({change.seq for change in changes})
    return [(change.type, change.object, change.vault) for change in changes]


@contract
async def vaults_are_created_read_updated_and_listed(trial: Trial) -> None:
    store = trial.store
    for name, second in (("vlt_1", 1), ("vlt_2", 2), ("vlt_3", 3)):
        await store.create_vault(vault(name, second=second))
    changed = replace(vault("vlt_1", second=1), body=b'{"a":1}', updated_at=at(9))
    await store.update_vault(changed, if_updated=at(1))
    assert await store.vault(A, "vlt_1") == changed
    await refused(Conflict, store.update_vault(changed, if_updated=at(1)))
    assert [r.id for r in await store.vaults(A, Page(limit=9))] == ["vlt_3", "vlt_2", "vlt_1"]
    assert [r.id for r in await store.vaults(A, Page(limit=1, after=(at(3), "vlt_3")))] == ["vlt_2"]
    assert [r.id for r in await store.vaults(A, Page(limit=1, descending=False, after=(at(1), "vlt_1")))] == ["vlt_2"]
    assert await store.vault(B, "vlt_1") is None
    assert await store.vaults(B, ALL) == []


@contract
async def archiving_a_vault_archives_what_it_holds_once_and_tells_of_each(trial: Trial) -> None:
    store = trial.store
    await store.create_vault(vault())
    await store.create_credential(credential("vcrd_1", "env:A"))
    await store.create_credential(credential("vcrd_2", "env:B"))
    await store.archive_credential(A, "vlt_1", "vcrd_1", at(4))
    await store.archive_vault(A, "vlt_1", at(5))
    await store.archive_vault(A, "vlt_1", at(6))
    await store.archive_credential(A, "vlt_1", "vcrd_2", at(7))
    shown = await store.vault(A, "vlt_1")
    assert shown == replace(vault(), archived_at=at(5), updated_at=at(5))
    held = await store.credentials(A, "vlt_1", ALL)
    assert [(r.id, r.archived_at) for r in held] == [("vcrd_2", at(5)), ("vcrd_1", at(4))]
    assert await told(trial) == [
        ("vault.created", "vlt_1", None),
        ("vault_credential.created", "vcrd_1", "vlt_1"),
        ("vault_credential.created", "vcrd_2", "vlt_1"),
        ("vault_credential.archived", "vcrd_1", "vlt_1"),
        ("vault_credential.archived", "vcrd_2", "vlt_1"),
        ("vault.archived", "vlt_1", None),
    ]
    assert await store.vaults(A, Page(limit=9)) == []
    assert await store.secret_refs() == set()
    await refused(Conflict, store.update_vault(vault(), if_updated=at(5)))
    await refused(Conflict, store.create_credential(credential("vcrd_3", "env:C")))
    await refused(NotFound, store.archive_vault(A, "vlt_2", at(1)))
    await refused(NotFound, store.archive_vault(B, "vlt_1", at(1)))


@contract
async def deleting_a_vault_leaves_nothing_but_the_changes(trial: Trial) -> None:
    store = trial.store
    await store.create_vault(vault())
    await store.create_credential(credential("vcrd_1", "env:A"))
    await refused(NotFound, store.delete_vault(B, "vlt_1", at(2)))
    await store.delete_vault(A, "vlt_1", at(2))
    assert await store.vault(A, "vlt_1") is None
    assert await store.credential(A, "vlt_1", "vcrd_1") is None
    assert (await told(trial))[2:] == [
        ("vault_credential.deleted", "vcrd_1", "vlt_1"),
        ("vault.deleted", "vlt_1", None),
    ]
    await refused(NotFound, store.delete_vault(A, "vlt_1", at(2)))
    await refused(NotFound, store.create_credential(credential("vcrd_1", "env:A")))


@contract
async def a_place_is_had_by_one_active_credential_of_a_vault(trial: Trial) -> None:
    store = trial.store
    await store.create_vault(vault("vlt_1"))
    await store.create_vault(vault("vlt_2"))
    await store.create_credential(credential("vcrd_1", "env:A"))
    await refused(Conflict, store.create_credential(credential("vcrd_2", "env:A")))
    await store.create_credential(credential("vcrd_2", "env:A", vault="vlt_2"))
    await store.archive_credential(A, "vlt_1", "vcrd_1", at(1))
    await store.create_credential(credential("vcrd_3", "env:A"))
    await store.delete_credential(A, "vlt_1", "vcrd_3", at(2))
    await store.create_credential(credential("vcrd_4", "env:A"))
    assert [r.id for r in await store.credentials(A, "vlt_1", Page(limit=9))] == ["vcrd_4"]
    await refused(NotFound, store.delete_credential(A, "vlt_1", "vcrd_3", at(2)))
    await refused(NotFound, store.archive_credential(A, "vlt_2", "vcrd_4", at(2)))


@contract
async def a_vault_holds_only_so_many_active_credentials(trial: Trial) -> None:
    store = trial.store
    await store.create_vault(vault())
    for number in range(MOST_CREDENTIALS):
        await store.create_credential(credential(f"vcrd_{number}", f"env:A{number}"))
    await refused(InvalidRequest, store.create_credential(credential("vcrd_x", "env:X")))
    await store.archive_credential(A, "vlt_1", "vcrd_0", at(1))
    await store.create_credential(credential("vcrd_x", "env:X"))


@contract
async def a_credential_changes_only_as_it_was_seen_and_not_when_archived(trial: Trial) -> None:
    store = trial.store
    await store.create_vault(vault())
    await store.create_credential(credential("vcrd_1", "env:A"))
    changed = replace(credential("vcrd_1", "env:A"), revision=2, secret=2, body=b"new", updated_at=at(3))
    await store.update_credential(changed, if_revision=1)
    assert await store.credential(A, "vlt_1", "vcrd_1") == changed
    await refused(Conflict, store.update_credential(changed, if_revision=1))
    await store.archive_credential(A, "vlt_1", "vcrd_1", at(4))
    await refused(Conflict, store.update_credential(changed, if_revision=3))
    archived = replace(changed, revision=3, archived_at=at(4), updated_at=at(4))
    assert await store.credential(A, "vlt_1", "vcrd_1") == archived


@contract
async def the_first_vault_with_a_match_wins_and_workspaces_are_apart(trial: Trial) -> None:
    store = trial.store
    for name in ("vlt_1", "vlt_2", "vlt_3"):
        await store.create_vault(vault(name))
    await store.create_vault(vault("vlt_1", workspace=B))
    await store.create_credential(credential("vcrd_2", "env:A", vault="vlt_2"))
    await store.create_credential(credential("vcrd_3", "env:A", vault="vlt_3"))
    await store.create_credential(credential("vcrd_b", "env:A", vault="vlt_1", workspace=B))

    async def found(*vaults: str) -> str | None:
        one = await store.resolve(A, vaults, "env:A")
        return None if one is None else one.id

    assert await found("vlt_1", "vlt_2", "vlt_3") == "vcrd_2"
    assert await found("vlt_3", "vlt_2") == "vcrd_3"
    assert await found("vlt_1") is None
    await store.archive_credential(A, "vlt_2", "vcrd_2", at(1))
    assert await found("vlt_2", "vlt_3") == "vcrd_3"
    expected = {SecretRef(A, "vlt_3", "vcrd_3", 1), SecretRef(B, "vlt_1", "vcrd_b", 1)}
    assert await store.secret_refs() == expected


@contract
async def changes_are_read_on_from_where_one_stopped(trial: Trial) -> None:
    store = trial.store
    for name in ("a", "b", "c"):
        await store.add_change(Change(A, "vault_credential.refresh_failed", name, at(1), vault="vlt_1"))
    first = await store.changes(after=0, limit=2)
    assert [change.object for change in first] == ["a", "b"]
    assert [change.object for change in await store.changes(after=first[-1].seq, limit=9)] == ["c"]
