"""Runs of deployments: from a row to its session, or to the reason why there is none.

Anybody may go on with a pending run, and several may at once. The session's id is in the run's row, and the session is
kept as the answer named by the run, so one is made at most; a failure takes that name, so a late try makes none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

import msgspec

from outrider import faults
from outrider.api.lookup import skills_named
from outrider.api.own_calls import once, own_call
from outrider.api.routes import sessions
from outrider.api.services import Services
from outrider.errors import AlreadyAnswered, Conflict, InvalidRequest, NotFound, OutriderError, Overloaded
from outrider.ports.deployments import DeploymentRecord, RunRecord, Trigger
from outrider.ports.log import SessionKey
from outrider.resources.agents import agent_object
from outrider.resources.deployments import fields_of, reason_for, session_request, tokens_of
from outrider.resources.environments import check_offers_resources, check_reaches_servers, environment_object
from outrider.resources.events import named_files
from outrider.resources.sessions import new_session

Error = dict[str, str]


def new_run(
    services: Services,
    record: DeploymentRecord,
    trigger: Trigger,
    *,
    scheduled_at: str | None = None,
    asked: str | None = None,
) -> RunRecord:
    agent = fields_of(record)["agent"]
    return RunRecord(
        record.workspace,
        services.ids.new("drun"),
        record.id,
        trigger,
        scheduled_at,
        services.clock.now(),
        agent["id"],
        agent["version"],
        services.ids.new("sesn"),
        asked=asked,
    )


async def attempt(services: Services, run: RunRecord, *, give_up: bool = False) -> RunRecord:
    """Go on with a pending run; the run with its outcome. Raises Overloaded when there is none yet because something
    does not answer, unless that is to be given up."""
    if run.outcome != "pending":
        return run
    record = await services.deployments.deployment(run.workspace, run.deployment)
    if record is None:
        return await _fail(services, run, _error("unknown", f"Deployment {run.deployment} is not there."))
    try:
        error = await _problem(services, record) or await _open(services, run, record)
    except Overloaded as failure:
        if not give_up:
            raise
        error = _error("session_creation_rejected", failure.message)
    return await (_succeed(services, run) if error is None else _fail(services, run, error))


async def _succeed(services: Services, run: RunRecord) -> RunRecord:
    faults.point("run.end.before")
    await services.deployments.succeed(run, at=services.clock.now())
    faults.point("run.end.after")
    return await services.deployments.run(run.workspace, run.id) or replace(run, outcome="succeeded")


async def _fail(services: Services, run: RunRecord, error: Error) -> RunRecord:
    """Unless somebody else has made its session meanwhile."""
    said = msgspec.json.encode(error)
    pause = reason_for(error) if run.trigger == "schedule" else None
    faults.point("run.end.before")
    failed = await services.deployments.fail(run, said, at=services.clock.now(), pause=pause)
    faults.point("run.end.after")
    if failed:
        return replace(run, outcome="failed", error=said)
    return await _settled(services, run)


async def _settled(services: Services, run: RunRecord) -> RunRecord:
    """The outcome that somebody else came to. A failure ends its run in one step: if that has no end, it is a success
    that was not noted yet."""
    found = await services.deployments.run(run.workspace, run.id)
    return found if found is not None and found.outcome != "pending" else await _succeed(services, run)


async def _open(services: Services, run: RunRecord, record: DeploymentRecord) -> Error | None:
    """Make the session; what it was refused for. Raises Overloaded."""
    try:
        request = new_session(session_request(fields_of(record)))
        request.details["deployment_id"] = record.id
        call = own_call(services, run.workspace, once(services, run.id))
        await sessions.opened(call, request, given_id=run.session, tokens=tokens_of(record))
    except AlreadyAnswered:
        return None
    except Overloaded:
        raise
    except Conflict as error:
        there = await services.records.session(SessionKey(run.workspace, run.session))
        return None if there is not None else _error("session_creation_rejected", error.message)
    except InvalidRequest as error:
        return await _problem(services, record) or _error("session_creation_rejected", error.message)
    except NotFound as error:  # it was there a moment ago: whoever looks now sees what it is
        return await _problem(services, record) or _error("session_resource_not_found", error.message)
    except OutriderError as error:
        return _error("unknown", error.message)
    return None


def _error(kind: str, message: str) -> Error:
    return {"type": f"{kind}_error", "message": message}


async def _problem(services: Services, record: DeploymentRecord) -> Error | None:
    """What stands in the way of its sessions until somebody changes something."""
    body = fields_of(record)
    checks: Iterable[Callable[[Services, str, dict[str, Any]], Awaitable[Error | None]]] = (
        _of_workspace,
        _of_agent_and_environment,
        _of_vaults,
        _of_files,
        _of_memory_stores,
    )
    for check in checks:
        if (error := await check(services, record.workspace, body)) is not None:
            return error
    return None


async def _of_workspace(services: Services, workspace: str, _body: dict[str, Any]) -> Error | None:
    archived = {one.id for one in await services.access.workspaces() if one.archived_at is not None}
    return _error("workspace_archived", f"Workspace {workspace} is archived.") if workspace in archived else None


async def _of_agent_and_environment(services: Services, workspace: str, body: dict[str, Any]) -> Error | None:
    name, version = body["agent"]["id"], body["agent"]["version"]
    agent = await services.records.agent(workspace, name, version)
    if agent is None or agent.archived_at is not None:
        return _error("agent_archived", f"Agent {name} is archived.")
    environment = await services.records.environment(workspace, body["environment_id"])
    if environment is None:
        return _error("environment_not_found", f"Environment {body['environment_id']} not found.")
    if environment.archived_at is not None:
        return _error("environment_archived", f"Environment {environment.id} is archived.")
    shown = environment_object(environment)
    checks: tuple[tuple[str, Callable[[], None]], ...] = (
        ("self_hosted_resources_unsupported", lambda: check_offers_resources(shown, body["resources"])),
        ("mcp_egress_blocked", lambda: check_reaches_servers(shown, agent_object(agent))),
    )
    for kind, check in checks:
        try:
            check()
        except InvalidRequest as error:
            return _error(kind, error.message)
    try:
        await skills_named(own_call(services, workspace), agent_object(agent)["skills"], field="agent.skills")
    except NotFound as error:
        return _error("skill_not_found", error.message)
    return None


async def _of_vaults(services: Services, workspace: str, body: dict[str, Any]) -> Error | None:
    for name in body["vault_ids"]:
        vault = await services.vaults.vault(workspace, name)
        if vault is None:
            return _error("vault_not_found", f"Vault {name} not found.")
        if vault.archived_at is not None:
            return _error("vault_archived", f"Vault {name} is archived.")
    return None


async def _of_files(services: Services, workspace: str, body: dict[str, Any]) -> Error | None:
    """Those that it mounts, and those that its first messages show."""
    given = [one["file_id"] for one in body["resources"] if one["type"] == "file"]
    named = [*given, *named_files(body["initial_events"])]
    found = {file.id: file for file in await services.files.files_named(workspace, named)}
    now = services.clock.now()
    for one in named:
        if one not in found:
            return _error("file_not_found", f"File {one} not found.")
        if not found[one].lasts(now):
            return _error("file_not_found", f"File {one} has expired.")
    return None


async def _of_memory_stores(services: Services, workspace: str, body: dict[str, Any]) -> Error | None:
    for one in (given for given in body["resources"] if given["type"] == "memory_store"):
        store = await services.memories.memory_store(workspace, one["memory_store_id"])
        if store is None:
            return _error("session_resource_not_found", f"Memory store {one['memory_store_id']} not found.")
        if store.archived_at is not None:
            return _error("memory_store_archived", f"Memory store {store.id} is archived.")
    return None
