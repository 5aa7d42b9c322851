"""The contract of the port `skills`: what every store of skills must do. Bytes are the blob store's."""

from __future__ import annotations

from dataclasses import replace

from outrider.errors import InvalidRequest, NotFound, Overloaded
from outrider.ports.log import KeptAnswer, StoredAnswer
from outrider.ports.records import Page
from outrider.ports.skills import SkillRecord, SkillVersion
from outrider.ports.store import StorePorts
from outrider.testing.files_suite import ALL, PLENTY, A, B, at
from outrider.testing.store_trial import Contract, Trial, refused

SKILLS_CONTRACTS: list[Contract] = []


def contract(function: Contract) -> Contract:
    SKILLS_CONTRACTS.append(function)
    return function


def skill(name: str = "skill_1", *, second: int = 0, latest: str = "skver_1") -> SkillRecord:
    return SkillRecord(A, name, at(second), at(second), "greeting", "How to greet", latest)


def version(name: str = "skver_1", *, of: str = "skill_1", second: int = 0, size: int = 10) -> SkillVersion:
    return SkillVersion(A, of, name, at(second), "greeting", f"described by {name}", size)


async def announced(store: StorePorts, made: SkillVersion) -> SkillVersion:
    await store.announce_file(made.workspace, made.id, made.created_at)
    return made


async def added(store: StorePorts, name: str, first: str, *, second: int = 0) -> SkillRecord:
    record = skill(name, second=second, latest=first)
    made = await announced(store, version(first, of=name, second=second))
    await store.add_skill(record, made, most_bytes=PLENTY)
    return record


@contract
async def skills_and_versions_are_read_and_listed_within_their_workspace(trial: Trial) -> None:
    store = trial.store
    made = [await added(store, f"skill_{n}", f"skver_{n}", second=n) for n in (1, 2, 3)]
    assert await store.skill(A, "skill_2") == made[1]
    assert await store.skills(A, ALL) == made[::-1]
    assert await store.skills(A, Page(limit=1, after=(at(3), "skill_3"))) == [made[1]]
    assert await store.skills(A, Page(limit=1, descending=False, after=(at(1), "skill_1"))) == [made[1]]
    assert await store.skill_version(A, "skill_2", "skver_2") == version("skver_2", of="skill_2", second=2)
    assert await store.skill_version(A, "skill_1", "skver_2") is None
    assert (await store.skill(B, "skill_1"), await store.skills(B, ALL)) == (None, [])
    assert await store.skill_version(B, "skill_1", "skver_1") is None
    assert await store.skill_versions(B, "skill_1", ALL) == []
    await refused(NotFound, store.delete_skill(B, "skill_1"))


@contract
async def the_latest_version_is_the_newest_that_is_left(trial: Trial) -> None:
    store = trial.store
    await added(store, "skill_1", "skver_1")
    for n in (2, 3):
        made = await announced(store, version(f"skver_{n}", second=n))
        await store.add_skill_version(made, most_bytes=PLENTY)
    assert await store.skill(A, "skill_1") == replace(skill(latest="skver_3"), updated_at=at(3))
    assert [v.id for v in await store.skill_versions(A, "skill_1", ALL)] == ["skver_3", "skver_2", "skver_1"]
    after = Page(limit=1, after=(at(3), "skver_3"))
    assert [v.id for v in await store.skill_versions(A, "skill_1", after)] == ["skver_2"]
    await store.delete_skill_version(A, "skill_1", "skver_3", at(4))
    assert await store.skill(A, "skill_1") == replace(skill(latest="skver_2"), updated_at=at(4))
    await refused(NotFound, store.delete_skill_version(A, "skill_1", "skver_3", at(5)))
    await store.delete_skill_version(A, "skill_1", "skver_1", at(6))
    assert await store.skill(A, "skill_1") == replace(skill(latest="skver_2"), updated_at=at(6))
    await refused(InvalidRequest, store.delete_skill_version(A, "skill_1", "skver_2", at(7)))
    await refused(NotFound, store.delete_skill_version(A, "skill_9", "skver_2", at(7)))


@contract
async def every_version_of_a_skill_has_its_name(trial: Trial) -> None:
    store = trial.store
    await added(store, "skill_1", "skver_1")
    other = await announced(store, replace(version("skver_2"), name="farewell"))
    await refused(InvalidRequest, store.add_skill_version(other, most_bytes=PLENTY))
    await refused(NotFound, store.add_skill_version(replace(other, skill="skill_9"), most_bytes=PLENTY))
    assert [v.id for v in await store.skill_versions(A, "skill_1", ALL)] == ["skver_1"]


@contract
async def bytes_belong_to_their_version_until_it_is_deleted(trial: Trial) -> None:
    store = trial.store
    await refused(Overloaded, store.add_skill(skill(), version(), most_bytes=PLENTY))
    await added(store, "skill_1", "skver_1")
    await store.add_skill_version(await announced(store, version("skver_2", second=2)), most_bytes=PLENTY)
    owners = [await store.owns_bytes(A, name) for name in ("skver_1", "skver_2", "skver_3")]
    assert owners == [True, True, False]
    assert not await store.owns_bytes(B, "skver_1")
    assert await store.stored_bytes(A) == 20
    await store.delete_skill_version(A, "skill_1", "skver_1", at(3))
    assert (await store.owns_bytes(A, "skver_1"), await store.stored_bytes(A)) == (False, 10)
    assert await store.delete_skill(A, "skill_1") == ["skver_2"]
    assert (await store.owns_bytes(A, "skver_2"), await store.stored_bytes(A)) == (False, 0)
    assert (await store.skill(A, "skill_1"), await store.skill_versions(A, "skill_1", ALL)) == (None, [])
    await refused(NotFound, store.delete_skill(A, "skill_1"))


@contract
async def what_does_not_fit_into_the_storage_leaves_nothing(trial: Trial) -> None:
    store = trial.store
    made = await announced(store, version(size=10))
    await refused(InvalidRequest, store.add_skill(skill(), made, most_bytes=9))
    assert (await store.skill(A, "skill_1"), await store.stored_bytes(A)) == (None, 0)
    await store.add_skill(skill(), made, most_bytes=10)
    second = await announced(store, version("skver_2", second=2, size=1))
    await refused(InvalidRequest, store.add_skill_version(second, most_bytes=10))
    assert (await store.skill(A, "skill_1"), await store.stored_bytes(A)) == (skill(), 10)


@contract
async def the_answer_to_an_upload_is_kept_with_it(trial: Trial) -> None:
    store = trial.store
    for n, name in enumerate(("first", "second")):
        keep = KeptAnswer(name, at(n), StoredAnswer(200, name.encode()))
        made = await announced(store, version(f"skver_{n}", second=n))
        if n == 0:
            await store.add_skill(skill(latest="skver_0"), made, most_bytes=PLENTY, keep=keep)
        else:
            await store.add_skill_version(made, most_bytes=PLENTY, keep=keep)
        stored = await store.answer(A, name, not_before=at(0))
        assert stored is not None
        assert stored.body == name.encode()
