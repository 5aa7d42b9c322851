"""The seam to the vault process for those who make sessions: what a session has declared, and may use for that reason.

A harness asks for a credential in a session's name; the vault answers by what was declared here, not by what is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from outrider.errors import NotDeclared
from outrider.ports.log import SessionKey

T = TypeVar("T")
UNRESTRICTED: Mapping[str, Any] = {"type": "unrestricted"}


@dataclass(frozen=True, slots=True)
class DeclaredServer:
    """An MCP server of the session's agent."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class DeclaredRepository:
    """A repository that the session mounts; `id` is its session resource's."""

    id: str
    url: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """`networking` is the environment's own object. All but `servers` stays as it was first said."""

    workspace: str
    session: str
    vaults: tuple[str, ...] = ()
    servers: tuple[DeclaredServer, ...] = ()
    repositories: tuple[DeclaredRepository, ...] = ()
    networking: dict[str, Any] = field(default_factory=lambda: dict(UNRESTRICTED))

    @property
    def says_something(self) -> bool:
        """Whether it has to be made known at all: a session without one may use models, and any public host."""
        return bool(self.vaults or self.servers or self.repositories or self.networking != UNRESTRICTED)

    def extends(self, before: Declaration) -> bool:
        """Whether it may take the place of `before`."""
        return replace(self, servers=before.servers) == before

    @property
    def server_hosts(self) -> tuple[str, ...]:
        return tuple(host for host in (urlsplit(one.url).hostname for one in self.servers) if host)

    def server(self, name: str) -> DeclaredServer:
        """Raises NotDeclared."""
        return self._one(name, {one.name: one for one in self.servers}, "MCP server")

    def repository(self, id: str) -> DeclaredRepository:
        """Raises NotDeclared."""
        return self._one(id, {one.id: one for one in self.repositories}, "repository")

    def check_vault(self, workspace: str, vault: str) -> None:
        """Raises NotDeclared unless the session named this vault of its own workspace."""
        if workspace != self.workspace or vault not in self.vaults:
            raise NotDeclared(f"Session {self.session} has not declared vault {vault}.")

    def _one(self, name: str, known: Mapping[str, T], what: str) -> T:
        if name not in known:
            raise NotDeclared(f"Session {self.session} has not declared {what} {name}.")
        return known[name]


class Declarations(Protocol):
    """Every call may raise Overloaded: the vault does not answer."""

    async def declare(self, declaration: Declaration) -> None:
        """From now on, for as long as the session exists. Raises Conflict when it would change what a session said
        before (its MCP servers may change), NotSupported where there is no way to the vault."""
        ...

    async def withdraw(self, key: SessionKey) -> None:
        """The session is gone. One that declared nothing is no error."""
        ...

    async def declared(self) -> set[SessionKey]:
        """The sessions that have a declaration, for sweeping those that no longer exist."""
        ...
