"""What the keys of each scope may do. Each route names one of these sets; there is no default.

A workspace's keys trust each other: scopes say what a program may change, not which sessions it may see. Only an
environment's key is held to something smaller, the sessions that run in its environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from outrider.errors import NotFound, PermissionDenied
from outrider.ports.access import ApiKey, Scope
from outrider.ports.log import SessionKey

if TYPE_CHECKING:
    from outrider.ports.records import Records

ADMINISTER: frozenset[Scope] = frozenset({"admin"})
"""Keys, and what an operator does to sessions."""
DEFINE: frozenset[Scope] = frozenset({"admin", "developer"})
"""Agents, environments, vaults and credentials."""
USE: frozenset[Scope] = frozenset({"admin", "developer", "user"})
"""Sessions, and reading what they are made of."""
WORK: frozenset[Scope] = frozenset({"admin", "developer", "user", "environment"})
"""What a worker does for a session of its environment."""


def require(key: ApiKey, scopes: Set[Scope], what: str = "do this") -> None:
    """Raises PermissionDenied."""
    if key.scope not in scopes:
        raise PermissionDenied(
            f"A key of the scope `{key.scope}` may not {what}; it takes one of: {', '.join(sorted(scopes))}."
        )


async def require_own(records: Records, key: ApiKey, path: Mapping[str, str]) -> None:
    """To an environment's key the sessions of other environments are unknown. Raises NotFound."""
    if key.environment is None or "session_id" not in path:
        return
    record = await records.session(SessionKey(key.workspace, path["session_id"]))
    if record is None or record.environment_id != key.environment:
        raise NotFound(f"Session {path['session_id']} not found.")
