"""What the scheduler makes of time: which moments fire, which are missed, and what a failed run does to a schedule."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from harness_room import Room, WrittenModel

from conformance.requirements import requirement
from outrider.api.answers import Reply, keep_nothing
from outrider.api.endpoint import Call
from outrider.api.routes import agents, deployments, environments, memory_stores, vaults
from outrider.api.scheduler import GIVE_UP, LATE, PATIENCE_SECONDS, Scheduler
from outrider.clock import ManualClock
from outrider.errors import InvalidRequest, Overloaded
from outrider.ports.access import ApiKey, Workspace
from outrider.ports.deployments import MOST_SCHEDULED, RunFilter, RunRecord
from outrider.ports.files import FileRecord
from outrider.ports.log import SessionKey
from outrider.ports.records import Page, SessionFilter
from outrider.ports.skills import SkillRecord, SkillVersion
from outrider.ports.vaults import SecretRef
from outrider.resources.webhooks import EVENTS
from outrider.testing.memory_secrets import MemorySecrets

pytestmark = pytest.mark.anyio
SAY = {"type": "user.message", "content": [{"type": "text", "text": "Go."}]}
W = "wrkspc_a"


class DeafSecrets(MemorySecrets):
    """A vault that answers again when told."""

    deaf = False

    async def copy(self, source: SecretRef, to: SecretRef) -> None:
        if self.deaf:
            raise Overloaded("The vault does not answer.")
        await super().copy(source, to)


class Scene:
    """The API's own parts over the in-memory ports, and a clock that stands still. It is 10:00:30 on 1 June."""

    agent = environment = vault = memories = ""

    def __init__(self) -> None:
        self.clock = ManualClock(datetime.fromisoformat("2026-06-01T10:00:30Z"))
        self.secrets = DeafSecrets()
        room = Room(WrittenModel())
        self.store = room.store
        self.services = replace(room.services(), clock=self.clock, secrets=self.secrets)
        self.scheduler = Scheduler(self.services)

    async def ask(self, handler: Callable[[Call], Awaitable[Any]], body: Any = None, **path: str) -> dict[str, Any]:
        key = ApiKey("apikey_1", W, "", "test", "admin", self.clock.now())
        call = Call(self.services, key, path, "", json.dumps(body or {}).encode(), keep_nothing)
        found = await handler(call)
        assert isinstance(found, Reply)
        return json.loads(found.bytes())

    async def deploy(self, expression: str | None = "*/10 * * * *", zone: str = "UTC", **more: Any) -> str:
        self.agent = (await self.ask(agents.create, {"name": "a", "model": "m", **more.pop("of_agent", {})}))["id"]
        place = {"name": "e", **more.pop("of_environment", {})}
        self.environment = (await self.ask(environments.create, place))["id"]
        fields: dict[str, Any] = {"name": "d", "agent": self.agent, "environment_id": self.environment}
        if expression is not None:
            fields["schedule"] = {"type": "cron", "expression": expression, "timezone": zone}
        made = await self.ask(deployments.create, fields | {"initial_events": [SAY]} | more)
        return made["id"]

    async def shown(self, deployment: str) -> dict[str, Any]:
        return await self.ask(deployments.get, deployment_id=deployment)

    async def pass_by(self, seconds: float, *others: Scheduler) -> None:
        """Time goes by, and the schedulers look once."""
        self.clock.advance(seconds)
        every = (self.scheduler, *others)
        await asyncio.gather(*(one.tick() for one in every))
        await asyncio.gather(*(one.settled() for one in every))

    async def sessions(self) -> list[str]:
        return [found.id for found in await self.store.sessions(W, Page(10), SessionFilter())]

    async def runs(self) -> list[RunRecord]:
        return (await self.store.runs(W, RunFilter(), after=None, limit=100))[::-1]

    async def fired(self) -> list[str]:
        return [run.scheduled_at[11:16] for run in await self.runs() if run.scheduled_at is not None]

    async def error(self) -> str:
        return json.loads((await self.runs())[-1].error or b"{}")["type"]

    async def changes(self) -> list[str]:
        return [one.type for one in await self.store.changes(after=0, limit=100)]


