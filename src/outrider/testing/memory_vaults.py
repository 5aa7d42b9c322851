"""Vaults, credentials and their changes in memory, for tests and trials."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from outrider.errors import Conflict, InvalidRequest, NotFound
from outrider.ports.records import Page
from outrider.ports.vaults import MOST_CREDENTIALS, Change, CredentialRecord, SecretRef, VaultRecord
from outrider.testing.memory_answers import MemoryAnswers
from outrider.testing.paging import one_page


class MemoryVaults(MemoryAnswers):
    """Implements `VaultRecords`."""

    def __init__(self) -> None:
        super().__init__()
        self._vaults: dict[tuple[str, str], VaultRecord] = {}
        self._credentials: dict[tuple[str, str, str], CredentialRecord] = {}
        self._changes: list[Change] = []

    async def create_vault(self, record: VaultRecord) -> None:
        self._vaults[record.workspace, record.id] = record
        await self.add_change(Change(record.workspace, "vault.created", record.id, record.created_at))

    async def vault(self, workspace: str, vault_id: str) -> VaultRecord | None:
        return self._vaults.get((workspace, vault_id))

    async def vaults(self, workspace: str, page: Page) -> list[VaultRecord]:
        return one_page((r for r in self._vaults.values() if r.workspace == workspace), page)

    async def update_vault(self, record: VaultRecord, *, if_updated: str) -> None:
        current = self._vaults.get((record.workspace, record.id))
        if current is None or current.archived_at is not None or current.updated_at != if_updated:
            raise Conflict(f"Vault {record.id} is archived, or was changed at the same time.")
        self._vaults[record.workspace, record.id] = replace(current, body=record.body, updated_at=record.updated_at)

    def _known_vault(self, workspace: str, vault_id: str) -> VaultRecord:
        found = self._vaults.get((workspace, vault_id))
        if found is None:
            raise NotFound(f"Vault {vault_id} was not found.")
        return found

    async def archive_vault(self, workspace: str, vault_id: str, at: str) -> None:
        vault = self._known_vault(workspace, vault_id)
        if vault.archived_at is not None:
            return
        self._vaults[workspace, vault_id] = replace(vault, archived_at=at, updated_at=at)
        for one in self._active(workspace, vault_id):
            await self.archive_credential(workspace, vault_id, one.id, at)
        await self.add_change(Change(workspace, "vault.archived", vault_id, at))

    async def delete_vault(self, workspace: str, vault_id: str, at: str) -> None:
        self._known_vault(workspace, vault_id)
        del self._vaults[workspace, vault_id]
        self._erase_about(workspace, vault_id)
        for place in sorted(place for place in self._credentials if place[:2] == (workspace, vault_id)):
            await self.delete_credential(*place, at)
        await self.add_change(Change(workspace, "vault.deleted", vault_id, at))

    def _active(self, workspace: str, vault_id: str) -> list[CredentialRecord]:
        return sorted(
            (
                one
                for one in self._credentials.values()
                if (one.workspace, one.vault, one.archived_at) == (workspace, vault_id, None)
            ),
            key=lambda one: one.id,
        )

    async def create_credential(self, record: CredentialRecord) -> None:
        if self._known_vault(record.workspace, record.vault).archived_at is not None:
            raise Conflict(f"Vault {record.vault} is archived.")
        active = self._active(record.workspace, record.vault)
        if any(one.place == record.place for one in active):
            raise Conflict(f"Vault {record.vault} has an active credential for this already.")
        if len(active) >= MOST_CREDENTIALS:
            raise InvalidRequest(f"Vault {record.vault} holds {MOST_CREDENTIALS} credentials, the most that it may.")
        self._credentials[record.workspace, record.vault, record.id] = record
        await self._note("vault_credential.created", record, record.created_at)

    async def _note(self, kind: str, record: CredentialRecord, at: str) -> None:
        await self.add_change(Change(record.workspace, kind, record.id, at, vault=record.vault))

    async def credential(self, workspace: str, vault_id: str, credential_id: str) -> CredentialRecord | None:
        return self._credentials.get((workspace, vault_id, credential_id))

    async def credentials(self, workspace: str, vault_id: str, page: Page) -> list[CredentialRecord]:
        found = self._credentials.values()
        return one_page((r for r in found if (r.workspace, r.vault) == (workspace, vault_id)), page)

    async def update_credential(self, record: CredentialRecord, *, if_revision: int) -> None:
        place = (record.workspace, record.vault, record.id)
        current = self._credentials.get(place)
        if current is None or current.archived_at is not None or current.revision != if_revision:
            raise Conflict(f"Credential {record.id} is archived, or was changed at the same time.")
        self._credentials[place] = replace(
            current, body=record.body, secret=record.secret, revision=record.revision, updated_at=record.updated_at
        )

    async def archive_credential(self, workspace: str, vault_id: str, credential_id: str, at: str) -> None:
        current = self._credentials.get((workspace, vault_id, credential_id))
        if current is None:
            raise NotFound(f"Credential {credential_id} was not found.")
        if current.archived_at is None:
            archived = replace(current, archived_at=at, updated_at=at, revision=current.revision + 1)
            self._credentials[workspace, vault_id, credential_id] = archived
            await self._note("vault_credential.archived", archived, at)

    async def delete_credential(self, workspace: str, vault_id: str, credential_id: str, at: str) -> None:
        gone = self._credentials.pop((workspace, vault_id, credential_id), None)
        if gone is None:
            raise NotFound(f"Credential {credential_id} was not found.")
        self._erase_about(workspace, credential_id)
        await self._note("vault_credential.deleted", gone, at)

    async def resolve(self, workspace: str, vault_ids: Iterable[str], place: str) -> CredentialRecord | None:
        active = (one for vault in vault_ids for one in self._active(workspace, vault))
        return next((one for one in active if one.place == place), None)

    async def secret_refs(self) -> set[SecretRef]:
        active = (one for one in self._credentials.values() if one.archived_at is None)
        return {SecretRef(one.workspace, one.vault, one.id, one.secret) for one in active}

    async def add_change(self, change: Change) -> None:
        self._changes.append(replace(change, seq=len(self._changes) + 1))

    async def changes(self, *, after: int, limit: int) -> list[Change]:
        return [change for change in self._changes if change.seq > after][:limit]
