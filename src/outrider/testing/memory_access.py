"""Keys and workspaces in memory, for tests and trials."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from outrider.errors import Conflict, NotFound
from outrider.ports.access import ApiKey, Doomed, Workspace
from outrider.ports.records import EnvironmentRecord, Footing, Page
from outrider.resources.footings import absent
from outrider.testing.paging import one_stretch


class MemoryAccess:
    """Implements `Access`."""

    default_workspace: str

    def __init__(self) -> None:
        super().__init__()
        self._environments: dict[tuple[str, str], EnvironmentRecord] = {}
        self._keys: dict[str, ApiKey] = {}
        self._first: dict[str, str] = {}
        self._revisions = {"access": 0}  # shared with branches
        self._workspaces: dict[str, Workspace] = {}
        self._erased: dict[str, str] = {}

    def begin(self, default_workspace: str, at: str) -> None:
        self.default_workspace = default_workspace
        self._workspaces[default_workspace] = Workspace(default_workspace, "default", at)

    async def add_key(self, key: ApiKey) -> None:
        found = self._workspaces.get(key.workspace)
        if found is None:
            raise NotFound(f"Workspace {key.workspace} was not found.")
        if found.archived_at is not None:
            raise Conflict(f"Workspace {key.workspace} is archived.")
        if key.environment is not None and (key.workspace, key.environment) not in self._environments:
            raise absent(Footing("environment", key.environment))
        self._insert(key)

    def _insert(self, key: ApiKey) -> None:
        if any(other.digest == key.digest or other.id == key.id for other in self._keys.values()):
            raise Conflict("Something with this id is stored already.")
        self._keys[key.id] = key

    async def key_by_digest(self, digest: str) -> ApiKey | None:
        return next((key for key in self._keys.values() if key.digest == digest), None)

    async def key(self, workspace: str, key_id: str) -> ApiKey | None:
        found = self._keys.get(key_id)
        return found if found is not None and found.workspace == workspace else None

    async def keys(self, workspace: str, page: Page) -> list[ApiKey]:
        owned = (key for key in self._keys.values() if key.workspace == workspace)
        return one_stretch((key for key in owned if page.include_archived or key.revoked_at is None), page)

    async def revoke_key(self, workspace: str, key_id: str, at: str) -> None:
        found = await self.key(workspace, key_id)
        if found is None:
            raise NotFound(f"Key {key_id} was not found.")
        if found.revoked_at is None:
            self._keys[key_id] = replace(found, revoked_at=at)
            self._revisions["access"] += 1

    async def first_key(self, node: str, key: ApiKey) -> ApiKey:
        stored = await self.key_by_digest(key.digest)
        if stored is None:
            self._insert(key)
            stored = key
        former, self._first[node] = self._first.get(node), stored.id
        if former is None or former in self._first.values():
            return stored
        if former in self._keys and self._keys[former].revoked_at is None:
            del self._keys[former]
            self._revisions["access"] += 1
        return stored

    async def access_revision(self) -> int:
        return self._revisions["access"]

    async def add_workspace(self, workspace: Workspace) -> None:
        self._check_name(workspace.name)
        self._workspaces[workspace.id] = workspace

    async def workspaces(self) -> list[Workspace]:
        return sorted(self._workspaces.values(), key=lambda one: (one.created_at, one.id))

    async def rename_workspace(self, workspace: str, name: str) -> None:
        self._check_name(name, but=workspace)
        found = self._workspaces.get(workspace)
        if found is None or found.archived_at is not None:
            raise NotFound(f"There is no active workspace {workspace}.")
        self._workspaces[workspace] = replace(found, name=name)

    def _check_name(self, name: str, but: str = "") -> None:
        taken = (one for one in self._workspaces.values() if one.archived_at is None and one.id != but)
        if any(one.name == name for one in taken):
            raise Conflict(f"Another workspace is named {name}.")

    async def delete_workspace(self, workspace: str, at: str) -> None:
        found = self._workspaces.get(workspace)
        if found is None:
            raise NotFound(f"Workspace {workspace} not found.")
        if found.archived_at is None:
            raise Conflict(f"Workspace {workspace} is open: close it first.")
        self._workspaces[workspace] = replace(found, deleting_at=found.deleting_at or at)

    async def doomed_workspaces(self) -> list[Doomed]:
        doomed = sorted((one.deleting_at, one.id) for one in self._workspaces.values() if one.deleting_at is not None)
        return [Doomed(id) for _, id in doomed] + [Doomed(id, at) for id, at in sorted(self._erased.items())]

    async def erase_workspace(self, workspace: str, at: str) -> None:
        for kept in vars(self).values():
            if isinstance(kept, dict):
                _drop_keys(cast("dict[Any, Any]", kept), workspace)
            elif isinstance(kept, list):
                _drop_values(cast("list[Any]", kept), workspace)
        if self._workspaces.pop(workspace, None) is not None:
            self._erased[workspace] = at

    async def forget_workspaces(self, before: str) -> None:
        for workspace, at in list(self._erased.items()):
            if at < before:
                del self._erased[workspace]

    async def archive_workspace(self, workspace: str, at: str) -> None:
        found = self._workspaces.get(workspace)
        if found is None:
            raise NotFound(f"Workspace {workspace} was not found.")
        if workspace == self.default_workspace:
            raise Conflict("The default workspace can't be archived.")
        self._workspaces[workspace] = replace(found, archived_at=found.archived_at or at)
        owned = [key for key in self._keys.values() if key.workspace == workspace and key.revoked_at is None]
        self._revisions["access"] += bool(owned)
        for key in owned:
            self._keys[key.id] = replace(key, revoked_at=at)


def _drop_keys(kept: dict[Any, Any], workspace: str) -> None:
    """By key or value, whichever says whose it is."""
    for key, value in list(kept.items()):
        owner = cast("tuple[Any, ...]", key)[0] if isinstance(key, tuple) else getattr(key, "workspace", None)
        if workspace in (owner, getattr(value, "workspace", None)):
            del kept[key]


def _drop_values(kept: list[Any], workspace: str) -> None:
    kept[:] = [one for one in kept if getattr(one, "workspace", None) != workspace]
