"""The seam to the egress proxy for those who own sessions: they say what a session's sandbox may reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class EgressCredential:
    """An `environment_variable` credential of a session: the variable's name, where the vault holds its secret, which
    hosts it is for (`networking`, the credential's own object), and where it is put."""

    name: str
    workspace: str
    vault: str
    credential: str
    version: int
    networking: dict[str, Any]
    header: bool
    body: bool


@dataclass(frozen=True, slots=True)
class EgressRepository:
    """A repository of a session: its resource's id, its address, and the version of its token, 0 if it has none. The
    vault holds the token under (workspace, session, resource, version)."""

    resource: str
    url: str
    version: int


@dataclass(frozen=True, slots=True)
class EgressClaim:
    """What a session's sandbox may reach. `networking` is the environment's own object, `mcp_hosts` are those of the
    agent's declared servers, `credentials` what its commands may use without seeing it, `repositories` what it may
    fetch and push, `places` the sandbox hosts elsewhere that may speak for it."""

    session: str
    epoch: int
    workspace: str
    networking: dict[str, Any]
    mcp_hosts: tuple[str, ...] = ()
    credentials: tuple[EgressCredential, ...] = ()
    repositories: tuple[EgressRepository, ...] = ()
    places: tuple[str, ...] = ()


class Egress(Protocol):
    async def claim(self, claim: EgressClaim) -> tuple[EgressCredential, ...]:
        """From now on, until the next claim. Of the session's credentials those that are for a host which its
        environment shuts out. Raises Fenced, Overloaded."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A session whose requests are asked for: the newest `limit` of them."""

    workspace: str
    session: str
    limit: int


Requests = Callable[[Asked], Awaitable[list[dict[str, Any]]]]
"""What a session's sandbox asked of the network, oldest first. Raises Overloaded."""


class NoEgress:
    """For sandboxes that have no way out, or need to be told nothing."""

    async def claim(self, claim: EgressClaim) -> tuple[EgressCredential, ...]:
        del claim
        return ()
