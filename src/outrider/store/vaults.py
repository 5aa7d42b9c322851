"""Vaults, credentials and their changes, on every store. No secret comes by here."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from outrider.errors import Conflict, InvalidRequest, NotFound
from outrider.ports.records import Footing, Page
from outrider.ports.vaults import MOST_CREDENTIALS, Change, CredentialRecord, SecretRef, VaultRecord
from outrider.store import shapes
from outrider.store.answers import erase_about
from outrider.store.footings import hold_ending
from outrider.store.steps import Recorded, Steps, erase, first, rows, run


class StoredVaults(Recorded):
    """Implements `VaultRecords`."""

    async def create_vault(self, record: VaultRecord) -> None:
        await self._walks.walk(partial(_create_vault, record=record))

    async def vault(self, workspace: str, vault_id: str) -> VaultRecord | None:
        values = {"workspace": workspace, "id": vault_id}
        return next(iter(await self._reads.one("vault", values, _vaults)), None)

    async def vaults(self, workspace: str, page: Page) -> list[VaultRecord]:
        name = shapes.ordered("vaults", descending=page.descending)
        return await self._reads.fetch(name, shapes.page_values(workspace, page), _vaults)

    async def update_vault(self, record: VaultRecord, *, if_updated: str) -> None:
        await self._walks.walk(partial(_update_vault, record=record, if_updated=if_updated))

    async def archive_vault(self, workspace: str, vault_id: str, at: str) -> None:
        await self._walks.walk(partial(_archive_vault, workspace=workspace, vault=vault_id, at=at))

    async def delete_vault(self, workspace: str, vault_id: str, at: str) -> None:
        await self._walks.walk(partial(_delete_vault, workspace=workspace, vault=vault_id, at=at))

    async def create_credential(self, record: CredentialRecord) -> None:
        await self._walks.walk(partial(_create_credential, record=record))

    async def credential(self, workspace: str, vault_id: str, credential_id: str) -> CredentialRecord | None:
        values = {"workspace": workspace, "vault": vault_id, "id": credential_id}
        return next(iter(await self._reads.one("credential", values, _credentials)), None)

    async def credentials(self, workspace: str, vault_id: str, page: Page) -> list[CredentialRecord]:
        name = shapes.ordered("credentials", descending=page.descending)
        values = {**shapes.page_values(workspace, page), "vault": vault_id}
        return await self._reads.fetch(name, values, _credentials)

    async def update_credential(self, record: CredentialRecord, *, if_revision: int) -> None:
        await self._walks.walk(partial(_update_credential, record=record, if_revision=if_revision))

    async def archive_credential(self, workspace: str, vault_id: str, credential_id: str, at: str) -> None:
        names = {"workspace": workspace, "vault": vault_id, "id": credential_id, "at": at}
        await self._walks.walk(partial(_archive_credential, names=names))

    async def delete_credential(self, workspace: str, vault_id: str, credential_id: str, at: str) -> None:
        names = {"workspace": workspace, "vault": vault_id, "id": credential_id, "at": at}
        await self._walks.walk(partial(_delete_credential, names=names))

    async def resolve(self, workspace: str, vault_ids: Iterable[str], place: str) -> CredentialRecord | None:
        for vault in vault_ids:
            values = {"workspace": workspace, "vault": vault, "place": place}
            found = await self._reads.one("credential_at", values, _credentials)
            if found:
                return found[0]
        return None

    async def secret_refs(self) -> set[SecretRef]:
        return await self._reads.fetch("secret_refs", {}, lambda found: {SecretRef(*row) for row in found})

    async def add_change(self, change: Change) -> None:
        await self._walks.walk(partial(note, change=change))

    async def changes(self, *, after: int, limit: int) -> list[Change]:
        return await self._reads.fetch("changes", {"after": after, "limit": limit}, _changes)


def _vaults(found: list[Any]) -> list[VaultRecord]:
    return [VaultRecord(*row) for row in found]


def _credentials(found: list[Any]) -> list[CredentialRecord]:
    return [CredentialRecord(*row) for row in found]


def _changes(found: list[Any]) -> list[Change]:
    return [Change(*row) for row in found]


def note(change: Change) -> Steps[None]:
    yield from run("insert_change", shapes.fields(change))


def _create_vault(record: VaultRecord) -> Steps[None]:
    yield from run("insert_vault", shapes.fields(record))
    yield from note(Change(record.workspace, "vault.created", record.id, record.created_at))


def _update_vault(record: VaultRecord, if_updated: str) -> Steps[None]:
    if (yield from run("update_vault", {**shapes.fields(record), "if_updated": if_updated})) != 1:
        raise Conflict(f"Vault {record.id} is archived, or was changed at the same time.")


def _archive_vault(workspace: str, vault: str, at: str) -> Steps[None]:
    names = {"workspace": workspace, "id": vault, "at": at}
    yield from hold_ending(workspace, Footing("vault", vault))
    if (yield from run("archive_vault", names)) != 1:
        if (yield from first("vault", names)) is None:
            raise NotFound(f"Vault {vault} was not found.")
        return
    for (credential,) in (yield from rows("active_credentials", names)):
        yield from _archive_credential({"workspace": workspace, "vault": vault, "id": credential, "at": at})
    yield from note(Change(workspace, "vault.archived", vault, at))


def _delete_vault(workspace: str, vault: str, at: str) -> Steps[None]:
    names = {"workspace": workspace, "id": vault}
    yield from hold_ending(workspace, Footing("vault", vault))
    if (yield from erase("delete_vault", names)) != 1:
        raise NotFound(f"Vault {vault} was not found.")
    yield from erase_about(workspace, vault)
    for (credential,) in (yield from rows("all_credentials", names)):
        yield from _delete_credential({"workspace": workspace, "vault": vault, "id": credential, "at": at})
    yield from note(Change(workspace, "vault.deleted", vault, at))


def _create_credential(record: CredentialRecord) -> Steps[None]:
    names = {"workspace": record.workspace, "id": record.vault}
    if (yield from run("hold_vault", names)) != 1:
        if (yield from first("vault", names)) is None:
            raise NotFound(f"Vault {record.vault} was not found.")
        raise Conflict(f"Vault {record.vault} is archived.")
    if (yield from first("place_taken", shapes.fields(record))) is not None:
        raise Conflict(f"Vault {record.vault} has an active credential for {record.place.partition(':')[2]} already.")
    if len((yield from rows("active_credentials", names))) >= MOST_CREDENTIALS:
        raise InvalidRequest(f"Vault {record.vault} holds {MOST_CREDENTIALS} credentials, the most that it may.")
    yield from run("insert_credential", shapes.fields(record))
    yield from note(
        Change(record.workspace, "vault_credential.created", record.id, record.created_at, vault=record.vault)
    )


def _update_credential(record: CredentialRecord, if_revision: int) -> Steps[None]:
    if (yield from run("update_credential", {**shapes.fields(record), "if_revision": if_revision})) != 1:
        raise Conflict(f"Credential {record.id} is archived, or was changed at the same time.")


def _archive_credential(names: dict[str, str]) -> Steps[None]:
    if (yield from run("archive_credential", names)) == 1:
        yield from note(_change("vault_credential.archived", names))
    elif (yield from first("credential", names)) is None:
        raise NotFound(f"Credential {names['id']} was not found.")


def _delete_credential(names: dict[str, str]) -> Steps[None]:
    if (yield from erase("delete_credential", names)) != 1:
        raise NotFound(f"Credential {names['id']} was not found.")
    yield from erase_about(names["workspace"], names["id"])
    yield from note(_change("vault_credential.deleted", names))


def _change(kind: str, names: dict[str, str]) -> Change:
    return Change(names["workspace"], kind, names["id"], names["at"], vault=names["vault"])
