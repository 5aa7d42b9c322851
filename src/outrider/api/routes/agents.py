"""Agents and their versions."""

from __future__ import annotations

import msgspec

from outrider.api.endpoint import Call, Reply
from outrider.api.lists import ORDER_OF_LISTS, mark_created, page_of
from outrider.api.lookup import agent_record, skills_named
from outrider.ports.records import AgentRecord
from outrider.resources.agents import Agent, agent_object, new_agent, updated_agent
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query
from outrider.wire.requests import parse


def _record(call: Call, agent: Agent) -> AgentRecord:
    body = msgspec.json.encode(agent)
    return AgentRecord(call.workspace, agent["id"], agent["version"], agent["created_at"], agent["archived_at"], body)


async def create(call: Call) -> Reply:
    services = call.services
    request = parse("agents.create", call.body)
    agent = new_agent(request, id=services.ids.new("agent"), now=services.clock.now(), profiles=services.models.profile)
    await skills_named(call, agent["skills"], field="skills")
    record = _record(call, agent)
    await services.records.put_agent(record, if_version=None)
    return Reply(encoded=record.body)


async def get(call: Call) -> Reply:
    version = Query(call.query).integer("version", least=1)
    return Reply(agent_object(await agent_record(call, call.path["agent_id"], version)))


async def update(call: Call) -> Reply:
    """With a `version`, only from that one; without, the last write wins."""
    services = call.services
    request = parse("agents.update", call.body)

    async def attempt() -> Reply:
        current = agent_object(await agent_record(call, call.path["agent_id"]))
        changed = updated_agent(current, request, now=services.clock.now(), profiles=services.models.profile)
        if changed is None:
            return Reply(current)
        if changed["skills"] != current["skills"]:
            await skills_named(call, changed["skills"], field="skills")
        await services.records.put_agent(_record(call, changed), if_version=current["version"])
        return Reply(changed)

    return await (attempt() if "version" in request else call.in_turn(attempt))


async def archive(call: Call) -> Reply:
    record = await agent_record(call, call.path["agent_id"])
    if record.archived_at is None:
        await call.services.records.archive_agent(call.workspace, record.id, call.services.clock.now())
        record = await agent_record(call, record.id)
    return Reply(agent_object(record))


async def list_agents(call: Call) -> Reply:
    query = Query(call.query)
    created = query.range("created_at", ("gte", "lte"))
    limit = query.limit(default=20, most=100)
    cursor = read_cursor(query.text("page"), "agents", ORDER_OF_LISTS, created=created)
    page = page_of(limit, cursor, created=created, include_archived=query.boolean("include_archived"))
    found = await call.services.records.agents(call.workspace, page)
    shown = cut(found, limit, kind="agents", order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([agent_object(record) for record in shown.items], shown.next_page))


async def versions(call: Call) -> Reply:
    record = await agent_record(call, call.path["agent_id"])
    query = Query(call.query)
    limit = query.limit(default=20, most=100)
    kind = f"versions of {record.id}"
    cursor = read_cursor(query.text("page"), kind, ORDER_OF_LISTS, shape=int)
    before = cursor.position if cursor is not None and isinstance(cursor.position, int) else None
    found = await call.services.records.agent_versions(call.workspace, record.id, before=before, limit=limit + 1)
    shown = cut(found, limit, kind=kind, order=ORDER_OF_LISTS, cursor=cursor, mark=_mark_version)
    return Reply(encoded=page_bytes([agent_object(version) for version in shown.items], shown.next_page))


def _mark_version(record: AgentRecord) -> tuple[int, str | None]:
    return record.version, record.created_at
