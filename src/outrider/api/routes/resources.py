"""Resources of a session: shown, files given and taken away, a repository's token replaced. A token goes to the vault
before anything is stored, and is erased when its session ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from outrider import faults
from outrider.api.announcing import erase_bytes
from outrider.api.endpoint import Call, Reply
from outrider.api.intake import factory_for, light_state
from outrider.api.lookup import environment_record, named_file_records, session_record
from outrider.errors import NotFound, NotSupported, OutriderError, Overloaded
from outrider.ports.copies import FileChanges
from outrider.ports.log import SessionKey
from outrider.ports.records import SessionRecord
from outrider.ports.vaults import SecretRef
from outrider.resources.environments import check_offers_resources, environment_object
from outrider.resources.given import GIVEN, named_files, with_file, without_file
from outrider.resources.memory_mounts import TYPE, attached
from outrider.resources.mounts import (
    FIRST_VERSION,
    SECRET,
    Making,
    Mounted,
    added_file,
    check_together,
    deleted_resource,
    new_resources,
    resource_ids,
    resources_of,
    secret_refs,
    shown,
    with_token,
)
from outrider.session import events
from outrider.session.state import State
from outrider.wire.pages import Order, cut, page_bytes, read_cursor
from outrider.wire.query import Query
from outrider.wire.requests import parse

ORDER: Order = "asc"
RANDOM_BITS = 24
NO_COPIES: Mapping[str, SecretRef] = MappingProxyType({})
LAST = "z"


async def mounted(call: Call, given: list[dict[str, Any]]) -> Mounted:
    """What a request for a session mounts. Raises InvalidRequest, NotFound, NotSupported."""
    return new_resources(given, await _making(call, given)) if given else Mounted()


async def _making(call: Call, given: list[dict[str, Any]]) -> Making:
    services, files = call.services, await named_file_records(call, named_files(given))
    return Making(services.settings.git_hosts, services.ids, services.clock.now(), files)


def lent(found: Mounted, tokens: Mapping[str, SecretRef]) -> dict[str, SecretRef]:
    """Let these repositories have the tokens that the vault holds for their addresses; by resource, which one."""
    copies: dict[str, SecretRef] = {}
    for one in found.resources:
        if one.get("url") in tokens:
            one[SECRET] = FIRST_VERSION
            copies[one["id"]] = tokens[one["url"]]
    return copies


async def keep_secrets(call: Call, session: str, found: Mounted, copies: Mapping[str, SecretRef] = NO_COPIES) -> None:
    """To the vault, before the session exists. What comes to nothing then is swept."""
    if not found.secrets and not copies:
        return
    faults.point("api.token.before")
    for resource, secret in found.secrets.items():
        await call.services.secrets.put(SecretRef(call.workspace, session, resource, FIRST_VERSION), secret)
    for resource, source in copies.items():
        await call.services.secrets.copy(source, SecretRef(call.workspace, session, resource, FIRST_VERSION))
    faults.point("api.token.after")


async def erase_secrets(call: Call, record: SessionRecord) -> None:
    """If the vault does not answer now, the sweep does it."""
    with contextlib.suppress(Overloaded, NotSupported):
        for ref in secret_refs(record):
            await call.services.secrets.purge(ref)


async def list_resources(call: Call) -> Reply:
    query = Query(call.query)
    record = await session_record(call)
    kind = f"resources of {record.id}"
    every = resources_of(record) + sorted(attached(record), key=_position)
    limit = query.limit(default=max(1, len(every)), most=1000)
    cursor = read_cursor(query.text("page"), kind, ORDER)
    rest = every if cursor is None else [one for one in every if _position(one)[0] > tuple(cursor.position)]  # type: ignore[arg-type]
    page = cut(rest[: limit + 1], limit, kind=kind, order=ORDER, cursor=cursor, mark=_position)
    return Reply(encoded=page_bytes([shown(one) for one in page.items], page.next_page))


def _position(resource: Mapping[str, Any]) -> tuple[tuple[str, str], str | None]:
    """Memory stores, which have no id and no time, come behind the others."""
    if resource["type"] == TYPE:
        return (LAST, resource["memory_store_id"]), None
    return resource_ids(resource)


async def get(call: Call) -> Reply:
    return Reply(shown(_resource(call, await session_record(call))))


def _resource(call: Call, record: SessionRecord) -> Mapping[str, Any]:
    resource_id = call.path["resource_id"]
    found = next((one for one in resources_of(record) if one["id"] == resource_id), None)
    if found is None:
        raise NotFound(f"Resource {resource_id} not found in session {record.id}.")
    return found


async def add(call: Call) -> Reply:
    request = parse("resources.add", call.body)
    key = SessionKey(call.workspace, call.path["session_id"])

    async def attempt() -> Reply:
        return await _added(call, key, request)

    return await call.services.intake.in_turn(key, attempt)


async def _added(call: Call, key: SessionKey, request: dict[str, Any]) -> Reply:
    services = call.services
    state, record = await light_state(services, key), await session_record(call)
    check_offers_resources(environment_object(await environment_record(call, record.environment_id)), [request])
    making = await _making(call, [request])
    found = added_file(request, making)
    (resource,) = found.resources
    changed = with_file(record, resource, making.now)
    check_together(resources_of(changed))
    row = factory_for(services, state).internal(events.FILE_GIVEN, {"resource": found.logged[0]})
    body = Reply(shown(resource)).bytes()
    faults.point("resource.add.before")
    await services.records.update_session(
        changed,
        [row],
        if_head=state.seq,
        columns="details",
        files=FileChanges(tuple(found.copies)),
        keep=call.keep(body),
    )
    faults.point("resource.add.after")
    return Reply(encoded=body, kept=True)


async def delete(call: Call) -> Reply:
    resource_id = call.path["resource_id"]
    await drop(call, SessionKey(call.workspace, call.path["session_id"]), lambda one: one["id"] == resource_id)
    return Reply(deleted_resource(resource_id))


async def drop(call: Call, key: SessionKey, which: Callable[[Mapping[str, Any]], bool]) -> None:
    """Take a file away from its session, with the session's copy of it. Raises NotFound, InvalidRequest."""

    async def attempt() -> None:
        state = await light_state(call.services, key)
        record = await call.services.records.session(key)
        resource = next((one for one in resources_of(record) if which(one)), None) if record is not None else None
        if record is None or resource is None:
            raise NotFound(f"No such resource in session {key.session}.")
        await _drop(call, state, record, [resource])

    await call.services.intake.in_turn(key, attempt)


