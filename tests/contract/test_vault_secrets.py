"""Secrets at rest: what is on disk, whose it is, what opens it, and what a killed rekey leaves."""

# ruff: noqa: ASYNC221, ASYNC240 (nothing else runs in a test's loop)
from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from transit_server import TOKEN, running_transit

from outrider.clock import ManualClock
from outrider.errors import Conflict, InvalidRequest, KeyUnavailable, NotFound, SecretsLocked
from outrider.vault.audit import Audit, Use
from outrider.vault.envelope import Owner, Sealed, seal, unseal
from outrider.vault.keys import KeySources, new_key
from outrider.vault.secrets import FILE, SecretStore
from outrider.vault.transit import TransitKey

pytestmark = pytest.mark.anyio
CANARY = b"canary-4be1c0ffee-secret"
OWNER = Owner("wrkspc_a", "vlt_1", "vcrd_1", 1)


def sources(directory: Path, variable: str = "") -> KeySources:
    return KeySources(directory / "key", variable)


def owners(count: int) -> list[Owner]:
    return [replace(OWNER, credential=f"vcrd_{number}") for number in range(count)]


async def fill(store: SecretStore, count: int) -> None:
    for owner in owners(count):
        await store.put(owner, CANARY + owner.credential.encode())


async def check(store: SecretStore, count: int) -> None:
    for owner in owners(count):
        assert await store.get(owner) == CANARY + owner.credential.encode()


async def test_a_secret_comes_back_after_a_restart_and_no_file_shows_it(tmp_path: Path) -> None:
    store = SecretStore.open(tmp_path, sources(tmp_path))
    await store.put(OWNER, CANARY)
    assert not [path for path in tmp_path.iterdir() if CANARY in path.read_bytes()]
    store.close()
    again = SecretStore.open(tmp_path, sources(tmp_path))
    assert await again.get(OWNER) == CANARY
    again.close()
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {
        "key": "0o600",
        FILE: "0o600",
    }


@pytest.mark.parametrize(
    "other",
    [
        replace(OWNER, workspace="wrkspc_b"),
        replace(OWNER, vault="vlt_2"),
        replace(OWNER, credential="vcrd_2"),
        replace(OWNER, version=2),
    ],
)
async def test_a_row_that_is_moved_to_another_owner_does_not_open(tmp_path: Path, other: Owner) -> None:
    store = SecretStore.open(tmp_path, sources(tmp_path))
    await store.put(OWNER, CANARY)
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute(
            "UPDATE secrets SET workspace = ?, vault = ?, credential = ?, version = ?",
            (other.workspace, other.vault, other.credential, other.version),
        )
    db.close()
    with pytest.raises(SecretsLocked):
        await store.get(other)
    store.close()


async def test_the_data_key_too_is_bound_to_its_owner() -> None:
    key = new_key()
    one, two = await seal(key, OWNER, CANARY), await seal(key, replace(OWNER, version=2), CANARY)
    assert await unseal(key, OWNER, one) == CANARY
    with pytest.raises(SecretsLocked):
        await unseal(key, OWNER, replace(one, wrapped=two.wrapped))
    with pytest.raises(SecretsLocked):
        await unseal(key, OWNER, Sealed(one.key, one.wrapped, one.nonce, one.ciphertext[:-1] + b"x"))


async def test_a_missing_or_other_key_refuses_to_start_by_name_and_changes_nothing(tmp_path: Path) -> None:
    store = SecretStore.open(tmp_path, sources(tmp_path))
    await store.put(OWNER, CANARY)
    needed = store.key_id
    store.close()
    kept = (tmp_path / "key").read_bytes()
    (tmp_path / "key").unlink()
    with pytest.raises(SecretsLocked, match=needed):
        SecretStore.open(tmp_path, sources(tmp_path))
    assert not (tmp_path / "key").exists()
    with pytest.raises(SecretsLocked, match=needed):
        SecretStore.open(tmp_path, sources(tmp_path, new_key().line()))
    for wrong in (b"", b"nonsense", b"outrider-vault-key-1:AAAA"):
        (tmp_path / "key").write_bytes(wrong)
        with pytest.raises(InvalidRequest, match="key file"):
            SecretStore.open(tmp_path, sources(tmp_path))
    (tmp_path / "key").write_bytes(kept)
    again = SecretStore.open(tmp_path, sources(tmp_path))
    assert await again.get(OWNER) == CANARY
    again.close()


async def test_a_purged_secret_is_gone_from_the_files_and_older_versions_with_it(tmp_path: Path) -> None:
    store = SecretStore.open(tmp_path, sources(tmp_path))
    for version in (1, 2, 3):
        await store.put(replace(OWNER, version=version), CANARY)
    with sqlite3.connect(tmp_path / FILE) as db:
        (wrapped,) = db.execute("SELECT wrapped FROM secrets WHERE version = 2").fetchone()
    db.close()
    await store.purge(replace(OWNER, version=2))
    assert not [path for path in tmp_path.iterdir() if wrapped in path.read_bytes()]
    assert store.refs() == [("wrkspc_a", "vlt_1", "vcrd_1", 3)]
    with pytest.raises(NotFound):
        await store.get(OWNER)
    assert await store.get(replace(OWNER, version=3)) == CANARY
    store.close()


