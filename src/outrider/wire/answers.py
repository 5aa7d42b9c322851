"""What requests are answered with, by the SDK's own models: for the API's description alone, which is made when it is
asked for. That answers are so is held by the tests, which parse each with these models."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from pydantic import TypeAdapter

SDK_TYPES = "anthropic.types"
PREFIX = "answers."
"""Begins the names of their schemas: requests have models of the same names."""
REF = f"#/components/schemas/{PREFIX}" + "{model}"

THINGS: dict[str, str] = {
    "beta.BetaManagedAgentsAgent": "agents.create agents.get agents.update agents.archive",
    "beta.BetaEnvironment": "environments.create environments.get environments.update environments.archive",
    "beta.BetaEnvironmentDeleteResponse": "environments.delete",
    "beta.environments.BetaSelfHostedWork": "work.get work.update work.ack work.stop",
    "beta.environments.BetaSelfHostedWorkQueueStats": "work.stats",
    "beta.environments.BetaSelfHostedWorkHeartbeatResponse": "work.heartbeat",
    "beta.BetaManagedAgentsVault": "vaults.create vaults.get vaults.update vaults.archive",
    "beta.BetaManagedAgentsDeletedVault": "vaults.delete",
    "beta.vaults.BetaManagedAgentsCredential": (
        "credentials.create credentials.get credentials.update credentials.archive"
    ),
    "beta.vaults.BetaManagedAgentsDeletedCredential": "credentials.delete",
    "beta.vaults.BetaManagedAgentsCredentialValidation": "credentials.validate",
    "beta.BetaManagedAgentsSession": "sessions.create sessions.get sessions.update sessions.archive",
    "beta.BetaManagedAgentsDeletedSession": "sessions.delete",
    "beta.sessions.BetaManagedAgentsSendSessionEvents": "events.send_events",
    "beta.sessions.BetaManagedAgentsFileResource": "resources.add",
    "beta.sessions.BetaManagedAgentsSessionResource": "resources.get",
    "beta.sessions.BetaManagedAgentsGitHubRepositoryResource": "resources.update",
    "beta.sessions.BetaManagedAgentsDeleteSessionResource": "resources.delete",
    "beta.sessions.BetaManagedAgentsSessionThread": "threads.get threads.archive",
    "beta.BetaManagedAgentsMemoryStore": (
        "memory_stores.create memory_stores.get memory_stores.update memory_stores.archive"
    ),
    "beta.BetaManagedAgentsDeletedMemoryStore": "memory_stores.delete",
    "beta.memory_stores.BetaManagedAgentsMemory": "memories.create memories.get memories.update",
    "beta.memory_stores.BetaManagedAgentsDeletedMemory": "memories.delete",
    "beta.memory_stores.BetaManagedAgentsMemoryVersion": "memories.get_version memories.redact",
    "beta.BetaManagedAgentsDeployment": (
        "deployments.create deployments.get deployments.update deployments.archive"
        " deployments.pause deployments.unpause"
    ),
    "beta.BetaManagedAgentsDeploymentRun": "deployments.run deployments.get_run",
    "beta.BetaDream": "dreams.create dreams.get dreams.cancel dreams.archive",
    "ModelInfo": "models.get_model",
    "beta.BetaFileMetadata": "files.upload files.get",
    "beta.BetaDeletedFile": "files.delete",
    "beta.BetaSkill": "skills.create skills.get",
    "beta.BetaDeletedSkill": "skills.delete",
    "beta.skills.BetaSkillVersion": "skills.create_version skills.get_version",
    "beta.skills.BetaDeletedSkillVersion": "skills.delete_version",
}
PAGES: dict[str, str] = {
    "beta.BetaManagedAgentsAgent": "agents.list_agents agents.versions",
    "beta.BetaEnvironment": "environments.list_environments",
    "beta.environments.BetaSelfHostedWork": "work.list_work",
    "beta.BetaManagedAgentsVault": "vaults.list_vaults",
    "beta.vaults.BetaManagedAgentsCredential": "credentials.list_credentials",
    "beta.BetaManagedAgentsSession": "sessions.list_sessions",
    "beta.sessions.BetaManagedAgentsSessionEvent": "events.list_events events.list_thread_events",
    "beta.sessions.BetaManagedAgentsSessionResource": "resources.list_resources",
    "beta.sessions.BetaManagedAgentsSessionThread": "threads.list_threads",
    "beta.BetaManagedAgentsMemoryStore": "memory_stores.list_stores",
    "beta.memory_stores.BetaManagedAgentsMemoryListItem": "memories.list_memories",
    "beta.memory_stores.BetaManagedAgentsMemoryVersion": "memories.list_versions",
    "beta.BetaManagedAgentsDeployment": "deployments.list_deployments",
    "beta.BetaManagedAgentsDeploymentRun": "deployments.list_runs",
    "beta.BetaDream": "dreams.list_dreams",
    "ModelInfo": "models.list_models",
    "beta.BetaFileMetadata": "files.list_files",
    "beta.BetaSkill": "skills.list_skills",
    "beta.skills.BetaSkillVersion": "skills.list_versions",
}
OR_NOTHING: dict[str, str] = {"beta.environments.BetaSelfHostedWork": "work.poll"}


@cache
def answers() -> tuple[dict[str, Any], dict[str, Any]]:
    """By handler the schema of what it answers with, and all schemas that those refer to, by name."""
    names = sorted({*THINGS, *PAGES})
    inputs: list[Any] = [(name, "validation", TypeAdapter(_declared(name))) for name in names]
    found, rest = TypeAdapter[Any].json_schemas(inputs, ref_template=REF)
    schemas = {PREFIX + name: schema for name, schema in rest.get("$defs", {}).items()}
    one: dict[str, Any] = {name: found[name, "validation"] for name in names}
    described = {handler: one[name] for name, handlers in THINGS.items() for handler in handlers.split()}
    described |= {handler: _page(one[name]) for name, handlers in PAGES.items() for handler in handlers.split()}
    described |= {handler: {"anyOf": [one[name], {"type": "null"}]} for name, handler in OR_NOTHING.items()}
    return described, schemas


def _declared(name: str) -> Any:
    module, _, own = f"{SDK_TYPES}.{name}".rpartition(".")
    return getattr(importlib.import_module(module), own)


def _page(item: dict[str, Any]) -> dict[str, Any]:
    fields = {"data": {"type": "array", "items": item}, "next_page": {"type": ["string", "null"]}}
    return {"type": "object", "properties": fields, "required": ["data"]}
