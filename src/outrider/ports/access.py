"""Who may ask: workspaces, and the keys that belong to them. Of a key only its digest is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from outrider.ports.records import Page

Scope = Literal["admin", "developer", "user", "environment"]
Role = Scope | Literal["session"]
"""A key's scope, or what the token of a work item is good for: its session alone."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A server key; only its SHA-256 (hex) is stored. `environment` is the one that a key of that scope is for. A work
    item's token is one too: good for the item `work` and its `session` alone, for as long as the item is held."""

    id: str
    workspace: str
    digest: str
    name: str
    scope: Role
    created_at: str
    revoked_at: str | None = None
    environment: str | None = None
    session: str | None = None
    work: str | None = None


@dataclass(frozen=True, slots=True)
class Workspace:
    """Everything else belongs to one. Names are unique among those that aren't archived."""

    id: str
    name: str
    created_at: str
    archived_at: str | None = None
    deleting_at: str | None = None


@dataclass(frozen=True, slots=True)
class Doomed:
    """A workspace that is to be erased, or (`erased_at`) that was."""

    id: str
    erased_at: str | None = None


class Access(Protocol):
    """Keys and workspaces. Whatever makes a key worthless raises the revision with it, in one transaction."""

    default_workspace: str

    async def add_key(self, key: ApiKey) -> None:
        """Raises NotFound for an unknown workspace or environment, Conflict for an archived workspace or a digest that
        is stored."""
        ...

    async def key_by_digest(self, digest: str) -> ApiKey | None:
        """The key, revoked or not, or the token of a work item; its workspace is part of the answer."""
        ...

    async def key(self, workspace: str, key_id: str) -> ApiKey | None: ...
    async def keys(self, workspace: str, page: Page) -> list[ApiKey]:
        """Revoked ones only with `include_archived`."""
        ...

    async def revoke_key(self, workspace: str, key_id: str, at: str) -> None:
        """The first time stays; a second call changes nothing. Raises NotFound."""
        ...

    async def first_key(self, node: str, key: ApiKey) -> ApiKey:
        """Let this be the node's first key; returns the stored one of that digest, which may be older than `key`, and
        revoked. The node's former first key goes, unless it was revoked or is another node's, too."""
        ...

    async def access_revision(self) -> int:
        """It grows whenever a key stops to be valid, and never else."""
        ...

    async def add_workspace(self, workspace: Workspace) -> None:
        """Raises Conflict when another has the name."""
        ...

    async def workspaces(self) -> list[Workspace]:
        """All, archived or not, but for those that were erased; oldest first."""
        ...

    async def rename_workspace(self, workspace: str, name: str) -> None:
        """Raises NotFound for an unknown or archived one, Conflict when another has the name."""
        ...

    async def archive_workspace(self, workspace: str, at: str) -> None:
        """Revokes its keys, too. The first time stays. Raises NotFound, and Conflict for the default one."""
        ...

    async def delete_workspace(self, workspace: str, at: str) -> None:
        """Mark it: all that is in it is to be erased. The first time stays. Raises NotFound, also for one that was
        erased, and Conflict for one that isn't archived, as the default one."""
        ...

    async def doomed_workspaces(self) -> list[Doomed]:
        """Those that are to be erased, and those that were, until they are forgotten: a late request may still have
        written to one."""
        ...

    async def erase_workspace(self, workspace: str, at: str) -> None:
        """Erase all records of a marked workspace but its sessions, in steps. It is gone then; only its id is kept."""
        ...

    async def forget_workspaces(self, before: str) -> None:
        """Forget the ids of those that were erased before then (RFC 3339)."""
        ...