@requirement("deployments:schedule:fires", "deployments:webhooks")
async def test_a_moment_that_comes_makes_one_session_whoever_looks() -> None:
    scene = Scene()
    await scene.deploy()
    others = [Scheduler(scene.services) for _ in range(3)]
    await scene.pass_by(0, *others)
    assert await scene.fired() == []
    await scene.pass_by(9 * 60 + 30, *others)
    await scene.pass_by(1, *others)
    (run,) = await scene.runs()
    assert (run.scheduled_at, run.outcome) == ("2026-06-01T10:10:00.000000Z", "succeeded")
    session = await scene.store.session(SessionKey(W, run.session))
    assert session is not None
    assert session.status == "running"
    assert await scene.sessions() == [run.session]
    await scene.pass_by(10 * 60)
    assert await scene.fired() == ["10:10", "10:20"]
    expected = ["deployment.created", *["deployment_run.started", "deployment_run.succeeded"] * 2]
    told = [kind for kind in await scene.changes() if kind.startswith("deployment")]
    assert told == expected
    assert set(told) <= EVENTS


@requirement("deployments:schedule:last-run")
async def test_the_last_run_is_the_schedules_own() -> None:
    scene = Scene()
    deployment = await scene.deploy()
    await scene.ask(deployments.run, deployment_id=deployment)
    assert (await scene.shown(deployment))["schedule"]["last_run_at"] is None
    await scene.pass_by(600)
    assert (await scene.shown(deployment))["schedule"]["last_run_at"] == "2026-06-01T10:10:30.000000Z"
    await scene.ask(deployments.run, deployment_id=deployment)
    archived = await scene.ask(deployments.archive, deployment_id=deployment)
    assert archived["schedule"]["last_run_at"] == "2026-06-01T10:10:30.000000Z"


@requirement("deployments:schedule:missed")
async def test_of_moments_that_went_by_the_latest_fires_if_it_is_not_long_ago() -> None:
    scene = Scene()
    await scene.deploy("* * * * *")
    await scene.pass_by(600)
    assert await scene.fired() == ["10:10"]
    assert (await scene.store.deployments_due(scene.clock.now(), limit=1)) == []
    hourly = Scene()
    await hourly.deploy("0 * * * *")
    await hourly.pass_by(3600 - 30 + LATE.total_seconds() + 1)
    assert await hourly.fired() == []
    await hourly.pass_by(3600 - LATE.total_seconds())
    assert await hourly.fired() == ["12:00"]


@requirement("deployments:schedule:clocks")
async def test_a_repeated_hour_fires_twice_and_a_skipped_one_not_at_all() -> None:
    scene = Scene()
    scene.clock.advance((datetime.fromisoformat("2026-10-24T22:00:00Z") - DAWN).total_seconds())
    await scene.deploy("30 2 * * *", "Europe/Berlin")
    for _ in range(30):
        await scene.pass_by(15 * 60)
    assert await scene.fired() == ["00:30", "01:30"]
    spring = Scene()
    spring.clock.advance((datetime.fromisoformat("2027-03-27T22:00:00Z") - DAWN).total_seconds())
    await spring.deploy("30 2 * * *", "Europe/Berlin")
    for _ in range(60):
        await spring.pass_by(15 * 60)
    assert await spring.fired() == []


DAWN = datetime.fromisoformat("2026-06-01T10:00:30Z")


@requirement("deployments:pause", "deployments:unpause")
async def test_a_paused_deployment_does_not_fire_and_makes_nothing_up_afterwards() -> None:
    scene = Scene()
    deployment = await scene.deploy()
    await scene.ask(deployments.pause, deployment_id=deployment)
    await scene.pass_by(601)
    await scene.ask(deployments.unpause, deployment_id=deployment)
    await scene.pass_by(60)
    assert await scene.fired() == []
    await scene.pass_by(540)
    assert await scene.fired() == ["10:20"]
    kinds = [kind for kind in await scene.changes() if kind.startswith("deployment.")]
    assert kinds == ["deployment.created", "deployment.paused", "deployment.unpaused"]


async def test_another_schedule_counts_from_its_change_and_none_fires_nothing() -> None:
    scene = Scene()
    deployment = await scene.deploy()
    later = {"schedule": {"type": "cron", "expression": "15 * * * *", "timezone": "UTC"}}
    await scene.ask(deployments.update, later, deployment_id=deployment)
    await scene.pass_by(600)
    assert await scene.fired() == []
    await scene.pass_by(300)
    assert await scene.fired() == ["10:15"]
    await scene.ask(deployments.update, {"schedule": None}, deployment_id=deployment)
    await scene.pass_by(3600)
    assert await scene.fired() == ["10:15"]


