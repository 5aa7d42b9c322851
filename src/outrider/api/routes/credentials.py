"""Credentials of a vault. A posted secret goes to the vault process before anything is stored here, and stays there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from outrider.api.endpoint import Call, Reply
from outrider.api.lists import ORDER_OF_LISTS, mark_created, page_of
from outrider.api.lookup import credential_record, vault_record
from outrider.api.sweep import take_notices
from outrider.errors import InvalidRequest, OutriderError, Overloaded
from outrider.ports.vaults import LATEST, CredentialRecord, SecretRef
from outrider.resources.vaults import credential_object, deleted, new_credential, updated_credential
from outrider.wire.pages import cut, page_bytes, read_cursor
from outrider.wire.query import Query
from outrider.wire.requests import parse

RANDOM_BITS = 24


async def create(call: Call) -> Reply:
    services = call.services
    now = services.clock.now()
    place, body, secret = new_credential(parse("credentials.create", call.body), now=now)
    vault = await vault_record(call)
    if vault.archived_at is not None:
        raise InvalidRequest(f"Vault {vault.id} is archived and takes no credentials.")
    name = services.ids.new("vcrd")
    record = CredentialRecord(call.workspace, vault.id, name, place, 1, 1, now, now, None, msgspec.json.encode(body))
    await services.secrets.put(_ref(record), secret)
    try:
        await services.vaults.create_credential(record)
    except OutriderError:
        await _let_go(call, record)
        raise
    return Reply(credential_object(record))


async def _let_go(call: Call, record: CredentialRecord) -> None:
    """Erase a secret whose record was refused; if the vault does not answer now, the sweep does it."""
    with contextlib.suppress(Overloaded):
        await call.services.secrets.purge_one(_ref(record))


def _ref(record: CredentialRecord) -> SecretRef:
    return SecretRef(record.workspace, record.vault, record.id, record.secret)


async def get(call: Call) -> Reply:
    record = await credential_record(call)
    if await _hears_of_it(call, record):
        record = await credential_record(call)
    return Reply(credential_object(record))


async def _hears_of_it(call: Call, *records: CredentialRecord) -> bool:
    """Whether the vault may have refreshed one of them; its new expiry is stored now. What the vault can't say at the
    moment is shown at a later time."""
    if not any(one.place.startswith("mcp:") and one.archived_at is None for one in records):
        return False
    with contextlib.suppress(Overloaded):
        await take_notices(call.services.vaults, call.services.secrets, call.services.clock)
    return True


async def update(call: Call) -> Reply:
    request = parse("credentials.update", call.body)
    return await call.in_turn(lambda: _update(call, request))


async def _update(call: Call, request: Mapping[str, Any]) -> Reply:
    services = call.services
    record = await credential_record(call)
    if await _hears_of_it(call, record):
        record = await credential_record(call)
    now = services.clock.now()
    found = updated_credential(record, request, now=now)
    if found is None:
        return Reply(credential_object(record))
    body, secret = found
    changed = replace(record, body=msgspec.json.encode(body), revision=record.revision + 1, updated_at=now)
    if secret is None:
        await services.vaults.update_credential(changed, if_revision=record.revision)
        return Reply(credential_object(changed))
    changed = replace(changed, secret=_next_secret(changed.revision))
    await services.secrets.patch(_ref(changed), record.secret, secret)
    try:
        await services.vaults.update_credential(changed, if_revision=record.revision)
    except OutriderError:
        await _let_go(call, changed)
        raise
    with contextlib.suppress(Overloaded):
        await services.secrets.purge(_ref(record))
    return Reply(credential_object(changed))


def _next_secret(revision: int) -> int:
    """A version above all earlier ones, and another one for each of two updates at once."""
    return revision << RANDOM_BITS | int.from_bytes(os.urandom(3), "big")


def _all_of(record: CredentialRecord) -> SecretRef:
    """Names all versions, of which a concurrent update may have added one."""
    return replace(_ref(record), version=LATEST)


async def archive(call: Call) -> Reply:
    record = await credential_record(call)
    await call.services.vaults.archive_credential(call.workspace, record.vault, record.id, call.services.clock.now())
    await call.services.secrets.purge(_all_of(record))
    return Reply(credential_object(await credential_record(call)))


async def delete(call: Call) -> Reply:
    record = await credential_record(call)
    await call.services.vaults.delete_credential(call.workspace, record.vault, record.id, call.services.clock.now())
    with contextlib.suppress(Overloaded):
        await call.services.secrets.purge(_all_of(record))
    return Reply(deleted(record.id, "vault_credential"))


async def validate(call: Call) -> Reply:
    record = await credential_record(call)
    if record.archived_at is not None:
        raise InvalidRequest(f"Credential {record.id} is archived; its secret is gone.")
    found = await call.services.secrets.validate(_ref(record))
    about = {"type": "vault_credential_validation", "credential_id": record.id, "vault_id": record.vault}
    return Reply({**about, "validated_at": call.services.clock.now(), **found})


async def list_credentials(call: Call) -> Reply:
    query = Query(call.query)
    vault = await vault_record(call)
    limit = query.limit(default=20, most=100)
    kind = f"credentials of {vault.id}"
    cursor = read_cursor(query.text("page"), kind, ORDER_OF_LISTS)
    page = page_of(limit, cursor, created={}, include_archived=query.boolean("include_archived"))
    found = await call.services.vaults.credentials(call.workspace, vault.id, page)
    if await _hears_of_it(call, *found):
        found = await call.services.vaults.credentials(call.workspace, vault.id, page)
    shown = cut(found, limit, kind=kind, order=ORDER_OF_LISTS, cursor=cursor, mark=mark_created)
    return Reply(encoded=page_bytes([credential_object(record) for record in shown.items], shown.next_page))
