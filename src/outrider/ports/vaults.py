"""Durable records of vaults and their credentials, and one row for each change of either. No secret is in any of them.

A credential's secret lies in the vault process under (workspace, vault, id, `secret`), `secret` being its version.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from outrider.ports.records import Page

MOST_CREDENTIALS = 20
"""Active ones in one vault."""
LATEST = 2**62
"""Above every version of a secret."""


@dataclass(frozen=True, slots=True)
class VaultRecord:
    """`body` is JSON of the client-set fields."""

    workspace: str
    id: str
    created_at: str
    updated_at: str
    archived_at: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """`body` is JSON of what clients may see; `place` is what an active credential has for itself in its vault, such as
    `mcp:https://example.com/mcp` or `env:TOKEN`; `revision` counts the changes."""

    workspace: str
    vault: str
    id: str
    place: str
    revision: int
    secret: int
    created_at: str
    updated_at: str
    archived_at: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What became of something that webhooks tell of, such as `vault.created`. For a session `type` is that of the
    log's event, with its thread, and `detail` is why it is idle where that matters. `seq` is given by the store and
    grows."""

    workspace: str
    type: str
    object: str
    at: str
    vault: str | None = None
    thread: str | None = None
    detail: str | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where the vault process holds one secret."""

    workspace: str
    vault: str
    credential: str
    version: int


class VaultRecords(Protocol):
    """Every change writes its `Change` rows in its own transaction. Another workspace's id behaves like an unknown one
    (NotFound or None)."""

    async def create_vault(self, record: VaultRecord) -> None: ...
    async def vault(self, workspace: str, vault_id: str) -> VaultRecord | None: ...
    async def vaults(self, workspace: str, page: Page) -> list[VaultRecord]: ...
    async def update_vault(self, record: VaultRecord, *, if_updated: str) -> None:
        """Write `body` and `updated_at`. Raises Conflict when the vault is archived or was changed since then."""
        ...

    async def archive_vault(self, workspace: str, vault_id: str, at: str) -> None:
        """Archive it and its credentials, once; a second call changes nothing. Raises NotFound."""
        ...

    async def delete_vault(self, workspace: str, vault_id: str, at: str) -> None:
        """Erase it and its credentials. Raises NotFound."""
        ...

    async def create_credential(self, record: CredentialRecord) -> None:
        """Raises NotFound (no such vault), Conflict (the vault is archived, or `place` is taken), InvalidRequest (the
        vault is full)."""
        ...

    async def credential(self, workspace: str, vault_id: str, credential_id: str) -> CredentialRecord | None: ...
    async def credentials(self, workspace: str, vault_id: str, page: Page) -> list[CredentialRecord]: ...
    async def update_credential(self, record: CredentialRecord, *, if_revision: int) -> None:
        """Write `body`, `secret`, `revision` and `updated_at`. Raises Conflict when the credential is archived or was
        changed since then."""
        ...

    async def archive_credential(self, workspace: str, vault_id: str, credential_id: str, at: str) -> None:
        """Once; a second call changes nothing. Raises NotFound."""
        ...

    async def delete_credential(self, workspace: str, vault_id: str, credential_id: str, at: str) -> None:
        """Raises NotFound."""
        ...

    async def resolve(self, workspace: str, vault_ids: Iterable[str], place: str) -> CredentialRecord | None:
        """The active credential with this `place` in the first vault of `vault_ids` that has one."""
        ...

    async def secret_refs(self) -> set[SecretRef]:
        """The secrets of all active credentials of all workspaces, for sweeping what belongs to none."""
        ...

    async def add_change(self, change: Change) -> None: ...
    async def changes(self, *, after: int, limit: int) -> list[Change]:
        """Of all workspaces, oldest first, from the one behind `after` on."""
        ...