async def drop_files(call: Call, key: SessionKey) -> None:
    """Take all files that it was given away from a session, if it has any. Raises NotFound."""

    async def attempt() -> None:
        state = await light_state(call.services, key)
        record = await call.services.records.session(key)
        given = [one for one in resources_of(record) if one["type"] == GIVEN] if record is not None else []
        if record is not None and given:
            await _drop(call, state, record, given)

    await call.services.intake.in_turn(key, attempt)


async def _drop(call: Call, state: State, record: SessionRecord, given: Sequence[Mapping[str, Any]]) -> None:
    services, changed, factory = call.services, record, factory_for(call.services, state)
    for one in given:
        changed = without_file(changed, one, services.clock.now())
    ids = tuple(str(one["file_id"]) for one in given)
    copies = await services.files.files_named(call.workspace, ids)
    rows = [factory.internal(events.FILE_TAKEN, {"resource": one["id"]}) for one in given]
    gone = FileChanges(dropped=ids)
    faults.point("resource.drop.before")
    await services.records.update_session(changed, rows, if_head=state.seq, columns="details", files=gone)
    faults.point("resource.drop.after")
    for blob in {copy.blob for copy in copies if copy.blob is not None}:
        if not await services.files.owns_bytes(call.workspace, blob):
            await erase_bytes(call, blob)


async def update(call: Call) -> Reply:
    request = parse("resources.update", call.body)
    key = SessionKey(call.workspace, call.path["session_id"])

    async def attempt() -> Reply:
        return await _rotated(call, key, request["authorization_token"])

    return await call.services.intake.in_turn(key, attempt)


async def _rotated(call: Call, key: SessionKey, token: str) -> Reply:
    services = call.services
    state, record = await light_state(services, key), await session_record(call)
    resource = _resource(call, record)
    version = ((resource["secret"] >> RANDOM_BITS) + 1) << RANDOM_BITS | int.from_bytes(os.urandom(3), "big")
    now = services.clock.now()
    changed, after, secret = with_token(record, resource, token, version=version, now=now)
    ref = SecretRef(call.workspace, record.id, after["id"], version)
    faults.point("api.token.before")
    await services.secrets.put(ref, secret)
    faults.point("api.token.after")
    row = factory_for(services, state).internal(events.RESOURCE, {"resource": after["id"], "at": now})
    try:
        await services.records.update_session(changed, [row], if_head=state.seq, columns="details")
    except OutriderError:
        with contextlib.suppress(Overloaded):
            await services.secrets.purge_one(ref)
        raise
    with contextlib.suppress(Overloaded):
        await services.secrets.purge(SecretRef(call.workspace, record.id, after["id"], resource["secret"]))
    return Reply(shown(after))