async def test_an_archived_deployment_or_agent_fires_nothing() -> None:
    scene = Scene()
    deployment = await scene.deploy()
    await scene.ask(deployments.archive, deployment_id=deployment)
    await scene.deploy()
    await scene.ask(agents.archive, agent_id=scene.agent)
    await scene.pass_by(600)
    assert await scene.runs() == []


async def _archive_vault(scene: Scene) -> None:
    await scene.ask(vaults.archive, vault_id=scene.vault)


async def _delete_vault(scene: Scene) -> None:
    await scene.ask(vaults.delete, vault_id=scene.vault)


async def _delete_file(scene: Scene) -> None:
    await scene.store.delete_file(W, "file_1")


async def _archive_store(scene: Scene) -> None:
    await scene.ask(memory_stores.archive, memory_store_id=scene.memories)


async def _delete_store(scene: Scene) -> None:
    await scene.ask(memory_stores.delete, memory_store_id=scene.memories)


async def _delete_skill(scene: Scene) -> None:
    await scene.store.delete_skill(W, "skill_1")


async def _archive_environment(scene: Scene) -> None:
    await scene.ask(environments.archive, environment_id=scene.environment)


async def _delete_environment(scene: Scene) -> None:
    await scene.ask(environments.delete, environment_id=scene.environment)


async def _archive_workspace(scene: Scene) -> None:
    await scene.store.add_workspace(Workspace(W, "a", scene.clock.now()))
    await scene.store.archive_workspace(W, scene.clock.now())


async def _shut_server_out(scene: Scene) -> None:
    limited: Any = {"type": "limited", "allowed_hosts": [], "allow_mcp_servers": False, "allow_package_managers": False}
    config = {"config": {"type": "cloud", "networking": limited}}
    await scene.ask(environments.update, config, environment_id=scene.environment)


async def _uploaded(scene: Scene, *, expires_at: str | None = None) -> None:
    """A file and a skill."""
    now, most = scene.clock.now(), 1_000
    file = FileRecord(W, "file_1", now, expires_at, None, "a.txt", "text/plain", 1, True, True, "file_1")
    version = SkillVersion(W, "skill_1", "skver_1", now, "greeting", "How to greet", 1)
    for one in (file.id, version.id):
        await scene.store.announce_file(W, one, now)
    await scene.store.add_file(file, most_bytes=most)
    skill = SkillRecord(W, "skill_1", now, now, "greeting", "How to greet", version.id)
    await scene.store.add_skill(skill, version, most_bytes=most)


SERVER = {"mcp_servers": [{"type": "url", "name": "s", "url": "https://mcp.example/"}]}
TOOLS = {"tools": [{"type": "mcp_toolset", "mcp_server_name": "s"}, {"type": "agent_toolset_20260401"}]}
TOOLS_ALONE = {"tools": [{"type": "agent_toolset_20260401"}]}
SKILLS = {"skills": [{"type": "custom", "skill_id": "skill_1"}]}


@requirement("deployments:auto-pause", "deployments:webhooks")
@pytest.mark.parametrize(
    ("happens", "error"),
    [
        (_archive_vault, "vault_archived_error"),
        (_delete_vault, "vault_not_found_error"),
        (_archive_environment, "environment_archived_error"),
        (_delete_environment, "environment_not_found_error"),
        (_archive_workspace, "workspace_archived_error"),
        (_shut_server_out, "mcp_egress_blocked_error"),
        (_delete_file, "file_not_found_error"),
        (_archive_store, "memory_store_archived_error"),
        (_delete_store, "session_resource_not_found_error"),
        (_delete_skill, "skill_not_found_error"),
    ],
)
async def test_a_scheduled_run_that_can_not_work_pauses_its_deployment_until_it_is_mended(
    happens: Callable[[Scene], Awaitable[None]], error: str
) -> None:
    scene = Scene()
    scene.vault = (await scene.ask(vaults.create, {"display_name": "v"}))["id"]
    scene.memories = (await scene.ask(memory_stores.create, {"name": "m"}))["id"]
    await _uploaded(scene)
    store = {"type": "memory_store", "memory_store_id": scene.memories}
    resources = [{"type": "file", "file_id": "file_1"}, store]
    agent = SERVER | TOOLS | SKILLS
    deployment = await scene.deploy(vault_ids=[scene.vault], of_agent=agent, resources=resources)
    await happens(scene)
    await scene.pass_by(600)
    assert await scene.error() == error
    found = await scene.shown(deployment)
    assert (found["status"], found["paused_reason"]) == ("paused", {"type": "error", "error": {"type": error}})
    assert found["schedule"]["last_run_at"] is None
    assert await scene.sessions() == []
    await scene.pass_by(600)
    assert len(await scene.runs()) == 1
    assert (await scene.changes())[-3:] == [
        *("deployment_run.started", "deployment_run.failed", "deployment.paused"),
    ]


