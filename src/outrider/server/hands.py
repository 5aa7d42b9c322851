"""What a harness works with beyond its own process: the vault and the sandboxes, here or on other machines.

Part of the server's composition root. Owns no start and no stop.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from outrider.config import Settings
from outrider.errors import NotSupported, SandboxUnavailable
from outrider.harness.attachments import RecordedRepositories, WithRepositories
from outrider.harness.connecting import WithVaults
from outrider.harness.network import Redeclare, SessionVaults, WithCredentials, WithPlaces
from outrider.harness.worker import NODE_ENDS, Worker
from outrider.links import peers
from outrider.links.declarations import DeclarationsLink
from outrider.links.mcp import ConnectorsLink
from outrider.links.peers import Identity
from outrider.links.repositories import RepositoriesLink
from outrider.links.sandboxes import RemoteSandboxes
from outrider.links.secrets import SecretsLink
from outrider.links.vault import VaultLink, vault_at
from outrider.ports.declarations import Declaration, Declarations
from outrider.ports.egress import Egress
from outrider.ports.log import EventLog, SessionKey
from outrider.ports.mcp import Connectors
from outrider.ports.placements import Whereabouts, always_here
from outrider.ports.repositories import Repositories
from outrider.ports.sandbox import Capabilities, Sandboxes
from outrider.ports.secrets import Secrets
from outrider.ports.telemetry import Meter
from outrider.sandbox.driver import BubblewrapSandboxes
from outrider.sandbox.homed import HomedSandboxes
from outrider.sandbox.placed import PlacedSandboxes
from outrider.store.opening import Store

AnySandboxes = BubblewrapSandboxes | HomedSandboxes | PlacedSandboxes

NODE = "node-"

log = logging.getLogger("outrider.server")


def vault(settings: Settings, identity: Identity | None) -> VaultLink:
    """The vault of this server, or the one elsewhere."""
    if not settings.vault_url or identity is None:
        return VaultLink(settings.vault_socket)
    return VaultLink(vault_at(settings.vault_url, peers.client_context(identity)))


def outside(settings: Settings, vault: VaultLink, store: Store) -> tuple[Egress, Repositories]:
    """The sandboxes' ways out, and what sessions' repositories say of themselves: read where the tokens are."""
    repositories = RecordedRepositories(store, RepositoriesLink(vault.asks()).read)
    return ways_out(settings, vault, store, repositories), repositories


def ways_out(settings: Settings, vault: VaultLink, store: Store, repositories: Repositories) -> Egress:
    """The network of all sandboxes leaves by the vault, here or elsewhere."""
    inner = WithPlaces(vault.egress, store, settings.sandbox_hosts) if settings.sandbox_hosts else vault.egress
    found = WithCredentials(inner, SessionVaults(store), store, declaring(settings, vault, store))
    return WithRepositories(found, repositories)


def declaring(settings: Settings, vault: VaultLink, store: Store) -> Redeclare | None:
    """Where the API is in this process, which alone may declare."""
    return Redeclare(store, DeclarationsLink(vault.asks())) if "api" in settings.roles else None


def connectors(settings: Settings, vault: VaultLink, store: Store) -> Connectors:
    """The way to MCP servers, by the vault."""
    link = ConnectorsLink(vault.client(), (settings.mcp.call_timeout, settings.mcp.connect_timeout))
    return WithVaults(link, SessionVaults(store), store, declaring(settings, vault, store))


def sandboxes(
    settings: Settings, identity: Identity | None, store: Store, workers: Sequence[Worker], meter: Meter
) -> AnySandboxes:
    """Those of this machine, or those of sandbox hosts elsewhere. `workers` may be filled later."""
    if not settings.sandbox_hosts or identity is None:
        own = BubblewrapSandboxes(
            settings.sandboxes,
            settings.zygote_socket,
            settings.sandbox_run,
            settings.limits,
            meter,
            settings.packages.build_timeout,
        )
        if not store.shared:
            return own
        name, patience = node(settings.node_file), settings.sandbox_host_patience
        return HomedSandboxes(name, own, store, partial(works, store), patience=patience)
    context = peers.client_context(identity)

    async def still_ours() -> bool:
        return not store.shared or (await store.beats()).get(workers[0].id, 0) > 0

    hosts = {
        name: RemoteSandboxes(
            name,
            peers.address(url, "OUTRIDER_SANDBOX_HOSTS"),
            context,
            patience=settings.sandbox_host_patience,
            still_ours=still_ours,
        )
        for name, url in settings.sandbox_hosts.items()
    }
    return PlacedSandboxes(hosts, store, shared=settings.shared_workspaces)


def whereabouts(sandboxes: AnySandboxes) -> Callable[[str], Awaitable[Whereabouts]]:
    """Only where servers share a store, and each has sandboxes of its own, a session may have to go to another one."""
    return sandboxes.whereabouts if isinstance(sandboxes, HomedSandboxes) else always_here


def reaching(store: Store, sandboxes: AnySandboxes | None = None) -> Callable[[str], Awaitable[bool | None]]:
    """Whether a session's place, a node or a sandbox host, can be reached now; None when that can't be seen from
    here."""

    async def reaches(place: str) -> bool | None:
        if store.shared and await works(store, place):
            return True
        if isinstance(sandboxes, PlacedSandboxes):
            return await sandboxes.reaches(place)
        return False if place.startswith(NODE) else None

    return reaches


async def works(store: EventLog, node: str) -> bool:
    """Whether a harness works on the node of this name."""
    return any(beats and worker.startswith(node + NODE_ENDS) for worker, beats in (await store.beats()).items())


def node(file: Path) -> str:
    """This data directory's name among the servers of a deployment, made once. At most one server runs on it."""
    if not file.exists():
        draft = file.with_suffix(".new")
        draft.write_text(f"{NODE}{os.urandom(6).hex()}\n")
        draft.replace(file)
    return file.read_text().strip()


