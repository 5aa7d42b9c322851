"""Sessions: create, read, list, update, archive, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import msgspec

from outrider import faults
from outrider.api.attaching import attached
from outrider.api.endpoint import Call, Reply
from outrider.api.intake import factory_for, hand_over, light_state
from outrider.api.lists import mark_created, page_of
from outrider.api.lookup import agent_record, environment_record, named_file_records, skills_named
from outrider.api.lookup import session_record as stored
from outrider.api.routes import resources
from outrider.api.scopes import DEFINE, require
from outrider.errors import InvalidRequest, StorageFull
from outrider.ports.copies import FileChanges
from outrider.ports.declarations import Declaration
from outrider.ports.log import NewEvent, SessionKey
from outrider.ports.records import Footing, SessionFilter, SessionRecord
from outrider.ports.vaults import SecretRef
from outrider.resources.agents import agent_object, effective_agent
from outrider.resources.declared import declaration_of
from outrider.resources.environments import check_offers_resources, check_reaches_servers, environment_object
from outrider.resources.events import check_named, named_files
from outrider.resources.footings import absent, archived, footings
from outrider.resources.memory_mounts import DETAIL, asked_for
from outrider.resources.mounts import Mounted
from outrider.resources.sessions import (
    FOLDERS,
    STATUSES,
    SessionChange,
    SessionRequest,
    check_archivable,
    check_deletable,
    check_priced,
    deleted_session,
    new_session,
    opened_by,
    opener_of,
    session_object,
    session_record,
    updated_session,
)
from outrider.resources.skills import used
from outrider.session import costs, events
from outrider.session.events import EventFactory, as_row
from outrider.session.events import decode as decoded
from outrider.session.fold import apply
from outrider.session.inbox import Admission, admit
from outrider.session.named import Facts
from outrider.session.resting import updated_rows
from outrider.session.state import State, spent
from outrider.wire.pages import Order, cut, read_cursor, two_way_page_bytes
from outrider.wire.query import Query
from outrider.wire.requests import parse

REFERENCE = frozenset({"type", "id", "version"})
"""An agent named like this is taken as it was defined."""
NO_TOKENS: Mapping[str, SecretRef] = MappingProxyType({})


def _shown(call: Call, record: SessionRecord) -> dict[str, Any]:
    return session_object(record, now=call.services.clock.now())


async def create(call: Call) -> Reply:
    return await opened(call, asked(call, call.body))


def asked(call: Call, body: bytes) -> SessionRequest:
    """What a body asks for, which the key may ask. Raises InvalidRequest, PermissionDenied."""
    request = new_session(parse("sessions.create", body))
    if isinstance(request.agent, dict) and request.agent.keys() - REFERENCE:
        require(call.key, DEFINE, "give a session another agent than a defined one")
    return request


@dataclass(frozen=True, slots=True)
class Ground:
    """What a session stands on that the server makes by itself: an agent's snapshot and an environment that no record
    holds, and what is mounted beside memory stores."""

    environment: dict[str, Any]
    agent: dict[str, Any]
    mounted: Mounted


async def opened(
    call: Call,
    request: SessionRequest,
    *,
    given_id: str | None = None,
    tokens: Mapping[str, SecretRef] = NO_TOKENS,
    ground: Ground | None = None,
) -> Reply:
    """Make the session. One that is made for a deployment has its id before, and the vault holds the tokens of its
    repositories, by their addresses; the answer kept with it is not erased with it. `ground`: instead of what the
    request names."""
    services = call.services
    if not services.has_room():
        raise StorageFull("The disk of the session log is nearly full; no sessions are created until there is room.")
    environment, agent = await usable(call, request) if ground is None else (ground.environment, ground.agent)
    memory_stores = asked_for(request.resources)
    mounted = await resources.mounted(call, request.resources) if ground is None else ground.mounted
    copies = resources.lent(mounted, tokens)
    if mounted.resources:
        request.details["resources"] = mounted.resources
    key = SessionKey(call.workspace, given_id or services.ids.new("sesn"))
    if memory_stores:
        request.details[DETAIL] = await attached(call, key, memory_stores)
    thread = services.ids.new("sthr")
    skills = await skills_named(call, agent["skills"], field="agent.skills")
    logged = {"resources": mounted.logged, "skills": used.for_log(skills)}
    files = await named_in(call, request)
    first, admission = opening(call, request, logged, thread, agent, environment, files)
    record = session_record(
        request, key=key, thread=thread, agent=agent, now=services.clock.now(), patch=admission.patch
    )
    body = msgspec.json.encode(_shown(call, record))
    await resources.keep_secrets(call, key.session, mounted, copies)
    await _declare(call, declaration_of(record, environment["config"].get("networking")))
    keep = call.keep(body)
    faults.point("api.take.before")
    lease = await services.records.create_session(
        opened_by(record, keep.name) if keep is not None and given_id is None else record,
        [first, *admission.rows],
        wake=admission.wake,
        worker=services.dispatch.claimant(),
        keep=keep,
        files=FileChanges(tuple(mounted.copies), added=tuple(mounted.added)),
        stands_on=footings(record, request.details["vault_ids"]) if ground is None else (),
    )
    faults.point("api.take.after")
    if admission.rows:
        services.feed.note_client(key, 2)
    hand_over(services, admission, lease)
    return Reply(encoded=body, kept=True)


async def usable(call: Call, request: SessionRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """The environment and the agent's snapshot of a session that is asked for. Raises NotFound, InvalidRequest."""
    environment = await _usable_environment(call, request.environment_id)
    await _check_vaults(call, request.details["vault_ids"])
    base = agent_object(await agent_record(call, request.agent_id, request.agent_version))
    agent = effective_agent(base, request.agent, profiles=call.services.models.profile)
    check_reaches_servers(environment, agent)
    check_offers_resources(environment, [*request.resources, *request.details.get(FOLDERS, [])])
    if request.details.get("budget") is not None:
        check_priced(agent, call.services.models.profile)
    agent["skills"] = used.pinned(agent["skills"], await skills_named(call, agent["skills"], field="agent.skills"))
    return environment, agent


