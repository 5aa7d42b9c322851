"""What an environment's keys may have read for them when they ask for skills."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from outrider.api.skills_in_use import FOUND_SECONDS, SkillsInUse
from outrider.clock import ManualClock
from outrider.ports.log import SessionKey
from outrider.testing.memory_log import MemoryStore
from outrider.testing.store_trial import record

pytestmark = pytest.mark.anyio
W, E, SKILL = "wrkspc_a", "env_1", "skill_1"


class CountingStore(MemoryStore):
    """Knows how often it was looked through, and by how many at once."""

    looks = looking = most = 0

    async def uses_skill(self, workspace: str, environment_id: str, skill: str) -> bool:
        self.looks += 1
        self.looking += 1
        self.most = max(self.most, self.looking)
        await asyncio.sleep(0)
        self.looking -= 1
        return await super().uses_skill(workspace, environment_id, skill)


async def using(store: MemoryStore) -> SessionKey:
    made = replace(record("sesn_1", workspace=W), environment_id=E, agent=b'{"skills":[{"skill_id":"skill_1"}]}')
    await store.create_session(made, [], wake=False)
    return SessionKey(W, "sesn_1")


async def test_what_was_found_holds_for_some_seconds() -> None:
    store, clock = CountingStore(), ManualClock()
    skills = SkillsInUse(store, clock)
    key = await using(store)
    assert all([await skills.has(W, E, SKILL) for _ in range(5)])
    assert store.looks == 1
    await store.delete_session(key, if_head=0)
    clock.advance(FOUND_SECONDS)
    assert not await skills.has(W, E, SKILL)


async def test_one_of_an_environment_looks_at_a_time() -> None:
    store = CountingStore()
    skills = SkillsInUse(store, ManualClock())
    assert not any(await asyncio.gather(*(skills.has(W, E, f"skill_{n}") for n in range(3))))
    assert (store.looks, store.most) == (3, 1)


async def test_what_was_not_found_is_looked_for_anew() -> None:
    store = CountingStore()
    skills = SkillsInUse(store, ManualClock())
    assert not await skills.has(W, E, SKILL)
    await using(store)
    assert await skills.has(W, E, SKILL)
    assert not await skills.has(W, "env_2", SKILL)
    assert not await skills.has("wrkspc_b", E, SKILL)
