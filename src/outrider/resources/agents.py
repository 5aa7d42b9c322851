"""Rules of agents: the object of each version, what an update changes, and the snapshot that a session runs with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from outrider.errors import Conflict, InvalidRequest, NotSupported
from outrider.ports.records import AgentRecord, Footing
from outrider.resources import metadata
from outrider.resources.footings import archived
from outrider.resources.model_config import Profiles, check_supported, model_config
from outrider.resources.skills.used import check_readable, resolved_skills
from outrider.resources.tools import check_paired, resolved_servers, resolved_tools

SNAPSHOT_KEYS = (
    "id",
    "type",
    "version",
    "name",
    "description",
    "system",
    "model",
    "tools",
    "mcp_servers",
    "skills",
    "multiagent",
    "execution_identity",
)
LATER = {"multiagent": "multiagent is"}

_decode = msgspec.json.Decoder(dict[str, Any]).decode

Agent = dict[str, Any]


def new_agent(request: Mapping[str, Any], *, id: str, now: str, profiles: Profiles) -> Agent:
    """Version 1 as the API shows it. Raises InvalidRequest."""
    _refuse_later(request)
    agent: Agent = {
        "id": id,
        "type": "agent",
        "version": 1,
        "name": request["name"],
        "description": request.get("description") or None,
        "system": _system(request.get("system")),
        "model": model_config(request["model"], profiles),
        "tools": resolved_tools(request.get("tools", [])),
        "mcp_servers": resolved_servers(request.get("mcp_servers", [])),
        "skills": resolved_skills(request.get("skills", [])),
        "multiagent": None,
        "execution_identity": {"type": "service_account"},
        "metadata": metadata.checked(request.get("metadata", {})),
        "created_at": now,
        "updated_at": now,
        "archived_at": None,
    }
    check_paired(agent["tools"], agent["mcp_servers"])
    check_readable(agent)
    return agent


def updated_agent(current: Agent, request: Mapping[str, Any], *, now: str, profiles: Profiles) -> Agent | None:
    """The next version, or None when the request changes nothing.

    Raises InvalidRequest, or Conflict when the request's `version` is not the current one.
    """
    if current["archived_at"] is not None:
        raise InvalidRequest(f"Agent {current['id']} is archived and can't be updated.")
    expected = request.get("version", current["version"])
    if expected != current["version"]:
        raise Conflict(f"version: Agent {current['id']} is at version {current['version']}, not {expected}.")
    _refuse_later(request)
    changed = current | _changes(current, request, profiles)
    check_paired(changed["tools"], changed["mcp_servers"])
    check_readable(changed)
    if changed == current:
        return None
    return changed | {"version": current["version"] + 1, "updated_at": now}


def _system(given: str | None) -> str | None:
    """White space alone clears it like an empty text: no model takes a prompt of that."""
    return given if given and not given.isspace() else None


def _changes(current: Agent, request: Mapping[str, Any], profiles: Profiles) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "name" in request:
        changes["name"] = request["name"]
    if "description" in request:
        changes["description"] = request["description"] or None
    if "system" in request:
        changes["system"] = _system(request["system"])
    if "model" in request:
        changes["model"] = model_config(request["model"], profiles, current=current["model"])
    if "tools" in request:
        changes["tools"] = resolved_tools(request["tools"] or [])
    if "mcp_servers" in request:
        changes["mcp_servers"] = resolved_servers(request["mcp_servers"] or [])
    if "skills" in request:
        changes["skills"] = resolved_skills(request["skills"] or [])
    if "metadata" in request:
        changes["metadata"] = metadata.merged(current["metadata"], request["metadata"])
    return changes


def _refuse_later(request: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse what the API takes and this server doesn't offer yet, so that no field is silently ignored."""
    for key, words in LATER.items():
        if request.get(key):
            raise NotSupported(f"{prefix}{key}: {words} not offered by this server yet")
    identity = request.get("execution_identity")
    if identity is not None and identity["type"] != "service_account":
        raise NotSupported(f"execution_identity: {identity['type']} is not offered by this server yet")


def effective_agent(agent: Agent, reference: str | Mapping[str, Any], *, profiles: Profiles) -> Agent:
    """The snapshot of `agent` for a session that asked for it by `reference` (the request's `agent`).

    Overrides replace whole fields; null or an empty list clears. Raises InvalidRequest.
    """
    if agent["archived_at"] is not None:
        raise archived(Footing("agent", agent["id"]))
    overrides: Mapping[str, Any] = dict[str, Any]() if isinstance(reference, str) else reference
    _refuse_later(overrides, "agent.")
    snapshot = {key: agent[key] for key in SNAPSHOT_KEYS} | _overridden(overrides, profiles)
    check_paired(snapshot["tools"], snapshot["mcp_servers"], prefix="agent.")
    check_readable(snapshot, prefix="agent.")
    check_supported(snapshot["model"], profiles, field="agent.model")
    return snapshot


def _overridden(overrides: Mapping[str, Any], profiles: Profiles) -> dict[str, Any]:
    effective: dict[str, Any] = {}
    if "model" in overrides:
        effective["model"] = _overriding_model(overrides["model"], profiles)
    if "system" in overrides:
        effective["system"] = _system(overrides["system"])
    if "tools" in overrides:
        effective["tools"] = resolved_tools(overrides["tools"] or [], field="agent.tools")
    if "mcp_servers" in overrides:
        effective["mcp_servers"] = resolved_servers(overrides["mcp_servers"] or [], field="agent.mcp_servers")
    if "skills" in overrides:
        effective["skills"] = resolved_skills(overrides["skills"] or [], field="agent.skills")
    return effective


def _overriding_model(requested: str | Mapping[str, Any] | None, profiles: Profiles) -> dict[str, Any]:
    """An override's own effort doesn't count, nor does the agent's: the model's default applies."""
    if requested is None:
        reason = "agent_model_required"
        raise InvalidRequest(f"agent.model: {reason}: a session can't run without a model", error_code=reason)
    if not isinstance(requested, str):
        requested = {key: value for key, value in requested.items() if key != "effort"}
    return model_config(requested, profiles, field="agent.model")


def with_tools(snapshot: Agent, request: Mapping[str, Any]) -> Agent:
    """A session's snapshot after an update of its `agent` (tools and MCP servers only)."""
    changed = dict(snapshot)
    if "tools" in request:
        changed["tools"] = resolved_tools(request["tools"], field="agent.tools")
    if "mcp_servers" in request:
        changed["mcp_servers"] = resolved_servers(request["mcp_servers"], field="agent.mcp_servers")
    check_paired(changed["tools"], changed["mcp_servers"], prefix="agent.")
    check_readable(changed, prefix="agent.")
    return changed


def agent_object(record: AgentRecord) -> Agent:
    """A stored version as the API shows it."""
    return _decode(record.body) | {"archived_at": record.archived_at}