async def _networking(call: Call) -> dict[str, Any] | None:
    """The environment's as the session began with it."""
    (first,) = await call.services.log.read(_key(call), after=0, limit=1)
    return events.decode(first.body)["environment"]["config"].get("networking")


async def _declare(call: Call, said: Declaration, *, again: bool = False) -> None:
    """Before the session exists, or is changed: what is declared of none is swept. Nothing to say, nothing to wait for,
    unless it has said something before."""
    if said.says_something or again:
        await call.services.declarations.declare(said)


async def _usable_environment(call: Call, environment_id: str) -> dict[str, Any]:
    environment = environment_object(await environment_record(call, environment_id))
    if environment["archived_at"] is not None:
        raise archived(Footing("environment", environment_id))
    return environment


async def _check_vaults(call: Call, vault_ids: list[str]) -> None:
    for vault_id in vault_ids:
        vault = await call.services.vaults.vault(call.workspace, vault_id)
        if vault is None:
            raise absent(Footing("vault", vault_id))
        if vault.archived_at is not None:
            raise archived(Footing("vault", vault_id))


async def named_in(call: Call, request: SessionRequest) -> Facts:
    """What is known of the files that the initial events name. Raises NotFound, InvalidRequest."""
    asked = request.initial_events
    found = await named_file_records(call, named_files(asked))
    return check_named(asked, found, call.services.clock.now(), field="initial_events")


def opening(
    call: Call,
    request: SessionRequest,
    logged: dict[str, list[dict[str, Any]]],
    thread: str,
    agent: dict[str, Any],
    environment: dict[str, Any],
    files: Facts,
) -> tuple[NewEvent, Admission]:
    """The log's first row, which makes it self-contained, and what the initial events add."""
    factory = EventFactory(thread, agent["name"], call.services.ids, call.services.clock)
    about = {"id": environment["id"], "config": environment["config"]}
    budget = request.details.get("budget")
    prices = {
        "hour": costs.of_hour(call.services.settings.prices.running_hour),
        "budget": None if budget is None else costs.cents_of(budget),
    }
    facts = {"agent": agent, "environment": about, **prices}
    facts |= {name: request.details[name] for name in (DETAIL, FOLDERS) if name in request.details}
    opening = factory.internal(events.CREATED, facts | {key: said for key, said in logged.items() if said})
    state = State()
    apply(state, as_row(opening, 1, 0))
    takes_system = call.services.models.profile(agent["model"]["id"]).mid_conversation_system
    first = request.initial_events
    field, trace = "initial_events", call.trace
    return opening, admit(state, first, factory, {}, allow_system=takes_system, trace=trace, files=files, field=field)


async def get(call: Call) -> Reply:
    return Reply(_shown(call, await stored(call)))