def forgetting(sandboxes: Sandboxes) -> Callable[[SessionKey], Awaitable[None]]:
    """Erases what a deleted session has outside the store."""

    async def forget(key: SessionKey) -> None:
        try:
            await sandboxes.delete(key.session)
        except SandboxUnavailable as error:  # the session is gone all the same: no error for its client
            log.warning("session %s: its files are left to the next housekeeping: %s", key.session, error.message)

    return forget


async def left_to_harnesses(_key: SessionKey) -> None:
    """An API by itself reaches no sandbox: the next housekeeping of a harness erases the session's files."""


async def elsewhere() -> Capabilities:
    return Capabilities(False, "none", "this server has the role api alone", "ask where the role sandbox runs")


class _NoVault:
    """Implements `Secrets` where there is no way to a vault: everything is refused."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def refuse(*_: Any) -> Any:
            raise NotSupported(
                "Credentials can't be changed, and sessions that use any can't be made, on a server with the role api"
                " alone and without OUTRIDER_VAULT_URL, which has no way to the vault."
            )

        return refuse


class _NothingDeclared:
    """Implements `Declarations` there: a session that uses nothing of the vault's needs none."""

    async def declare(self, declaration: Declaration) -> None:
        if declaration.vaults or declaration.servers or declaration.repositories:
            await _NoVault().declare()

    async def withdraw(self, key: SessionKey) -> None:
        del key

    async def declared(self) -> set[SessionKey]:
        return set()


async def _nothing_to_close() -> None:
    """There is no link."""


def api_link(
    settings: Settings, identity: Identity | None
) -> tuple[Secrets, Declarations, Callable[[], Awaitable[None]]]:
    """For an API without a harness beside it: the ways to hand something to the vault, if it has any, and their end."""
    if "harness" in settings.roles or not settings.vault_url:
        return cast(Secrets, _NoVault()), _NothingDeclared(), _nothing_to_close
    link = vault(settings, identity)
    return SecretsLink(link.asks()), DeclarationsLink(link.asks()), link.close
