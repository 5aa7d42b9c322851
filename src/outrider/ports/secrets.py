"""The seam to the vault process for those who take secrets in: everything but reading one. There is no way to read one.

A secret is JSON of the fields that clients may write and never read. Every call may raise Overloaded: the vault, or
the service that keeps its key, does not answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from outrider.ports.vaults import SecretRef

SESSION = "sesn_"
DEPLOYMENT = "depl_"


def lends(source: SecretRef, to: SecretRef) -> bool:
    """Whether the one is a deployment's and the other a session's of the same workspace."""
    return source.vault.startswith(DEPLOYMENT) and to.vault.startswith(SESSION) and source.workspace == to.workspace


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened to a secret inside the vault: `refreshed` (with the new expiry) or `refresh_failed`."""

    seq: int
    ref: SecretRef
    kind: str
    at: str
    expires_at: str | None


class Secrets(Protocol):
    async def put(self, ref: SecretRef, secret: dict[str, Any]) -> None:
        """Store a secret under a reference of its own."""
        ...

    async def patch(self, ref: SecretRef, before: int, changes: dict[str, Any]) -> None:
        """Store what version `before` becomes by these changes. Raises NotFound when the vault doesn't hold that."""
        ...

    async def copy(self, source: SecretRef, to: SecretRef) -> None:
        """Store a deployment's secret for one of its sessions, too. Raises NotFound when the vault doesn't hold it,
        InvalidRequest for any other two places."""
        ...

    async def purge(self, ref: SecretRef) -> None:
        """Erase this version and all older ones."""
        ...

    async def purge_one(self, ref: SecretRef) -> None:
        """Erase this version only."""
        ...

    async def held(self) -> set[SecretRef]:
        """All that the vault holds, for sweeping what belongs to no credential."""
        ...

    async def notices(self) -> list[Notice]:
        """The oldest ones that nobody has taken note of yet."""
        ...

    async def forget_notices(self, up_to: int) -> None: ...
    async def validate(self, ref: SecretRef) -> dict[str, Any]:
        """Try an `mcp_oauth` credential on its server; `status`, `has_refresh_token`, `mcp_probe` and `refresh`."""
        ...
