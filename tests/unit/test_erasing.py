"""Which deleted workspaces are erased, and when they are looked at again."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from outrider.clock import ManualClock
from outrider.errors import BlobsUnavailable, Overloaded
from outrider.ports.access import Workspace
from outrider.ports.blobs import BlobKey, BlobPrefix
from outrider.ports.log import SessionKey
from outrider.server.erasing import WorkspaceErasure
from outrider.testing.memory_blobs import MemoryBlobs
from outrider.testing.memory_declarations import MemoryDeclarations
from outrider.testing.memory_log import MemoryStore
from outrider.testing.memory_secrets import MemorySecrets
from outrider.testing.store_trial import record

pytestmark = pytest.mark.anyio
MINUTE, HOUR = 60, 3600


class Scene:
    """Two closed workspaces, a and b, that are to be erased. Sessions of those in `stuck` can't be deleted."""

    def __init__(self) -> None:
        self.store, self.blobs, self.clock = MemoryStore(), MemoryBlobs(), ManualClock()
        self.stuck: set[str] = set()
        self.erasure = WorkspaceErasure(
            *(cast(Any, self.store), self.blobs, MemorySecrets(), MemoryDeclarations(), self.clock),
            *(self._delete, asyncio.Event()),
        )

    async def doom(self) -> None:
        for name in "ab":
            await self.store.add_workspace(Workspace(name, name, self.clock.now()))
            await self.store.create_session(record(f"sesn_{name}", workspace=name), [], wake=False)
            await self.store.archive_workspace(name, self.clock.now())
            await self.store.delete_workspace(name, self.clock.now())

    async def _delete(self, key: SessionKey, before: str) -> bool:
        if key.workspace in self.stuck:
            raise BlobsUnavailable("Not now.")
        await self.store.delete_session(key, if_head=0)
        return True

    async def came_late(self) -> None:
        """What a request from before left behind in b."""
        await self.blobs.put(BlobKey("b", "file_1", "1"), b"late")

    async def is_clean(self) -> bool:
        return [one async for one in self.blobs.list(BlobPrefix("b"))] == []


async def test_a_workspace_that_cannot_be_erased_holds_up_none_behind_it() -> None:
    scene = Scene()
    await scene.doom()
    scene.stuck = {"a"}
    with pytest.raises(Overloaded, match="a"):
        await scene.erasure.run()
    assert [one.erased_at is None for one in await scene.store.doomed_workspaces()] == [True, False]
    scene.stuck = set()
    await scene.erasure.run()
    assert all(one.erased_at for one in await scene.store.doomed_workspaces())


async def test_a_workspace_that_is_gone_is_looked_at_again_at_growing_distances() -> None:
    scene = Scene()
    await scene.doom()
    await scene.erasure.run()
    looked: list[int] = []
    passed = 0
    for minute in (1, 2, 9, 10, 11, 59, 60, 61, 1439, 1440, 1441, 1501):
        scene.clock.advance((minute - passed) * MINUTE)
        passed = minute
        await scene.came_late()
        await scene.erasure.run()
        if await scene.is_clean():
            looked.append(minute)
    assert looked == [1, 10, 60, 1440]
    assert await scene.store.doomed_workspaces() == []


async def test_a_process_that_has_just_started_looks_once_at_what_is_gone() -> None:
    scene = Scene()
    await scene.doom()
    await scene.erasure.run()
    scene.clock.advance(2 * HOUR)
    await scene.came_late()
    await scene.erasure.run()
    assert await scene.is_clean()
    await scene.came_late()
    await scene.erasure.run()
    assert not await scene.is_clean()
