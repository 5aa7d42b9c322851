"""`outrider workspaces`: what is kept apart from each other. Works beside a running server and without one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from outrider.cli.options import data_option
from outrider.clock import SystemClock
from outrider.errors import NotFound
from outrider.ids import MonotonicIds
from outrider.ports.access import Access, Workspace

T = TypeVar("T")


@click.group()
def workspaces() -> None:
    """Workspaces: each has its own keys, agents, sessions and vaults, and sees no other's."""


@workspaces.command()
@click.argument("name")
@data_option
def create(name: str, data: Path | None) -> None:
    """Make a workspace and print its id. `outrider keys create --workspace NAME` makes its first key."""
    from outrider.resources.keys import checked_name

    made = Workspace(MonotonicIds().new("wrkspc"), checked_name(name), SystemClock().now())

    async def act(store: Access) -> None:
        await store.add_workspace(made)

    _with_store(data, act)
    click.echo(made.id)


@workspaces.command("list")
@click.option("--all", "archived", is_flag=True, help="Also those that were archived.")
@data_option
def list_workspaces(archived: bool, data: Path | None) -> None:
    """List the workspaces: id, time, name."""

    async def act(store: Access) -> list[str]:
        return [
            f"{one.id}  made {one.created_at}  {_state(one)}"
            f"{one.name}{' (default)' if one.id == store.default_workspace else ''}"
            for one in await store.workspaces()
            if archived or one.archived_at is None
        ]

    for line in _with_store(data, act):
        click.echo(line)


def _state(one: Workspace) -> str:
    archived = f"archived {one.archived_at}  " if one.archived_at else ""
    return archived + ("being deleted  " if one.deleting_at else "")


@workspaces.command()
@click.argument("workspace")
@click.argument("name")
@data_option
def rename(workspace: str, name: str, data: Path | None) -> None:
    """Give WORKSPACE (an id, or its name so far) another NAME."""
    from outrider.resources.keys import checked_name

    async def act(store: Access) -> str:
        one = await found(store, workspace)
        await store.rename_workspace(one.id, checked_name(name))
        return one.id

    click.echo(f"{_with_store(data, act)}: named {name}.")


@workspaces.command()
@click.argument("workspace")
@data_option
def archive(workspace: str, data: Path | None) -> None:
    """Close WORKSPACE (an id or a name), for good: its keys are revoked, and it can't be given new ones.

    Nothing is deleted, and running turns go on to their end.
    """
    from outrider.api.keyring import SURE_SECONDS

    async def act(store: Access) -> str:
        one = await found(store, workspace)
        await store.archive_workspace(one.id, SystemClock().now())
        return one.id

    closed = _with_store(data, act)
    asyncio.run(asyncio.sleep(SURE_SECONDS))  # after which no process trusts what it remembers
    click.echo(f"{closed}: archived; its keys are revoked.")


@workspaces.command()
@click.argument("workspace")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def delete(workspace: str, yes: bool, data: Path | None) -> None:
    """Erase all that is in WORKSPACE (its id), which must be archived: sessions, files, memories, secrets, everything.

    It can't be undone. A running server begins within a minute, and goes on after a restart. `outrider workspaces list
    --all` names the workspace until nothing of it is left.
    """

    async def act(store: Access) -> str:
        one = await found(store, workspace)
        if not yes:
            click.confirm(f"Erase all that is in {one.id} ({one.name})?", abort=True, err=True)
        await store.delete_workspace(one.id, SystemClock().now())
        return one.id

    click.echo(f"{_with_store(data, act)}: marked; a running server erases what is in it.")


async def found(store: Access, named: str | None) -> Workspace:
    """The workspace of this id, or the active one of this name; None names the default one. Raises NotFound."""
    known = await store.workspaces()
    if named is None:
        return next(one for one in known if one.id == store.default_workspace)
    for one in known:
        if one.id == named or (one.name == named and one.archived_at is None):
            return one
    raise NotFound(f"There is no workspace {named}: `outrider workspaces list` names them.")


def _with_store(data: Path | None, act: Callable[[Access], Awaitable[T]]) -> T:
    from outrider.cli.opened import opened_store

    async def run() -> T:
        async with opened_store(data) as store:
            return await act(store)

    return asyncio.run(run())
