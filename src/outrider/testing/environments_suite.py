"""The contract of environments and of sessions on them, one function a promise. Any store must keep all of
`ENVIRONMENT_CONTRACTS`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

from outrider.errors import AlreadyAnswered, Conflict, EnvironmentArchived, InvalidRequest, NotFound, OutriderError
from outrider.ports.copies import NO_CHANGES, FileChanges
from outrider.ports.log import KeptAnswer, SessionKey
from outrider.ports.records import Footing, Page, StoredAnswer
from outrider.testing.records_suite import A, B, agent, at, environment
from outrider.testing.store_trial import Contract, Trial, event, record, refused
from outrider.testing.vaults_suite import vault

ENVIRONMENT_CONTRACTS: list[Contract] = []


def contract(function: Contract) -> Contract:
    ENVIRONMENT_CONTRACTS.append(function)
    return function


def standing(environment: str, *more: Footing) -> list[Footing]:
    return [Footing("environment", environment), *more]


async def outcome(call: Awaitable[object]) -> type[OutriderError] | None:
    """What a call is refused with."""
    try:
        await call
    except OutriderError as error:
        return type(error)
    return None


@contract
async def environments_are_put_listed_archived_and_deleted(trial: Trial) -> None:
    store = trial.store
    for name, second in (("env_1", 1), ("env_2", 2), ("env_3", 3)):
        await store.put_environment(environment(name, second=second))
    changed = replace(environment("env_2", second=2), archived_at=at(9), body=b'{"name":"new"}')
    await store.put_environment(changed, if_body=b"{}")
    assert await store.environment(A, "env_2") == changed
    assert [r.id for r in await store.environments(A, Page(limit=9))] == ["env_3", "env_1"]
    everything = Page(limit=9, descending=False, include_archived=True)
    assert [r.id for r in await store.environments(A, everything)] == ["env_1", "env_2", "env_3"]
    after = Page(limit=9, after=(at(3), "env_3"), include_archived=True)
    assert [r.id for r in await store.environments(A, after)] == ["env_2", "env_1"]
    await store.delete_environment(A, "env_1")
    assert await store.environment(A, "env_1") is None
    await refused(NotFound, store.delete_environment(A, "env_1"))


@contract
async def an_environment_changes_only_from_the_state_that_was_read(trial: Trial) -> None:
    store, first = trial.store, environment("env_1")
    await store.put_environment(first)
    await refused(Conflict, store.put_environment(replace(first, body=b'{"new":1}')))
    second = replace(first, body=b'{"name":"second"}')
    await store.put_environment(second, if_body=b"{}")
    await refused(Conflict, store.put_environment(replace(first, body=b'{"name":"third"}'), if_body=b"{}"))
    await refused(Conflict, store.put_environment(replace(first, archived_at=at(5)), if_body=b"{}"))
    assert await store.environment(A, "env_1") == second


@contract
async def an_archived_environment_never_changes_again_and_a_deleted_one_does_not_return(trial: Trial) -> None:
    store, first = trial.store, environment("env_1")
    archived = replace(first, archived_at=at(5))
    await store.put_environment(first)
    await store.put_environment(archived, if_body=first.body)
    await refused(Conflict, store.put_environment(first, if_body=first.body))
    assert await store.environment(A, "env_1") == archived
    await store.delete_environment(A, "env_1")
    await refused(NotFound, store.put_environment(first, if_body=first.body))
    assert await store.environment(A, "env_1") is None
    await refused(NotFound, store.put_environment(environment("env_1", workspace=B), if_body=first.body))


@contract
async def an_environment_is_not_deleted_under_a_session(trial: Trial) -> None:
    await trial.store.put_environment(environment("env_1"))
    key = await trial.session()
    await refused(Conflict, trial.store.delete_environment(A, "env_1"))
    await trial.store.delete_session(key, if_head=0)
    await trial.store.delete_environment(A, "env_1")


@contract
async def a_session_is_made_on_an_environment_that_is_there_and_not_archived(trial: Trial) -> None:
    store, there = trial.store, environment("env_1")
    await store.put_environment(there)
    await store.put_environment(environment("env_2", workspace=B))
    await store.put_environment(environment("env_3"))
    await store.put_environment(replace(environment("env_3"), archived_at=at(1)), if_body=b"{}")

    async def made(name: str, on: str) -> type[OutriderError] | None:
        new = record(name, environment_id=on)
        return await outcome(store.create_session(new, [event("a")], wake=True, stands_on=standing(on)))

    places = {"sesn_1": "env_1", "sesn_2": "env_2", "sesn_3": "env_3", "sesn_4": "env_1", "sesn_5": "env_none"}
    found = await asyncio.gather(*(made(name, on) for name, on in places.items()))
    assert found == [None, NotFound, EnvironmentArchived, None, NotFound]
    assert await store.living(places) == {"sesn_1", "sesn_4"}
    assert (await store.runnable(), {key.session for key, _ in trial.commits}) == (2, {"sesn_1", "sesn_4"})
    await refused(Conflict, store.create_session(record("sesn_1"), [], wake=False, stands_on=standing("env_1")))


@contract
async def a_session_that_is_refused_for_its_environment_leaves_nothing_with_files_or_without(trial: Trial) -> None:
    store, keep = trial.store, KeptAnswer("once", at(5), StoredAnswer(200, b"{}"))
    for files in (NO_CHANGES, FileChanges(dropped=("file_1",))):
        on = standing("env_1")
        making = store.create_session(record("sesn_1"), [], wake=True, keep=keep, files=files, stands_on=on)
        await refused(NotFound, making)
    assert await store.answer(A, "once", not_before="") is None
    assert await store.session(SessionKey(A, "sesn_1")) is None


@contract
async def an_environment_is_deleted_or_has_a_session_whichever_is_asked_first(trial: Trial) -> None:
    store = trial.store

    for number, delete_first in enumerate((True, False)):
        name = f"env_{number}"
        await store.put_environment(environment(name))
        deleting = outcome(store.delete_environment(A, name))
        new = record(f"sesn_{number}", environment_id=name)
        making = outcome(store.create_session(new, [], wake=False, stands_on=standing(name)))
        found = await asyncio.gather(*((deleting, making) if delete_first else (making, deleting)))
        assert found == [None, NotFound if delete_first else Conflict]
        assert (await store.environment(A, name) is None) == delete_first
        assert await store.living([new.id]) == (set() if delete_first else {new.id})


@contract
async def a_session_is_made_on_an_agent_and_vaults_that_are_there_and_not_archived(trial: Trial) -> None:
    store = trial.store
    await store.put_environment(environment("env_1"))
    for name in ("agent_1", "agent_2"):
        await store.put_agent(agent(name), if_version=None)
    for name in ("vlt_1", "vlt_2", "vlt_3"):
        await store.create_vault(vault(name))
    await store.create_vault(vault("vlt_b", workspace=B))
    await store.archive_agent(A, "agent_2", at(1))
    await store.archive_vault(A, "vlt_3", at(1))

    async def made(number: int, agent: str, *vaults: str) -> type[OutriderError] | None:
        new = record(f"sesn_{number}", agent_id=agent)
        on = standing("env_1", Footing("agent", agent), *(Footing("vault", vault) for vault in vaults))
        return await outcome(store.create_session(new, [event("a")], wake=True, stands_on=on))

    asked = [
        ("agent_1", "vlt_1", "vlt_2"), ("agent_2", "vlt_1"), ("agent_none",), ("agent_1", "vlt_1", "vlt_3"),
        ("agent_1", "vlt_none"), ("agent_1", "vlt_b"), ("agent_1", "vlt_1", "vlt_1"),
    ]  # fmt: skip
    found = await asyncio.gather(*(made(number, *names) for number, names in enumerate(asked)))
    assert found == [None, InvalidRequest, NotFound, InvalidRequest, NotFound, NotFound, None]
    assert await store.living([f"sesn_{number}" for number in range(len(asked))]) == {"sesn_0", "sesn_6"}


@contract
async def a_session_that_was_made_is_answered_though_its_agent_was_archived_since(trial: Trial) -> None:
    store = trial.store
    await store.put_environment(environment("env_1"))
    await store.put_agent(agent("agent_1"), if_version=None)
    on = standing("env_1", Footing("agent", "agent_1"))
    keep = KeptAnswer("once", at(5), StoredAnswer(200, b"{}"), if_none_since=at(1))
    await store.create_session(record("sesn_1"), [event("a")], wake=True, keep=keep, stands_on=on)
    await store.archive_agent(A, "agent_1", at(6))

    async def again(keep: KeptAnswer) -> type[OutriderError] | None:
        making = store.create_session(record("sesn_2"), [event("b")], wake=True, keep=keep, stands_on=on)
        return await outcome(making)

    assert await again(keep) is AlreadyAnswered
    assert await again(replace(keep, if_none_since=at(6))) is InvalidRequest
    assert await again(replace(keep, name="other")) is InvalidRequest
    assert await store.living(["sesn_1", "sesn_2"]) == {"sesn_1"}


@contract
async def an_agent_or_vault_is_archived_before_a_session_or_after_it(trial: Trial) -> None:
    store = trial.store
    await store.put_environment(environment("env_1"))
    for number, first in enumerate((True, False)):
        await store.put_agent(agent(f"agent_{number}"), if_version=None)
        await store.create_vault(vault(f"vlt_{number}"))
        on = (Footing("agent", f"agent_{number}"), Footing("vault", f"vlt_{number}"))
        archiving = (store.archive_agent(A, on[0].id, at(1)), store.archive_vault(A, on[1].id, at(1)))
        for footing, ending in zip(on, archiving, strict=True):
            new = record(f"sesn_{footing.id}", agent_id=footing.id)
            making = outcome(store.create_session(new, [], wake=False, stands_on=standing("env_1", footing)))
            ended = outcome(ending)
            found = await asyncio.gather(*((ended, making) if first else (making, ended)))
            assert found == [None, InvalidRequest if first else None]
            assert await store.living([new.id]) == (set() if first else {new.id})
