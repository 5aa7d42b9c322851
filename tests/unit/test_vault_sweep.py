"""Keeping the vault process and the records in step: stray secrets go at the second look, notices reach the records."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.requirements import requirement
from outrider.api.sweep import Sweep, Withdrawal
from outrider.clock import ManualClock
from outrider.ports.declarations import Declaration
from outrider.ports.log import NewEvent, SessionKey
from outrider.ports.secrets import Notice
from outrider.ports.vaults import CredentialRecord, SecretRef, VaultRecord
from outrider.testing.memory_declarations import MemoryDeclarations
from outrider.testing.memory_log import MemoryStore
from outrider.testing.memory_secrets import MemorySecrets
from outrider.testing.store_trial import THREAD, record

pytestmark = pytest.mark.anyio
AT = "2026-01-01T00:00:00.000000Z"
LATER = "2026-01-01T09:00:00.000000Z"
KEPT = SecretRef("w", "vlt_1", "vcrd_1", 5)


async def scene() -> tuple[MemoryStore, MemorySecrets, Sweep]:
    store, secrets = MemoryStore(), MemorySecrets()
    await store.create_vault(VaultRecord("w", "vlt_1", AT, AT, None, b"{}"))
    body = b'{"auth":{"type":"mcp_oauth","expires_at":null}}'
    await store.create_credential(CredentialRecord("w", "vlt_1", "vcrd_1", "mcp:x", 1, 5, AT, AT, None, body))
    await secrets.put(KEPT, {})
    return store, secrets, Sweep(store, store, store, secrets, ManualClock())


async def test_a_secret_without_a_record_goes_at_the_second_look_and_no_other_version_with_it() -> None:
    _, secrets, sweep = await scene()
    strays = [replace(KEPT, version=4), replace(KEPT, version=6), replace(KEPT, credential="vcrd_2")]
    for stray in strays:
        await secrets.put(stray, {})
    assert await sweep.run() == 0
    assert set(secrets.kept) == {KEPT, *strays}
    assert await sweep.run() == 3
    assert set(secrets.kept) == {KEPT}


async def test_a_secret_whose_record_came_between_two_looks_stays() -> None:
    store, secrets, sweep = await scene()
    late = SecretRef("w", "vlt_1", "vcrd_2", 1)
    await secrets.put(late, {})
    await sweep.run()
    await store.create_credential(CredentialRecord("w", "vlt_1", "vcrd_2", "env:A", 1, 1, AT, AT, None, b"{}"))
    assert await sweep.run() == 0
    assert late in secrets.kept


async def test_nothing_is_erased_beside_records_that_never_had_a_vault() -> None:
    secrets = MemorySecrets()
    await secrets.put(KEPT, {})
    store = MemoryStore()
    sweep = Sweep(store, store, store, secrets, ManualClock())
    await sweep.run()
    await sweep.run()
    assert set(secrets.kept) == {KEPT}


async def test_an_archived_credentials_secret_is_erased_even_if_the_vault_was_away_then() -> None:
    store, secrets, sweep = await scene()
    await store.archive_credential("w", "vlt_1", "vcrd_1", LATER)
    await sweep.run()
    await sweep.run()
    assert secrets.kept == {}


async def test_a_repositorys_token_stays_with_its_session_and_goes_with_it() -> None:
    store, secrets, sweep = await scene()
    kept = SecretRef("wrkspc_a", "sesn_1", "sesrsc_1", 7)
    details = b'{"resources":[{"id":"sesrsc_1","secret":7}]}'
    opening = NewEvent("opening", "agent.message", b"{}", THREAD)
    await store.create_session(replace(record("sesn_1"), details=details), [opening], wake=False)
    strays = [replace(kept, version=6), replace(kept, credential="sesrsc_2"), replace(kept, vault="sesn_2")]
    for one in (kept, *strays):
        await secrets.put(one, {})
    await sweep.run()
    assert await sweep.run() == 3
    assert set(secrets.kept) == {KEPT, kept}
    await store.delete_session(SessionKey("wrkspc_a", "sesn_1"), if_head=1)
    await store.create_session(record("sesn_3"), [opening], wake=False)
    await sweep.run()
    assert await sweep.run() == 1
    assert set(secrets.kept) == {KEPT}


@requirement("credentials:refresh:failed")
async def test_a_refresh_inside_the_vault_shows_its_expiry_and_a_refused_one_becomes_a_change() -> None:
    store, secrets, sweep = await scene()
    old = replace(KEPT, version=4)
    secrets.told = [
        Notice(1, KEPT, "refreshed", AT, LATER),
        Notice(2, KEPT, "refresh_failed", LATER, None),
        Notice(3, old, "refresh_failed", LATER, None),
    ]
    await sweep.run()
    record = await store.credential("w", "vlt_1", "vcrd_1")
    assert record is not None
    assert LATER.encode() in record.body
    assert [change.type for change in await store.changes(after=0, limit=9)][2:] == ["vault_credential.refresh_failed"]
    assert secrets.told == []


async def test_what_a_session_declared_goes_with_it_at_the_second_look_and_never_beside_an_empty_store() -> None:
    declarations, store = MemoryDeclarations(), MemoryStore()
    for session in ("sesn_1", "sesn_2"):
        await declarations.declare(Declaration("w", session, vaults=("vlt_1",)))

    withdrawal = Withdrawal(declarations, store)
    assert [await withdrawal.run(), await withdrawal.run()] == [0, 0]
    await store.create_session(record("sesn_1"), [], wake=False)
    assert [await withdrawal.run(), await withdrawal.run()] == [0, 1]
    assert {key.session for key in await declarations.declared()} == {"sesn_1"}
