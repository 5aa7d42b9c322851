"""What a session declares to the vault: read from its record, and the networking of its environment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from outrider.ports.declarations import UNRESTRICTED, Declaration, DeclaredRepository, DeclaredServer
from outrider.ports.records import SessionRecord

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def declaration_of(record: SessionRecord, networking: Mapping[str, Any] | None) -> Declaration:
    """`networking` is the environment's as the session began with it; None where it has none to say."""
    details, agent = _decode(record.details), _decode(record.agent)
    mounted: list[dict[str, Any]] = details.get("resources", [])
    return Declaration(
        workspace=record.workspace,
        session=record.id,
        vaults=tuple(details.get("vault_ids", ())),
        servers=tuple(DeclaredServer(one["name"], one["url"]) for one in agent.get("mcp_servers", ())),
        repositories=tuple(
            DeclaredRepository(one["id"], one["url"]) for one in mounted if one["type"] == "github_repository"
        ),
        networking=dict(networking or UNRESTRICTED),
    )
