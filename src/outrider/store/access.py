"""Keys and workspaces, on every store."""

from __future__ import annotations

from functools import partial
from typing import Any

from outrider.errors import Conflict, NotFound
from outrider.ports.access import ApiKey, Doomed, Workspace
from outrider.ports.records import Footing, Page
from outrider.resources.footings import absent
from outrider.store import shapes
from outrider.store.steps import Recorded, Steps, erase, first, rows, run


class StoredAccess(Recorded):
    """Implements `Access`."""

    async def add_key(self, key: ApiKey) -> None:
        await self._walks.walk(partial(_add_key, key))

    async def key_by_digest(self, digest: str) -> ApiKey | None:
        return await self._reads.one("key_by_digest", {"digest": digest}, _key)

    async def key(self, workspace: str, key_id: str) -> ApiKey | None:
        return await self._reads.one("key", {"workspace": workspace, "id": key_id}, _key)

    async def keys(self, workspace: str, page: Page) -> list[ApiKey]:
        name = shapes.ordered("keys", descending=page.descending)
        return await self._reads.fetch(name, shapes.page_values(workspace, page), _keys)

    async def revoke_key(self, workspace: str, key_id: str, at: str) -> None:
        await self._walks.walk(partial(_revoke_key, {"workspace": workspace, "id": key_id, "at": at}))

    async def first_key(self, node: str, key: ApiKey) -> ApiKey:
        await self._walks.walk(partial(_first_key, node, key))
        stored = await self.key_by_digest(key.digest)
        assert stored is not None
        return stored

    async def access_revision(self) -> int:
        return await self._reads.one("access_revision", {}, lambda found: found[0][0] if found else 0)

    async def add_workspace(self, workspace: Workspace) -> None:
        await self._walks.walk(partial(_add_workspace, workspace))

    async def workspaces(self) -> list[Workspace]:
        return await self._reads.fetch("workspaces", {}, _workspaces)

    async def rename_workspace(self, workspace: str, name: str) -> None:
        await self._walks.walk(partial(_rename_workspace, workspace, name))

    async def archive_workspace(self, workspace: str, at: str) -> None:
        await self._walks.walk(partial(_archive_workspace, {"workspace": workspace, "at": at}))

    async def delete_workspace(self, workspace: str, at: str) -> None:
        await self._walks.walk(partial(_delete_workspace, {"workspace": workspace, "at": at}))

    async def doomed_workspaces(self) -> list[Doomed]:
        return await self._reads.fetch("doomed_workspaces", {}, lambda found: [Doomed(*row) for row in found])

    async def forget_workspaces(self, before: str) -> None:
        await self._walks.walk(partial(run, "forget_workspaces", {"before": before}))


def _key(found: list[Any]) -> ApiKey | None:
    return ApiKey(*found[0]) if found else None


def _keys(found: list[Any]) -> list[ApiKey]:
    return [ApiKey(*row) for row in found]


def _workspaces(found: list[Any]) -> list[Workspace]:
    return [Workspace(*row) for row in found]


def _add_key(key: ApiKey) -> Steps[None]:
    names = {"workspace": key.workspace, "id": key.environment}
    if (yield from run("hold_workspace", names)) != 1:
        if (yield from first("known_workspace", names)) is None:
            raise NotFound(f"Workspace {key.workspace} was not found.")
        raise Conflict(f"Workspace {key.workspace} is archived.")
    if key.environment is not None and (yield from first("environment", names)) is None:
        raise absent(Footing("environment", key.environment))
    yield from run("insert_key", shapes.fields(key))


def _revoke_key(names: dict[str, str]) -> Steps[None]:
    if (yield from run("revoke_key", names)) == 1:
        yield from run("raise_access_revision", {})
    elif (yield from first("key", names)) is None:
        raise NotFound(f"Key {names['id']} was not found.")


def _first_key(node: str, key: ApiKey) -> Steps[None]:
    yield from run("hold_workspace", {"workspace": key.workspace})  # nodes take turns
    stored = _key((yield from rows("key_by_digest", {"digest": key.digest})))
    if stored is None:
        yield from run("insert_key", shapes.fields(key))
    former = yield from first("first_key", {"node": node})
    current = (stored or key).id
    if former is not None and former[0] == current:
        return
    yield from run("put_first_key", {"node": node, "id": current})
    if former is not None and (yield from run("drop_replaced_key", {"former": former[0]})) == 1:
        yield from run("raise_access_revision", {})


def _add_workspace(workspace: Workspace) -> Steps[None]:
    yield from _check_name(workspace.name)
    yield from run("insert_workspace", shapes.fields(workspace))


def _rename_workspace(workspace: str, name: str) -> Steps[None]:
    yield from _check_name(name, but=workspace)
    if (yield from run("rename_workspace", {"workspace": workspace, "name": name})) != 1:
        raise NotFound(f"There is no active workspace {workspace}.")


def _check_name(name: str, but: str = "") -> Steps[None]:
    found = _workspaces((yield from rows("workspaces", {})))
    if any(one.name == name and one.archived_at is None and one.id != but for one in found):
        raise Conflict(f"Another workspace is named {name}.")


def _delete_workspace(names: dict[str, str]) -> Steps[None]:
    if (yield from run("doom_workspace", names)) == 1:
        return
    found = yield from first("known_workspace", names)
    if found is None or found[1] is not None:
        raise NotFound(f"Workspace {names['workspace']} not found.")
    if found[0]:
        raise Conflict("The default workspace can't be deleted.")
    raise Conflict(f"Workspace {names['workspace']} is open: close it first (`outrider workspaces archive`).")


def end_workspace(names: dict[str, str]) -> Steps[None]:
    """What it was called is erased, too; that there was one is remembered for a while."""
    found = yield from first("known_workspace", names)
    if found is not None and found[1] is None:
        yield from erase("end_workspace", names)


def _archive_workspace(names: dict[str, str]) -> Steps[None]:
    if (yield from run("archive_workspace", names)) != 1:
        if (yield from first("known_workspace", names)) is None:
            raise NotFound(f"Workspace {names['workspace']} was not found.")
        raise Conflict("The default workspace can't be archived.")
    if (yield from run("revoke_keys", names)) > 0:
        yield from run("raise_access_revision", {})
