"""Changes of one thing by several callers at once: none is lost, none is undone, and none is a conflict but a stale
version."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from anthropic import Anthropic, APIStatusError
from turns import refused

from conformance.requirements import requirement

CALLERS = 8
ROUNDS = 6
Update = Callable[..., Any]


@pytest.fixture(scope="module")
def callers() -> Generator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(CALLERS) as pool:
        yield pool


def _agent(client: Anthropic) -> Update:
    agent = client.beta.agents.create(name="an agent", model="any-model")
    return partial(client.beta.agents.update, agent.id)


def _environment(client: Anthropic) -> Update:
    environment = client.beta.environments.create(name="an environment")
    return partial(client.beta.environments.update, environment.id)


def _vault(client: Anthropic) -> Update:
    vault = client.beta.vaults.create(display_name="a vault")
    return partial(client.beta.vaults.update, vault.id)


def _credential(client: Anthropic) -> Update:
    vault = client.beta.vaults.create(display_name="a vault")
    auth: Any = {"type": "static_bearer", "mcp_server_url": "https://mcp.example/mcp", "token": "a-token"}
    made = client.beta.vaults.credentials.create(vault.id, auth=auth)
    return partial(client.beta.vaults.credentials.update, made.id, vault_id=vault.id)


def _memory_store(client: Anthropic) -> Update:
    store = client.beta.memory_stores.create(name="a store")
    return partial(client.beta.memory_stores.update, store.id)


def _deployment(client: Anthropic) -> Update:
    agent = client.beta.agents.create(name="an agent", model="any-model")
    environment = client.beta.environments.create(name="an environment")
    events: Any = [{"type": "user.message", "content": [{"type": "text", "text": "hi"}]}]
    made = client.beta.deployments.create(
        name="a deployment", agent=agent.id, environment_id=environment.id, initial_events=events
    )
    return partial(client.beta.deployments.update, made.id)


@requirement("agents:update:version-absent", "agents:update:metadata-merges", "environments:update:metadata")
@pytest.mark.parametrize("kind", [_agent, _environment, _vault, _credential, _memory_store, _deployment])
def test_changes_at_once_are_all_made(
    client: Anthropic, callers: ThreadPoolExecutor, kind: Callable[[Anthropic], Update]
) -> None:
    update, wanted = kind(client), {f"k{number}": "v" for number in range(CALLERS)}
    for made in [callers.submit(update, metadata={key: "v"}) for key in wanted]:
        made.result()
    assert update(metadata={"last": "v"}).metadata == wanted | {"last": "v"}


@requirement("agents:update:version-stale")
def test_of_changes_of_one_version_at_once_the_first_alone_is_made(
    client: Anthropic, callers: ThreadPoolExecutor
) -> None:
    update = _agent(client)

    def attempt(key: str) -> int:
        try:
            return update(metadata={key: "v"}, version=1).version
        except APIStatusError as error:
            return error.status_code

    found = sorted(callers.map(attempt, "abcd"))
    assert found == [2, 409, 409, 409]
    with refused(409, "version"):
        update(name="other", version=1)


def outcome(call: Callable[[], Any]) -> int:
    """The status of its answer."""
    try:
        call()
    except APIStatusError as error:
        return error.status_code
    return 200


@requirement("environments:update:archived", "environments:archive")
def test_an_archive_is_not_undone_by_updates_beside_it(client: Anthropic, callers: ThreadPoolExecutor) -> None:
    environments = client.beta.environments
    for _ in range(ROUNDS):
        made = environments.create(name="an environment")
        beside = [callers.submit(outcome, partial(environments.update, made.id, name=name)) for name in "ab"]
        archived = environments.archive(made.id)
        assert {one.result() for one in beside} <= {200, 400}
        assert environments.retrieve(made.id) == archived


@requirement("environments:delete")
def test_a_deleted_environment_does_not_return_with_an_update_beside_it(
    client: Anthropic, callers: ThreadPoolExecutor
) -> None:
    environments = client.beta.environments
    for _ in range(ROUNDS):
        made = environments.create(name="an environment")
        beside = [callers.submit(outcome, partial(environments.update, made.id, name=name)) for name in "ab"]
        environments.delete(made.id)
        assert {one.result() for one in beside} <= {200, 404}
        with refused(404, error_code="environment_not_found"):
            environments.retrieve(made.id)


@requirement("agents:update:archived")
def test_an_archived_agent_has_no_version_of_after_the_archive(client: Anthropic, callers: ThreadPoolExecutor) -> None:
    agents = client.beta.agents
    for _ in range(ROUNDS):
        made = agents.create(name="an agent", model="any-model")
        beside = [callers.submit(outcome, partial(agents.update, made.id, name=name)) for name in "ab"]
        archived = agents.archive(made.id)
        assert {one.result() for one in beside} <= {200, 400}
        assert agents.retrieve(made.id).version == archived.version


@requirement("environments:delete:in-use", "sessions:create:environment")
def test_an_environment_is_deleted_or_has_sessions_and_never_both(
    client: Anthropic, callers: ThreadPoolExecutor
) -> None:
    environments, agent = client.beta.environments, client.beta.agents.create(name="an agent", model="any-model")
    for _ in range(ROUNDS):
        made = environments.create(name="an environment")
        create = partial(client.beta.sessions.create, agent=agent.id, environment_id=made.id)
        beside = [callers.submit(outcome, create) for _ in "ab"]
        deleted = outcome(partial(environments.delete, made.id))
        found = {one.result() for one in beside}
        assert (deleted, found) in ((200, {404}), (409, {200}))
        assert outcome(partial(environments.retrieve, made.id)) == (404 if deleted == 200 else 200)
