"""The query parameters of each request as the SDK declares them, as JSON schemas by the names that travel.

The handlers read queries by themselves (`wire.query`); this says the same to whoever reads the API's description.
"""

from __future__ import annotations

import importlib
import re
from datetime import datetime
from functools import cache
from typing import Any, Literal, Required, get_args, get_origin

from typing_extensions import get_type_hints

from outrider.wire.compile import HEADERS, LISTS, UNIONS
from outrider.wire.requests import SDK_TYPES

QUERIES: dict[str, str] = {
    "agents.list_agents": "agent_list_params.AgentListParams",
    "agents.get": "agent_retrieve_params.AgentRetrieveParams",
    "agents.versions": "agents.version_list_params.VersionListParams",
    "environments.list_environments": "environment_list_params.EnvironmentListParams",
    "work.poll": "environments.work_poll_params.WorkPollParams",
    "work.list_work": "environments.work_list_params.WorkListParams",
    "work.heartbeat": "environments.work_heartbeat_params.WorkHeartbeatParams",
    "vaults.list_vaults": "vault_list_params.VaultListParams",
    "credentials.list_credentials": "vaults.credential_list_params.CredentialListParams",
    "sessions.list_sessions": "session_list_params.SessionListParams",
    "resources.list_resources": "sessions.resource_list_params.ResourceListParams",
    "threads.list_threads": "sessions.thread_list_params.ThreadListParams",
    "events.list_events": "sessions.event_list_params.EventListParams",
    "events.stream_events": "sessions.event_stream_params.EventStreamParams",
    "events.list_thread_events": "sessions.threads.event_list_params.EventListParams",
    "events.stream_thread_events": "sessions.threads.event_stream_params.EventStreamParams",
    "memory_stores.list_stores": "memory_store_list_params.MemoryStoreListParams",
    "memories.create": "memory_stores.memory_create_params.MemoryCreateParams",
    "memories.list_memories": "memory_stores.memory_list_params.MemoryListParams",
    "memories.get": "memory_stores.memory_retrieve_params.MemoryRetrieveParams",
    "memories.update": "memory_stores.memory_update_params.MemoryUpdateParams",
    "memories.delete": "memory_stores.memory_delete_params.MemoryDeleteParams",
    "memories.list_versions": "memory_stores.memory_version_list_params.MemoryVersionListParams",
    "memories.get_version": "memory_stores.memory_version_retrieve_params.MemoryVersionRetrieveParams",
    "deployments.list_deployments": "deployment_list_params.DeploymentListParams",
    "deployments.list_runs": "deployment_run_list_params.DeploymentRunListParams",
    "dreams.list_dreams": "dream_list_params.DreamListParams",
    "models.list_models": "model_list_params.ModelListParams",
    "files.list_files": "file_list_params.FileListParams",
    "skills.list_skills": "skill_list_params.SkillListParams",
    "skills.list_versions": "skills.version_list_params.VersionListParams",
}
"""By handler; those that also have a body send `view` alone in the query."""
WITH_BODIES = {"memories.create": ("view",), "memories.update": ("view",)}
IN_HEADERS = HEADERS | {"anthropic_worker_id"}
RANGE = re.compile(r"(.+)_(gte?|lte?)")
PLAIN: dict[object, str] = {str: "string", int: "integer", bool: "boolean"}


@cache
def parameters(handler: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Name and schema of each parameter of this handler's query. What the SDK requires it puts into the path."""
    if handler not in QUERIES:
        return ()
    module, _, name = QUERIES[handler].rpartition(".")
    declared = getattr(importlib.import_module(f"{SDK_TYPES}.{module}"), name)
    hints = get_type_hints(declared, include_extras=True)
    kept = WITH_BODIES.get(handler, tuple(hints))
    optional = [key for key in sorted(kept) if key not in IN_HEADERS and get_origin(hints[key]) is not Required]
    return tuple(_parameter(key, hints[key]) for key in optional)


def _parameter(key: str, hint: Any) -> tuple[str, dict[str, Any]]:
    schema = _schema(hint)
    found = RANGE.fullmatch(key)
    name = f"{found[1]}[{found[2]}]" if found and schema.get("format") == "date-time" else key
    return (f"{name}[]" if schema["type"] == "array" else name), schema


def _schema(hint: Any) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in UNIONS:
        members = [member for member in arguments if member is not type(None)]
        return {"type": "string", "format": "date-time"} if datetime in members else _schema(members[0])
    if origin in LISTS:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin is Literal:
        return {"type": "string", "enum": sorted(arguments)}
    return {"type": PLAIN[hint]}
