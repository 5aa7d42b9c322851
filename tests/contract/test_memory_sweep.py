"""What sessions have in their sandboxes of a memory store that was deleted is erased, wherever it can be reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest

from outrider.clock import ManualClock
from outrider.ports.log import SessionKey
from outrider.ports.memory import MemoryStoreRecord
from outrider.resources.memory_mounts import DETAIL, mounted
from outrider.sandbox.homed import HomedSandboxes
from outrider.server.forgetting import MemorySweep
from outrider.testing.memory_log import MemoryStore
from outrider.testing.memory_placements import MemoryPlacements
from outrider.testing.sandbox_host import SandboxHost
from outrider.testing.sandbox_memory_suite import Memory
from outrider.testing.store_trial import record

pytestmark = pytest.mark.anyio
AT = "2026-01-01T00:00:00.000000Z"
KEPT = b"canary-of-a-memory"


@pytest.fixture(scope="module")
async def host(anyio_backend: str) -> AsyncIterator[SandboxHost]:
    host = SandboxHost()
    host.start()
    yield host
    await host.close()


def holding(host: SandboxHost) -> list[str]:
    """Files on the host that hold a memory."""
    found = [path for path in host.root.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path.name for path in found if KEPT in path.read_bytes()]


async def scene(session: str) -> MemoryStore:
    store = MemoryStore()
    stores = [MemoryStoreRecord("w", name, AT, AT, None, b'{"name":"Notes","description":""}') for name in ("a", "b")]
    for one in stores:
        await store.create_memory_store(one)
    found = await store.attach(SessionKey("w", session), ["a", "b"], AT)
    details = {DETAIL: mounted([{"memory_store_id": one.id} for one in found], found)}
    await store.create_session(
        replace(record(session, workspace="w"), details=msgspec.json.encode(details)), [], wake=False
    )
    return store


async def test_copies_of_a_deleted_store_are_erased_and_others_stay(host: SandboxHost) -> None:
    store, sandboxes = await scene("sesn_1"), host.driver()
    memory = Memory(sandboxes, "sesn_1", mounts=[("notes", True), ("notes-2", True)])
    await memory.mount()
    await memory.put(deep__er__a=KEPT.decode())
    sweep = MemorySweep(cast(Any, store), sandboxes, ManualClock())
    await sweep.run()
    assert holding(host) == ["a"]
    await store.delete_memory_store("w", "b", AT)
    await sweep.run()
    assert (holding(host), await store.orphans(9)) == (["a"], [])
    await store.delete_memory_store("w", "a", AT)
    await sweep.run()
    assert (holding(host), await store.orphans(9)) == ([], [])


async def test_what_another_server_has_is_left_to_that_one(host: SandboxHost) -> None:
    store, placements = await scene("sesn_2"), MemoryPlacements()
    await placements.place("sesn_2", "node-2")
    await store.delete_memory_store("w", "a", AT)

    async def alive(_node: str) -> bool:
        return True

    for node, left in (("node-1", 1), ("node-2", 0)):
        sandboxes = HomedSandboxes(node, host.driver(), placements, alive)
        await MemorySweep(cast(Any, store), sandboxes, ManualClock()).run()
        assert len(await store.orphans(9)) == left
