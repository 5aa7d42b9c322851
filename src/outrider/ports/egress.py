"""The seam to the egress proxy for those who own sessions: they say what a session's sandbox may reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class EgressClaim:
    """What a session's sandbox may reach. `networking` is the environment's own object, `mcp_hosts` are those of the
    agent's declared servers."""

    session: str
    epoch: int
    workspace: str
    networking: dict[str, Any]
    mcp_hosts: tuple[str, ...] = ()


class Egress(Protocol):
    async def claim(self, claim: EgressClaim) -> None:
        """From now on, until the next claim. Raises Fenced, Overloaded."""
        ...


class NoEgress:
    """For sandboxes that have no way out, or need to be told nothing."""

    async def claim(self, claim: EgressClaim) -> None:
        del claim
