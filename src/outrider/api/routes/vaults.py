"""Vaults: groups of credentials that sessions may use."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import msgspec

from outrider.api.endpoint import Call, Reply
from outrider.api.lists import ORDER_OF_LISTS, mark_created, page_of
from outrider.api.lookup import vault_record
from outrider.errors import Overloaded
from outrider.ports.records import Page
from outrider.ports.vaults import LATEST, SecretRef, VaultRecord
from outrider.resources.vaults import deleted, new_vault, updated_vault, vault_object
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query
from outrider.wire.requests import parse

ALL = Page(limit=10_000, include_archived=True)


async def create(call: Call) -> Reply:
    body = new_vault(parse("vaults.create", call.body))
    now = call.services.clock.now()
    record = VaultRecord(call.workspace, call.services.ids.new("vlt"), now, now, None, msgspec.json.encode(body))
    await call.services.vaults.create_vault(record)
    return Reply(vault_object(record))


async def get(call: Call) -> Reply:
    return Reply(vault_object(await vault_record(call)))


async def update(call: Call) -> Reply:
    request = parse("vaults.update", call.body)

    async def attempt() -> Reply:
        record = await vault_record(call)
        body = updated_vault(record, request)
        if body is None:
            return Reply(vault_object(record))
        changed = replace(record, body=msgspec.json.encode(body), updated_at=call.services.clock.now())
        await call.services.vaults.update_vault(changed, if_updated=record.updated_at)
        return Reply(vault_object(changed))

    return await call.in_turn(attempt)


async def archive(call: Call) -> Reply:
    record = await vault_record(call)
    await call.services.vaults.archive_vault(call.workspace, record.id, call.services.clock.now())
    await _purge_all(call, await _refs(call, record.id))
    return Reply(vault_object(await vault_record(call)))


async def delete(call: Call) -> Reply:
    record = await vault_record(call)
    refs = await _refs(call, record.id)
    await call.services.vaults.delete_vault(call.workspace, record.id, call.services.clock.now())
    with contextlib.suppress(Overloaded):
        await _purge_all(call, refs)
    return Reply(deleted(record.id, "vault"))


async def _refs(call: Call, vault: str) -> list[SecretRef]:
    found = await call.services.vaults.credentials(call.workspace, vault, ALL)
    return [SecretRef(one.workspace, one.vault, one.id, LATEST) for one in found]


async def _purge_all(call: Call, refs: list[SecretRef]) -> None:
    """Should the vault not answer, the sweep erases them later: no active record leads to them any more."""
    for ref in refs:
        await call.services.secrets.purge(ref)


async def list_vaults(call: Call) -> Reply:
    query = Query(call.query)
    limit = query.limit(default=20, most=100)
    cursor = read_cursor(query.text("page"), "vaults", ORDER_OF_LISTS)
    page = page_of(limit, cursor, created={}, include_archived=query.boolean("include_archived"))
    found = await call.services.vaults.vaults(call.workspace, page)
    shown = cut(found, limit, kind="vaults", order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([vault_object(record) for record in shown.items], shown.next_page))
