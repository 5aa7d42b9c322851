"""Each resource from its making to its end, by the SDK's synchronous client and by its asynchronous one.

A life calls every method that the SDK's resource has, and no resource is without one: both are looked up in the SDK.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from anthropic import Anthropic, AsyncAnthropic
from conftest_types import CUSTOM
from either_client import Asks, Kind, asking, methods, methods_of
from live_server import Server, Stage
from oauth_scene import running_scene
from session_talk import message
from strict_wire import Inspector
from turns import TOOLSET, refused
from workers import key_of

from conformance.requirements import requirement
from outrider.models.scripted.script import Pause, ToolUse, Turn

pytestmark = pytest.mark.anyio
KINDS: tuple[Kind, ...] = get_args(Kind)
SAY: Any = message("Go.")
ELSEWHERE = {
    "messages": "the Messages API is what this server uses, not what it offers",
    "organization": "administration of the hosted service",
    "webhooks": "makes no request: test_webhooks.py lets it read deliveries",
    "environments.work.poller": "asks what the other methods ask: test_workers.py",
    "environments.work.worker": "asks what the other methods ask: test_workers.py",
    "sessions.events.tool_runner": "asks what the other methods ask: test_sdk_helpers.py",
}
"""What no life calls, with the reason."""


@dataclass
class Place:
    """What lives are made from."""

    ask: Asks
    server: Server
    stage: Stage
    model: str

    async def agent(self, *tools: Any) -> str:
        made = await self.ask("agents.create", name="lives", model=self.model, tools=list(tools))
        return made.id

    async def session_of(self, *tools: Any, **more: Any) -> dict[str, Any]:
        """The fields of a session of its own agent and environment."""
        environment = await self.ask("environments.create", name="lives")
        return {"agent": await self.agent(*tools), "environment_id": environment.id, **more}

    async def session(self, *tools: Any, **more: Any) -> str:
        made = await self.ask("sessions.create", **await self.session_of(*tools, **more))
        return made.id

    async def turn(self, session: str, thread: str | None = None) -> list[Any]:
        """Send a message and see it through on the stream of the session, or of its thread."""
        path, last = "sessions.events.stream", "session.status_idle"
        given: list[str] = [session]
        named: dict[str, str] = {}
        if thread is not None:
            path, last = "sessions.threads.events.stream", "session.thread_status_idle"
            given, named = [thread], {"session_id": session}
        seen: list[Any] = []

        async def send() -> None:
            await self.ask("sessions.events.send", session, events=[SAY])

        async with aclosing(self.ask.events(path, *given, then=send, **named)) as coming:
            async for event in coming:
                seen.append(event)
                if event.type == last:
                    break
        return seen


Life = Callable[[Place], Awaitable[None]]
LIVES: dict[tuple[str, ...], Life] = {}


def life_of(*resources: str) -> Callable[[Life], Life]:
    def add(life: Life) -> Life:
        LIVES[resources] = life
        return life

    return add


async def whole_life(
    ask: Asks, resource: str, given: dict[str, Any], change: dict[str, Any] | None = None, parent: Any = None
) -> Any:
    """Made, read, changed, listed, archived, deleted, gone: as far as the SDK has methods for it. What was made.

    `parent` is the name of the field with the parent's id, and the id.
    """
    of: dict[str, Any] = dict([parent]) if parent else {}
    first = list(of.values())
    made = await ask(f"{resource}.create", *first, **given)
    assert (await ask(f"{resource}.retrieve", made.id, **of)).to_dict().keys() == made.to_dict().keys()
    if change is not None:
        changed = (await ask(f"{resource}.update", made.id, **of, **change)).to_dict()
        assert {name: changed[name] for name in change if name != "version"} == {
            name: value for name, value in change.items() if name != "version"
        }
    assert made.id in await listed(ask, resource, first)
    if ask.has(f"{resource}.archive"):
        archived = await ask(f"{resource}.archive", made.id, **of)
        assert archived.archived_at is not None
        assert made.id not in await listed(ask, resource, first)
        assert made.id in await listed(ask, resource, first, include_archived=True)
    if ask.has(f"{resource}.delete"):
        deleted = await ask(f"{resource}.delete", made.id, **of)
        assert deleted.id == made.id
        assert deleted.type.endswith("_deleted")
        with refused(404):
            await ask(f"{resource}.retrieve", made.id, **of)
        assert made.id not in await listed(ask, resource, first)
    return made


async def listed(ask: Asks, resource: str, first: Sequence[str], **query: Any) -> list[str]:
    found = await ask.every(f"{resource}.list", *first, limit=100, **query)
    return [getattr(one, "id", "") for one in found]


@life_of("agents")
async def _agents(place: Place) -> None:
    given = {"name": "one", "model": place.model, "tools": [TOOLSET, CUSTOM]}
    await whole_life(place.ask, "agents", given, {"version": 1, "name": "two"})


@life_of("agents.versions")
async def _agent_versions(place: Place) -> None:
    agent = await place.agent()
    await place.ask("agents.update", agent, version=1, name="two")
    found = await place.ask.every("agents.versions.list", agent, limit=1)
    assert [(one.id, one.version) for one in found] == [(agent, 2), (agent, 1)]


@life_of("environments")
async def _environments(place: Place) -> None:
    await whole_life(place.ask, "environments", {"name": "one"}, {"name": "two", "metadata": {"a": "b"}})


@life_of("environments.work")
async def _work(place: Place) -> None:
    ask, model = place.ask, f"{place.model}-far"
    place.stage.put(model, Turn(ToolUse("bash", {"command": "ls"})), Turn("Done."))
    of = {"environment_id": (await ask("environments.create", name="far", config={"type": "self_hosted"})).id}
    agent = await ask("agents.create", name="far", model=model, tools=[TOOLSET])
    session = await ask("sessions.create", agent=agent.id, **of, initial_events=[SAY])
    with place.server.client() as admin:
        key = key_of(admin, of["environment_id"])
    worker = Asks(ask.client.with_options(api_key=key))
    item = await _given(worker, of["environment_id"])
    assert (item.data.id, item.state) == (session.id, "queued")
    assert (await ask("environments.work.stats", of["environment_id"])).pending == 1
    assert (await worker("environments.work.ack", item.id, **of)).state == "starting"
    beat = await worker("environments.work.heartbeat", item.id, **of, expected_last_heartbeat="NO_HEARTBEAT")
    assert beat.state == "active"
    assert (await ask("environments.work.update", item.id, **of, metadata={"a": "b"})).metadata == {"a": "b"}
    assert (await ask("environments.work.retrieve", item.id, **of)).state == "active"
    assert item.id in await listed(ask, "environments.work", [of["environment_id"]])
    await ask("sessions.events.send", session.id, events=[{"type": "user.interrupt"}])
    assert (await worker("environments.work.stop", item.id, **of, force=True)).state == "stopped"
    ask.called |= worker.called


async def _given(worker: Asks, environment: str) -> Any:
    for _ in range(40):
        item = await worker("environments.work.poll", environment, block_ms=500)
        if item is not None:
            return item
    raise AssertionError("no work was given")


@life_of("models")
async def _models(place: Place) -> None:
    assert {"listed-one", "listed-two"} <= {*await listed(place.ask, "models", [])}
    assert (await place.ask("models.retrieve", "listed-one")).id == "listed-one"
    with refused(404):
        await place.ask("models.retrieve", "listed-none")


@life_of("sessions")
async def _sessions(place: Place) -> None:
    await whole_life(place.ask, "sessions", await place.session_of(), {"title": "t", "metadata": {"a": "b"}})


@life_of("sessions.events")
async def _events(place: Place) -> None:
    session = await place.session()
    seen = await place.turn(session)
    assert [one.type for one in seen][-1] == "session.status_idle"
    found = await place.ask.every("sessions.events.list", session, limit=2)
    assert {one.id for one in seen} <= {one.id for one in found}
    await place.ask("sessions.delete", session)
    with refused(404):
        await place.ask("sessions.events.list", session)


@life_of("sessions.threads", "sessions.threads.events")
async def _threads(place: Place) -> None:
    session = await place.session()
    (thread,) = await place.ask.every("sessions.threads.list", session)
    of = {"session_id": session}
    assert (await place.ask("sessions.threads.retrieve", thread.id, **of)).status == "idle"
    seen = await place.turn(session, thread.id)
    found = await place.ask.every("sessions.threads.events.list", thread.id, **of, limit=2)
    assert {one.id for one in seen} <= {one.id for one in found}
    with refused(400, "primary"):
        await place.ask("sessions.threads.archive", thread.id, **of)


@life_of("sessions.resources")
async def _session_resources(place: Place) -> None:
    ask = place.ask
    file = await ask("files.upload", file=("a.txt", b"a"))
    repository = {"type": "github_repository", "url": "https://github.com/first/app"}
    session = await place.session(resources=[repository])
    of = {"session_id": session}
    added = await ask("sessions.resources.add", session, type="file", file_id=file.id)
    (first, second) = await ask.every("sessions.resources.list", session, limit=1)
    assert second == added == await ask("sessions.resources.retrieve", added.id, **of)
    rotated = await ask("sessions.resources.update", first.id, **of, authorization_token="t")
    assert rotated.updated_at > first.updated_at
    assert (await ask("sessions.resources.delete", added.id, **of)).id == added.id
    with refused(404):
        await ask("sessions.resources.retrieve", added.id, **of)


@life_of("deployments", "deployment_runs")
async def _deployments(place: Place) -> None:
    ask = place.ask
    given = await place.session_of(name="nightly", initial_events=[SAY])
    made = await ask("deployments.create", **given)
    assert (await ask("deployments.pause", made.id)).status == "paused"
    assert (await ask("deployments.unpause", made.id)).status == "active"
    run = await ask("deployments.run", made.id)
    assert [one.id for one in await ask.every("deployment_runs.list", deployment_id=made.id)] == [run.id]
    assert await ask("deployment_runs.retrieve", run.id) == run
    await whole_life(ask, "deployments", given, {"description": "d"})


@life_of("vaults")
async def _vaults(place: Place) -> None:
    await whole_life(place.ask, "vaults", {"display_name": "Ada"}, {"display_name": "Bea"})


@life_of("vaults.credentials")
async def _credentials(place: Place) -> None:
    ask = place.ask
    vault = (await ask("vaults.create", display_name="Ada")).id
    with running_scene() as scene:
        auth: dict[str, Any] = {"type": "mcp_oauth", "mcp_server_url": f"{scene.url}/mcp", "access_token": "access-1"}
        made = await ask("vaults.credentials.create", vault, auth=auth)
        assert (await ask("vaults.credentials.mcp_oauth_validate", made.id, vault_id=vault)).status == "valid"
    given = {"auth": {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com/", "token": "t"}}
    await whole_life(ask, "vaults.credentials", given, {"display_name": "one"}, ("vault_id", vault))


@life_of("memory_stores")
async def _memory_stores(place: Place) -> None:
    await whole_life(place.ask, "memory_stores", {"name": "one"}, {"name": "two", "description": "d"})


@life_of("memory_stores.memories", "memory_stores.memory_versions")
async def _memories(place: Place) -> None:
    ask = place.ask
    store = (await ask("memory_stores.create", name="one")).id
    of = ("memory_store_id", store)
    made = await whole_life(ask, "memory_stores.memories", {"path": "/a", "content": "one"}, {"path": "/b"}, of)
    versions = await ask.every("memory_stores.memory_versions.list", store, memory_id=made.id, limit=1)
    assert [one.operation for one in versions] == ["deleted", "modified", "created"]
    first: Any = dict([of])
    assert (await ask("memory_stores.memory_versions.retrieve", versions[2].id, **first)).content == "one"
    assert (await ask("memory_stores.memory_versions.redact", versions[2].id, **first)).content is None


@life_of("dreams")
async def _dreams(place: Place) -> None:
    ask, slow = place.ask, place.stage.put(f"{place.model}-slow", Turn("Done.", first_byte=Pause(60)))
    store, session = (await ask("memory_stores.create", name="one")).id, await place.session()
    inputs = [{"type": "memory_store", "memory_store_id": store}, {"type": "sessions", "session_ids": [session]}]
    made = await ask("dreams.create", inputs=inputs, model=slow)
    assert (await ask("dreams.cancel", made.id)).status == "canceled"
    assert (await ask("dreams.retrieve", made.id)).created_at == made.created_at
    assert made.id in await listed(ask, "dreams", [], statuses=["canceled"])
    assert (await ask("dreams.archive", made.id)).archived_at is not None
    assert made.id not in await listed(ask, "dreams", [])
    assert made.id in await listed(ask, "dreams", [], include_archived=True)


@life_of("files")
async def _files(place: Place) -> None:
    ask = place.ask
    made = await ask("files.upload", file=("a.txt", b"a"))
    assert await ask("files.retrieve_metadata", made.id) == made
    assert made.id in await listed(ask, "files", [])
    with refused(400, error_code="file_not_downloadable"):
        await ask.content("files.download", made.id)
    assert (await ask("files.delete", made.id)).id == made.id
    for method in ("files.retrieve_metadata", "files.download", "files.delete"):
        with refused(404):
            await ask(method, made.id)


@life_of("skills")
async def _skills(place: Place) -> None:
    await whole_life(place.ask, "skills", {"files": _skill("First."), "display_name": "How to greet"})


@life_of("skills.versions")
async def _skill_versions(place: Place) -> None:
    ask = place.ask
    skill = (await ask("skills.create", files=_skill("First."))).id
    made = await ask("skills.versions.create", skill, files=_skill("Second."))
    assert await ask("skills.versions.retrieve", "latest", skill_id=skill) == made
    assert [one.description for one in await ask.every("skills.versions.list", skill, limit=1)] == ["Second.", "First."]
    content = await ask.content("skills.versions.download", made.id, skill_id=skill)
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == ["greeting/SKILL.md"]
    assert (await ask("skills.versions.delete", made.id, skill_id=skill)).id == made.id
    with refused(404):
        await ask("skills.versions.retrieve", made.id, skill_id=skill)


def _skill(description: str) -> list[Any]:
    text = f"---\nname: greeting\ndescription: {description}\n---\nSay hello.\n"
    return [("greeting/SKILL.md", text.encode())]


ABSENT: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "user_profiles": (
        "Messages API",
        {"create": {"name": "n"}, "list": {}, "retrieve": {"user_profile_id": "uprof_1"},
         "update": {"user_profile_id": "uprof_1"}, "delete": {"user_profile_id": "uprof_1"},
         "create_enrollment_url": {"user_profile_id": "uprof_1"}},
    ),
    "user_profiles.action_urls": (
        "Messages API",
        {"create": {"user_profile_id": "uprof_1", "action": {"type": "enroll_end_user"}}},
    ),
    "tunnels": (
        "needs no tunnels",
        {"create": {}, "list": {}, "retrieve": {"tunnel_id": "tnl_1"}, "archive": {"tunnel_id": "tnl_1"},
         "reveal_token": {"tunnel_id": "tnl_1"}, "rotate_token": {"tunnel_id": "tnl_1"}},
    ),
    "tunnels.certificates": (
        "needs no tunnels",
        {"create": {"tunnel_id": "tnl_1", "ca_certificate_pem": "x"}, "list": {"tunnel_id": "tnl_1"},
         "retrieve": {"tunnel_id": "tnl_1", "certificate_id": "tcrt_1"},
         "archive": {"tunnel_id": "tnl_1", "certificate_id": "tcrt_1"}},
    ),
}  # fmt: skip
"""Resources that this server does not have: why, and what their methods are asked with."""


@pytest.fixture
def model(stage: Stage, model_name: str) -> str:
    return stage.put(model_name, decide=lambda _: Turn("Done."))


@requirement("helpers:both-clients")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("resources", LIVES, ids=" and ".join)
async def test_a_resource_lives_from_its_making_to_its_end(
    resources: tuple[str, ...], kind: Kind, server: Server, stage: Stage, inspector: Inspector, model: str
) -> None:
    async with asking(kind, server, inspector) as ask:
        await LIVES[resources](Place(ask, server, stage, model))
        uncalled = {path for path in methods(ask.client) if path.rpartition(".")[0] in resources} - ask.called
    assert not uncalled - ELSEWHERE.keys()


@requirement("helpers:both-clients")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("resource", ["files", "skills", "skills.versions", "models"])
async def test_a_resource_that_is_no_beta_any_more_lives_by_its_other_name(
    resource: str, kind: Kind, server: Server, stage: Stage, inspector: Inspector, model: str
) -> None:
    async with asking(kind, server, inspector, general=True) as ask:
        await LIVES[resource,](Place(ask, server, stage, model))
        there = {path for path in methods_of(ask.client) if path.rpartition(".")[0] == resource}
        assert there
        assert there <= ask.called


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("resource", ABSENT)
async def test_a_resource_that_is_not_there_says_why_by_each_method(
    resource: str, kind: Kind, server: Server, inspector: Inspector
) -> None:
    why, calls = ABSENT[resource]
    async with asking(kind, server, inspector) as ask:
        for name, given in calls.items():
            with refused(404, why):
                await ask(f"{resource}.{name}", **given)
        assert ask.called == {path for path in methods(ask.client) if path.rpartition(".")[0] == resource}


@pytest.mark.parametrize("client", [Anthropic(api_key="k"), AsyncAnthropic(api_key="k")])
def test_no_resource_of_the_sdk_is_without_its_life(client: Anthropic | AsyncAnthropic) -> None:
    found = {path.rpartition(".")[0] for path in methods(client)}
    elsewhere = {one for one in found if one.split(".")[0] in ELSEWHERE}
    assert found - elsewhere == {resource for resources in LIVES for resource in resources} | ABSENT.keys()


def test_what_is_said_to_be_tested_elsewhere_is_in_the_sdk() -> None:
    found = methods(AsyncAnthropic(api_key="k"))
    assert {one for one in ELSEWHERE if one not in found} == {"messages", "organization", "webhooks"}
