"""Deployments: agents made ready to run by a schedule or on demand; and the record of their runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from outrider import faults
from outrider.api.endpoint import Call, Reply
from outrider.api.lists import ORDER_OF_LISTS, mark_created, page_of
from outrider.api.lookup import agent_record, deployment_record, run_record, skills_named
from outrider.api.routes import resources, sessions
from outrider.api.runs import attempt, new_run
from outrider.errors import Conflict, InvalidRequest, NotFound, NotSupported, Overloaded
from outrider.ports.deployments import DeploymentFilter, DeploymentRecord, RunFilter, RunRecord
from outrider.ports.vaults import SecretRef
from outrider.resources import deployments as rules
from outrider.resources.deployments import ASKED, STATUSES, Object, deployment_object, run_object
from outrider.resources.memory_mounts import asked_for
from outrider.resources.mounts import FIRST_VERSION
from outrider.resources.sessions import new_session
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query
from outrider.wire.requests import parse

TRIES = 5
TRIGGERS = ("schedule", "manual")


def _shown(call: Call, record: DeploymentRecord) -> Reply:
    return Reply(deployment_object(record, now=call.services.clock.now()))


async def create(call: Call) -> Reply:
    request = parse("deployments.create", call.body)
    id, now = call.services.ids.new("depl"), call.services.clock.now()
    body = await _checked(call, id, rules.new_deployment(request), request)
    agent, waits = body["agent"]["id"], rules.next_at(body, now)
    stored = msgspec.json.encode(body)
    record = DeploymentRecord(call.workspace, id, agent, 1, now, now, None, None, waits, None, stored)
    await call.services.deployments.create_deployment(record)
    return _shown(call, record)


async def _checked(call: Call, id: str, body: Object, request: Mapping[str, Any]) -> Object:
    """The fields as they are stored, once a session could be made of them; the tokens go to the vault."""
    if "agent" in request:
        body["agent"] = await _pinned(call, request["agent"])
    given = request.get("resources")
    asked = new_session(rules.session_request(body, given))
    environment, agent = await sessions.usable(call, asked)
    await _check_stores(call, asked.resources)
    mounted = await resources.mounted(call, asked.resources)
    await skills_named(call, agent["skills"], field="agent.skills")
    files = await sessions.named_in(call, asked)
    sessions.opening(call, asked, {"resources": mounted.logged}, "", agent, environment, files)
    if "resources" not in request:
        return body
    if mounted.secrets:
        faults.point("api.token.before")
        for resource, secret in mounted.secrets.items():
            await call.services.secrets.put(SecretRef(call.workspace, id, resource, FIRST_VERSION), secret)
        faults.point("api.token.after")
    return rules.with_tokens(body, mounted.secrets)


async def _check_stores(call: Call, given: list[Object]) -> None:
    for one in asked_for(given):
        store = await call.services.memories.memory_store(call.workspace, one["memory_store_id"])
        if store is None:
            raise NotFound(f"resources: Memory store {one['memory_store_id']} not found.")
        if store.archived_at is not None:
            raise InvalidRequest(f"resources: Memory store {store.id} is archived.")


async def _pinned(call: Call, agent: str | Mapping[str, Any]) -> Object:
    """Of a version: the one that is named, or the latest."""
    id, version = (agent, None) if isinstance(agent, str) else (agent["id"], agent.get("version"))
    found = await agent_record(call, id, version)
    return {"type": "agent", "id": found.id, "version": found.version}


async def get(call: Call) -> Reply:
    return _shown(call, await deployment_record(call))


async def update(call: Call) -> Reply:
    request = parse("deployments.update", call.body)
    return await call.in_turn(lambda: _update(call, request))


async def _update(call: Call, request: Mapping[str, Any]) -> Reply:
    record = await deployment_record(call)
    rules.check_active(record)
    before = rules.fields_of(record)
    body = rules.updated_deployment(before, request)
    if request.keys() & ASKED:
        body = await _checked(call, record.id, body, request)

    def change(current: DeploymentRecord) -> tuple[DeploymentRecord, str] | None:
        if rules.fields_of(current) != before:
            raise Conflict(f"Deployment {record.id} was changed at the same time.")
        if body == before:
            return None
        return rules.changed_record(current, body, now=call.services.clock.now()), "deployment.updated"

    changed = await _change(call, change)
    await _erase_tokens(call, record, kept=rules.tokens_of(changed))
    return _shown(call, changed)


async def _change(
    call: Call, change: Callable[[DeploymentRecord], tuple[DeploymentRecord, str] | None]
) -> DeploymentRecord:
    """Once more where its schedule came in between."""
    for tries_left in reversed(range(TRIES)):
        record = await deployment_record(call)
        rules.check_active(record)
        made = change(record)
        if made is None:
            return record
        try:
            await call.services.deployments.update_deployment(made[0], if_revision=record.revision, change=made[1])
        except Conflict:
            if not tries_left:
                raise
            continue
        return made[0]
    raise AssertionError("the last try returns or raises")


async def _erase_tokens(call: Call, record: DeploymentRecord, kept: Mapping[str, SecretRef]) -> None:
    """If the vault does not answer now, the sweep does it."""
    used = {ref.credential for ref in kept.values()}
    with contextlib.suppress(Overloaded, NotSupported):
        for ref in rules.every_token(record):
            if ref.credential not in used:
                await call.services.secrets.purge(ref)


async def pause(call: Call) -> Reply:
    def change(record: DeploymentRecord) -> tuple[DeploymentRecord, str] | None:
        if record.paused is not None:
            return None
        return rules.paused(record, now=call.services.clock.now()), "deployment.paused"

    return _shown(call, await _change(call, change))


async def unpause(call: Call) -> Reply:
    def change(record: DeploymentRecord) -> tuple[DeploymentRecord, str] | None:
        if record.paused is None:
            return None
        return rules.unpaused(record, now=call.services.clock.now()), "deployment.unpaused"

    return _shown(call, await _change(call, change))


async def archive(call: Call) -> Reply:
    record = await deployment_record(call)
    if record.archived_at is not None:
        return _shown(call, record)

    def change(record: DeploymentRecord) -> tuple[DeploymentRecord, str] | None:
        return rules.archived(record, now=call.services.clock.now()), "deployment.archived"

    record = await _change(call, change)
    await _erase_tokens(call, record, kept={})
    return _shown(call, record)


async def list_deployments(call: Call) -> Reply:
    query = Query(call.query)
    created = query.range("created_at", ("gte", "lte"))
    limit, archived_too = query.limit(default=20, most=100), query.boolean("include_archived")
    status = query.choice("status", STATUSES, default="")
    if status and query.text("include_archived") is not None:
        raise InvalidRequest("status: can't be combined with include_archived")
    where = DeploymentFilter(query.text("agent_id"), None if not status else status == "paused")
    cursor = read_cursor(query.text("page"), "deployments", ORDER_OF_LISTS, created=created)
    page = page_of(limit, cursor, created=created, include_archived=archived_too)
    found = await call.services.deployments.deployments(call.workspace, page, where)
    shown = cut(found, limit, kind="deployments", order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    now = call.services.clock.now()
    return Reply(encoded=page_bytes([deployment_object(record, now=now) for record in shown.items], shown.next_page))


async def run(call: Call) -> Reply:
    """A session at once, whatever the schedule says. A repeated request goes on with the run of the first."""
    record = await deployment_record(call)
    rules.check_active(record)
    return Reply(run_object(await attempt(call.services, await _asked(call, record))))


async def _asked(call: Call, record: DeploymentRecord) -> RunRecord:
    services, kept = call.services, call.keep(b"")
    if kept is not None and kept.if_none_since is not None:
        earlier = await services.deployments.run_asked(call.workspace, kept.name, not_before=kept.if_none_since)
        if earlier is not None:
            return earlier
    made = new_run(services, record, "manual", asked=None if kept is None else kept.name)
    faults.point("run.add.before")
    await services.deployments.add_run(made)
    faults.point("run.add.after")
    return made


async def get_run(call: Call) -> Reply:
    return Reply(run_object(await run_record(call)))


async def list_runs(call: Call) -> Reply:
    query = Query(call.query)
    limit, created = query.limit(default=20, most=1000), query.range("created_at")
    failed = None if query.text("has_error") is None else query.boolean("has_error")
    trigger = query.choice("trigger_type", TRIGGERS, default="")
    where = RunFilter(query.text("deployment_id"), failed, trigger or None, created)
    cursor = read_cursor(query.text("page"), "deployment_runs", ORDER_OF_LISTS, created=created)
    after = cursor.position if cursor is not None and isinstance(cursor.position, tuple) else None
    found = await call.services.deployments.runs(call.workspace, where, after=after, limit=limit + 1)
    shown = cut(found, limit, kind="deployment_runs", order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([run_object(one) for one in shown.items], shown.next_page))