async def list_sessions(call: Call) -> Reply:
    query = Query(call.query)
    order: Order = "asc" if query.choice("order", ("asc", "desc"), default="desc") == "asc" else "desc"
    limit = query.limit(default=20, most=1000)
    created = query.range("created_at")
    cursor = read_cursor(query.text("page"), "sessions", order, created=created)
    page = page_of(
        limit,
        cursor,
        created=created,
        include_archived=query.boolean("include_archived"),
        order=order,
    )
    found = await call.services.records.sessions(call.workspace, page, _filter(query))
    shown = cut(found, limit, kind="sessions", order=order, cursor=cursor, mark=mark_created)
    data = [_shown(call, record) for record in shown.items]
    return Reply(encoded=two_way_page_bytes(data, shown.next_page, shown.prev_page))


def _filter(query: Query) -> SessionFilter:
    agent_id, version = query.text("agent_id"), query.integer("agent_version", least=1)
    if version is not None and agent_id is None:
        raise InvalidRequest("agent_version: needs agent_id beside it")
    return SessionFilter(
        agent_id,
        version,
        query.choices("statuses", STATUSES),
        memory_store=query.text("memory_store_id"),
        deployment_id=query.text("deployment_id"),
    )


async def update(call: Call) -> Reply:
    request = parse("sessions.update", call.body)
    if "agent" in request:
        require(call.key, DEFINE, "change a session's agent")

    async def attempt() -> Reply:
        state, record = await _as_of(call)
        now = call.services.clock.now()
        if request.get("budget") is not None and decoded(record.details).get("budget") is not None:
            check_priced(decoded(record.agent), call.services.models.profile)
        change = updated_session(record, request, now=now, spent=spent(state, now))
        if change is None:
            return Reply(_shown(call, record))
        if request.get("agent", {}).get("mcp_servers"):
            environment = environment_object(await environment_record(call, record.environment_id))
            check_reaches_servers(environment, request["agent"])
        if "mcp_servers" in request.get("agent", {}):
            await _declare(call, declaration_of(change.record, await _networking(call)), again=True)
        return Reply(_shown(call, await _apply(call, state, change)))

    return await _in_turn(call, attempt)


async def _apply(call: Call, state: State, change: SessionChange) -> SessionRecord:
    """Write a change, and what the budget's change lets go on; the record as it is then."""
    rows, patch = updated_rows(factory_for(call.services, state), state, change.fields)
    resumes = patch is not None
    await call.services.records.update_session(
        change.record, rows, if_head=state.seq, columns="details", patch=patch, wake=resumes
    )
    if resumes:
        call.services.dispatch.ring()
    return replace(change.record, status="running") if resumes else change.record


async def archive(call: Call) -> Reply:
    async def attempt() -> Reply:
        state, record = await _as_of(call)
        if record.archived_at is not None:
            return Reply(_shown(call, record))
        check_archivable(replace(record, status=state.status))
        now = call.services.clock.now()
        archived = replace(record, status="terminated", archived_at=now, updated_at=now)
        rows = factory_for(call.services, state).terminated() if state.status != "terminated" else []
        await call.services.records.update_session(archived, rows, if_head=state.seq, columns="archive")
        await resources.erase_secrets(call, record)
        return Reply(_shown(call, archived))

    return await _in_turn(call, attempt)


async def delete(call: Call) -> Reply:
    async def attempt() -> Reply:
        state, record = await _as_of(call)
        key = SessionKey(call.workspace, record.id)
        check_deletable(replace(record, status=state.status))
        gone = factory_for(call.services, state).public("session.deleted")
        faults.point("api.delete.before")
        now = call.services.clock.now()
        await call.services.records.delete_session(key, if_head=state.seq, opened_by=opener_of(record), at=now)
        faults.point("api.delete.after")
        call.services.feed.deleted(key, gone.body)
        await resources.erase_secrets(call, record)
        await call.services.forget(key)
        return Reply(deleted_session(record.id))

    return await _in_turn(call, attempt)


async def _in_turn(call: Call, attempt: Callable[[], Awaitable[Reply]]) -> Reply:
    return await call.services.intake.in_turn(_key(call), attempt)


async def _as_of(call: Call) -> tuple[State, SessionRecord]:
    """The log's state, and a record at least as new: whatever changes a record changes the log's head with it, so a
    write that is bound to the state's `seq` finds the record as it was read here."""
    return await light_state(call.services, _key(call)), await stored(call)


def _key(call: Call) -> SessionKey:
    return SessionKey(call.workspace, call.path["session_id"])
