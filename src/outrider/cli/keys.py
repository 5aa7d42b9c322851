"""`outrider keys`: who may use the server. Works beside a running server and without one, on the store itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import click

from outrider.cli.options import data_option
from outrider.clock import SystemClock
from outrider.errors import NotFound
from outrider.ids import MonotonicIds
from outrider.ports.access import Access, ApiKey, Scope
from outrider.ports.records import Page

workspace_option = click.option("--workspace", help="Id or name of the workspace.  [default: the default workspace]")


@click.group()
def keys() -> None:
    """Server keys: who may use the server, and for what."""


@keys.command()
@click.argument("name")
@click.option("--scope", type=click.Choice(get_args(Scope)), default="developer", show_default=True)
@click.option("--environment", help="With the scope environment: the id of the one that the key is for.")
@workspace_option
@data_option
def create(name: str, scope: Scope, environment: str | None, workspace: str | None, data: Path | None) -> None:
    """Make a key and print it: this once, since only its digest is stored.

    The key alone goes to standard output, what it is to standard error.
    """
    key, value = asyncio.run(_create(name, scope, environment, workspace, data))
    click.echo(f"{key.id}: scope {key.scope}, workspace {key.workspace}. It is shown this once:", err=True)
    click.echo(value)


@keys.command()
@click.argument("environment_id")
@click.option("--name", default="worker", show_default=True, help="To tell keys apart in lists.")
@workspace_option
@data_option
def environment(environment_id: str, name: str, workspace: str | None, data: Path | None) -> None:
    """Make a key for the workers of one self-hosted environment, and print it: this once.

    It takes work from that environment's queue, reads its sessions and answers their calls, and does nothing else.
    """
    key, value = asyncio.run(_create(name, "environment", environment_id, workspace, data))
    click.echo(f"{key.id}: for workers of {environment_id}. It is shown this once:", err=True)
    click.echo(value)


async def _create(
    name: str, scope: Scope, environment: str | None, workspace: str | None, data: Path | None
) -> tuple[ApiKey, str]:
    from outrider.cli.opened import opened_store
    from outrider.cli.workspaces import found
    from outrider.resources.keys import KeyRequest, checked, new_key, new_value

    request, value = checked(KeyRequest(name, scope, environment)), new_value()
    async with opened_store(data) as store:
        where = (await found(store, workspace)).id
        key = new_key(request, value, id=MonotonicIds().new("apikey"), workspace=where, now=SystemClock().now())
        await store.add_key(key)
    return key, value


@keys.command("list")
@click.option("--all", "revoked", is_flag=True, help="Also those that were revoked.")
@workspace_option
@data_option
def list_keys(revoked: bool, workspace: str | None, data: Path | None) -> None:
    """List the keys of one workspace, or of all: id, scope, workspace, times, name. No value is known."""
    for key in asyncio.run(_list(workspace, data, revoked=revoked)):
        end = f"revoked {key.revoked_at}" if key.revoked_at else "valid"
        scope = f"environment {key.environment}" if key.environment else key.scope
        click.echo(f"{key.id}  {scope}  {key.workspace}  made {key.created_at}  {end}  {key.name}")


async def _list(workspace: str | None, data: Path | None, *, revoked: bool) -> list[ApiKey]:
    from outrider.cli.opened import opened_store
    from outrider.cli.workspaces import found

    listed: list[ApiKey] = []
    async with opened_store(data) as store:
        chosen = await store.workspaces() if workspace is None else [await found(store, workspace)]
        for one in chosen:
            listed += await _keys(store, one.id, revoked=revoked)
    return listed


async def _keys(store: Access, workspace: str, *, revoked: bool) -> list[ApiKey]:
    return await store.keys(workspace, Page(limit=1_000_000, descending=False, include_archived=revoked))


@keys.command()
@click.argument("key_id")
@data_option
def revoke(key_id: str, data: Path | None) -> None:
    """Revoke a key, for good. When the command is back, no process of the deployment takes it any more."""
    asyncio.run(_revoke(key_id, data))
    click.echo(f"{key_id}: revoked.")


async def _revoke(key_id: str, data: Path | None) -> None:
    from outrider.api.keyring import SURE_SECONDS
    from outrider.cli.opened import opened_store

    async with opened_store(data) as store:
        for one in await store.workspaces():
            if await store.key(one.id, key_id) is not None:
                await store.revoke_key(one.id, key_id, SystemClock().now())
                break
        else:
            raise NotFound(f"There is no key {key_id}: `outrider keys list --all` names them.")
    await asyncio.sleep(SURE_SECONDS)  # after which no process trusts what it remembers
