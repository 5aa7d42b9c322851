"""What a new session stands on: why one can't be made where that is not there, or archived."""

from __future__ import annotations

from collections.abc import Iterable

from outrider.errors import EnvironmentArchived, InvalidRequest, NotFound
from outrider.ports.records import Footing, SessionRecord


def footings(record: SessionRecord, vaults: Iterable[str]) -> list[Footing]:
    own = [Footing("environment", record.environment_id), Footing("agent", record.agent_id)]
    return [*own, *(Footing("vault", vault) for vault in vaults)]


def absent(footing: Footing) -> NotFound:
    if footing.kind == "environment":
        return NotFound(f"Environment {footing.id} not found.", error_code="environment_not_found")
    return NotFound(f"{_named(footing)} not found.")


def archived(footing: Footing) -> InvalidRequest:
    if footing.kind == "environment":
        return EnvironmentArchived(footing.id)
    return InvalidRequest(f"{_named(footing)} is archived and can't be used by new sessions.")


def _named(footing: Footing) -> str:
    """With the field of a request for a session that named it."""
    field, noun = ("vault_ids", "Vault") if footing.kind == "vault" else ("agent", "Agent")
    return f"{field}: {noun} {footing.id}"