async def _spend_a_while(scene: Scene) -> None:
    scene.clock.advance(3600)


@requirement("deployments:auto-pause")
@pytest.mark.parametrize("happens", [_delete_file, _spend_a_while])
@pytest.mark.parametrize("named", ["initial_events", "resources"])
async def test_a_file_that_is_gone_or_has_expired_is_not_found_wherever_it_is_named(
    happens: Callable[[Scene], Awaitable[None]], named: str
) -> None:
    scene = Scene()
    await _uploaded(scene, expires_at="2026-06-01T10:30:00.000000Z")
    block = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    shown: dict[str, Any] = {"initial_events": [{"type": "user.message", "content": [block]}]}
    given: dict[str, Any] = {"resources": [{"type": "file", "file_id": "file_1"}]}
    await scene.deploy(of_agent=TOOLS_ALONE, **(shown if named == "initial_events" else given))
    await happens(scene)
    await scene.pass_by(600)
    assert await scene.error() == "file_not_found_error"


async def test_a_refusal_that_names_no_cause_to_mend_lets_the_schedule_go_on() -> None:
    scene = Scene()
    deployment = await scene.deploy()
    scene.services = replace(scene.services, has_room=lambda: False)
    scene.scheduler = Scheduler(scene.services)
    await scene.pass_by(600)
    assert await scene.runs() == []
    await scene.pass_by(PATIENCE_SECONDS)
    await scene.pass_by(GIVE_UP.total_seconds() - 60)
    assert await scene.runs() == []
    await scene.pass_by(120)
    await scene.pass_by(PATIENCE_SECONDS)
    assert await scene.error() == "session_creation_rejected_error"
    assert (await scene.shown(deployment))["status"] == "active"


async def test_a_run_whose_token_the_vault_can_not_lend_now_waits_for_it() -> None:
    scene = Scene()
    repository = {"type": "github_repository", "url": "https://github.com/a/b", "authorization_token": "t0ken"}
    deployment = await scene.deploy(resources=[repository])
    scene.secrets.deaf = True
    await scene.pass_by(600)
    assert await scene.runs() == []
    scene.secrets.deaf = False
    await scene.pass_by(1)
    await scene.pass_by(PATIENCE_SECONDS)
    (run,) = await scene.runs()
    held = [ref for ref in await scene.secrets.held() if ref.vault == run.session]
    assert len(held) == 1
    assert scene.secrets.kept[held[0]]["token"] == "t0ken"
    await scene.ask(deployments.archive, deployment_id=deployment)
    assert {ref.vault for ref in await scene.secrets.held()} == {run.session}


async def test_a_run_that_its_maker_left_is_ended_by_another_with_the_same_session() -> None:
    scene = Scene()
    deployment = await scene.deploy(None)
    record = await scene.store.deployment(W, deployment)
    assert record is not None
    left = RunRecord(W, "drun_left", deployment, "manual", None, scene.clock.now(), scene.agent, 1, "sesn_left")
    await scene.store.add_run(left)
    others = [Scheduler(scene.services) for _ in range(2)]
    await scene.pass_by(0, *others)
    assert await scene.runs() == []
    await scene.pass_by(PATIENCE_SECONDS, *others)
    (run,) = await scene.runs()
    assert (run.id, run.session, run.outcome) == ("drun_left", "sesn_left", "succeeded")
    assert await scene.sessions() == ["sesn_left"]


@requirement("deployments:schedule:most")
async def test_a_workspace_that_is_full_of_schedules_takes_no_more_and_still_takes_deployments_without_one() -> None:
    scene = Scene()
    record = await scene.store.deployment(W, await scene.deploy())
    assert record is not None
    for number in range(1, MOST_SCHEDULED):
        await scene.store.create_deployment(replace(record, id=f"depl_{number}"))
    with pytest.raises(InvalidRequest, match="scheduled deployments"):
        await scene.deploy()
    await scene.deploy(None)