async def test_a_rekey_replaces_the_files_key_beside_a_running_vault(tmp_path: Path) -> None:
    running = SecretStore.open(tmp_path, sources(tmp_path))
    await fill(running, 3)
    old = (tmp_path / "key").read_text()
    other = SecretStore.open(tmp_path, sources(tmp_path))
    assert await other.rekey() == 3
    other.close()
    assert old.strip() not in (tmp_path / "key").read_text()
    assert len((tmp_path / "key").read_text().splitlines()) == 1
    await check(running, 3)
    await running.put(OWNER, CANARY)
    running.close()
    (tmp_path / "key.old").write_text(old)
    with pytest.raises(SecretsLocked):
        SecretStore.open(tmp_path, KeySources(tmp_path / "key.old"))
    again = SecretStore.open(tmp_path, sources(tmp_path))
    assert await again.get(OWNER) == CANARY
    again.close()


REKEY = """
import asyncio, os, signal, sys
from pathlib import Path
from outrider.vault.keys import KeySources
from outrider.vault.secrets import SecretStore
directory, left = Path(sys.argv[1]), [int(sys.argv[2])]
def step():
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
store = SecretStore.open(directory, KeySources(directory / "key"), step=step)
asyncio.run(store.rekey())
"""


async def test_a_rekey_that_is_killed_anywhere_leaves_every_secret_readable_and_is_finished_later(
    tmp_path: Path,
) -> None:
    store = SecretStore.open(tmp_path, sources(tmp_path))
    await fill(store, 5)
    store.close()
    for nth in range(1, 100):
        command = [sys.executable, "-c", REKEY, str(tmp_path), str(nth)]
        code = subprocess.run(command, timeout=30, check=False).returncode
        store = SecretStore.open(tmp_path, sources(tmp_path))
        await check(store, 5)
        await store.put(OWNER, b"new")
        await store.finish()
        await check(store, 0)
        assert await store.get(OWNER) == b"new"
        await fill(store, 5)
        store.close()
        assert len((tmp_path / "key").read_text().splitlines()) == 1
        if code == 0:
            break
        assert code == -signal.SIGKILL
    else:
        pytest.fail("it never came to its end")
    assert nth > 6


async def test_only_one_rekey_runs_at_a_time(tmp_path: Path) -> None:
    store = SecretStore.open(tmp_path, sources(tmp_path))
    with store._rekeying():  # pyright: ignore[reportPrivateUsage]
        other = SecretStore.open(tmp_path, sources(tmp_path))
        with pytest.raises(Conflict):
            await other.rekey()
        other.close()
    store.close()


async def test_secrets_move_from_the_file_to_the_variable_and_on_to_the_next_variable(tmp_path: Path) -> None:
    store = SecretStore.open(tmp_path, sources(tmp_path))
    await fill(store, 3)
    store.close()
    first, second = new_key(), new_key()
    for variable in (first.line(), f"{second.line()},{first.line()}", second.line()):
        store = SecretStore.open(tmp_path, sources(tmp_path, variable))
        await check(store, 3)
        await store.finish()
        await check(store, 3)
        store.close()
    assert not (tmp_path / "key").exists()
    with pytest.raises(SecretsLocked, match=second.id):
        SecretStore.open(tmp_path, sources(tmp_path, first.line()))


async def test_an_outside_service_keeps_the_key_and_sees_no_secret(tmp_path: Path) -> None:
    with running_transit() as transit:
        outside = TransitKey(transit.url, "transit", "outrider", TOKEN)
        assert TOKEN not in repr(outside)
        store = SecretStore.open(tmp_path, KeySources(tmp_path / "key", outside=outside))
        await fill(store, 2)
        await check(store, 2)
        assert not (tmp_path / "key").exists()
        transit.keys.append(os.urandom(32))
        assert await store.rekey() == 2
        transit.keys[0] = os.urandom(32)
        await check(store, 2)
        transit.sealed = True
        with pytest.raises(KeyUnavailable, match="503"):
            await store.get(owners(1)[0])
        transit.sealed = False
        await check(store, 2)
        transit.keys[1] = os.urandom(32)
        with pytest.raises(SecretsLocked):
            await store.get(owners(1)[0])
        store.close()
    stopped = TransitKey(transit.url, "transit", "outrider", TOKEN)
    with pytest.raises(KeyUnavailable, match="can't be reached"):
        await stopped.wrap(b"k" * 32, b"c")


async def test_secrets_move_from_the_file_to_an_outside_service(tmp_path: Path) -> None:
    store = SecretStore.open(tmp_path, sources(tmp_path))
    await fill(store, 2)
    store.close()
    with running_transit() as transit:
        outside = TransitKey(transit.url, "transit", "outrider", TOKEN)
        store = SecretStore.open(tmp_path, KeySources(tmp_path / "key", outside=outside))
        assert await store.finish() == 2
        await check(store, 2)
        assert not (tmp_path / "key").exists()
        store.close()


def test_each_use_is_on_record_and_full_files_are_kept_under_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outrider.vault.growing.LARGEST", 400)
    audit = Audit(tmp_path, ManualClock())
    for number in range(9):
        audit.note(Use(f"vcrd_{number}", "https://example.com", "sent", "mcp.call", session="sesn_1", epoch=number))
    audit.close()
    lines = [line for path in sorted(tmp_path.iterdir()) for line in path.read_text().splitlines()]
    assert {json.loads(line)["credential"] for line in lines} == {f"vcrd_{number}" for number in range(9)}
    assert len(list(tmp_path.iterdir())) > 1
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


def test_a_key_is_shown_by_no_repr() -> None:
    key = new_key()
    raw = base64.b64decode(key.line().partition(":")[2])
    assert key.line() not in repr(key) + repr(KeySources(Path("/x"), key.line()))
    assert raw not in repr(key).encode()
