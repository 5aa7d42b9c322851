"""Records named by a request's path, within the caller's workspace. Raises NotFound."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from outrider.api.endpoint import Call
from outrider.errors import NotFound
from outrider.ports.deployments import DeploymentRecord, RunRecord
from outrider.ports.dreams import DreamRecord
from outrider.ports.files import FileRecord
from outrider.ports.log import SessionKey
from outrider.ports.memory import MemoryRecord, MemoryStoreRecord, MemoryVersion
from outrider.ports.records import AgentRecord, EnvironmentRecord, Footing, SessionRecord
from outrider.ports.skills import SkillRecord, SkillVersion
from outrider.ports.vaults import CredentialRecord, VaultRecord
from outrider.resources.footings import absent
from outrider.resources.skills.prebuilt import prebuilt
from outrider.resources.skills.records import CUSTOM, LATEST, PREBUILT

T = TypeVar("T")


def _there(record: T | None, name: str, *, within: str = "") -> T:
    if record is None:
        raise NotFound(f"{name} not found in {within}." if within else f"{name} not found.")
    return record


async def session_record(call: Call, *, thread: str | None = None) -> SessionRecord:
    """The session, and with `thread` only if that is one of its threads."""
    session_id = call.path["session_id"]
    record = await call.services.records.session(SessionKey(call.workspace, session_id))
    session = _there(record, f"Session {session_id}")
    if thread is not None and thread != session.thread:
        raise NotFound(f"Thread {thread} not found in session {session_id}.")
    return session


async def agent_record(call: Call, agent_id: str, version: int | None = None) -> AgentRecord:
    record = await call.services.records.agent(call.workspace, agent_id, version)
    return _there(record, f"Agent {agent_id}" if version is None else f"Agent {agent_id} version {version}")


async def vault_record(call: Call) -> VaultRecord:
    vault_id = call.path["vault_id"]
    record = await call.services.vaults.vault(call.workspace, vault_id)
    return _there(record, f"Vault {vault_id}")


async def credential_record(call: Call) -> CredentialRecord:
    vault_id, credential_id = call.path["vault_id"], call.path["credential_id"]
    record = await call.services.vaults.credential(call.workspace, vault_id, credential_id)
    return _there(record, f"Credential {credential_id}", within=f"vault {vault_id}")


async def memory_store_record(call: Call) -> MemoryStoreRecord:
    store = call.path["memory_store_id"]
    record = await call.services.memories.memory_store(call.workspace, store)
    return _there(record, f"Memory store {store}")


async def memory_record(call: Call) -> MemoryRecord:
    store, memory = call.path["memory_store_id"], call.path["memory_id"]
    record = await call.services.memories.memory(call.workspace, store, memory)
    return _there(record, f"Memory {memory}", within=f"memory store {store}")


async def memory_version_record(call: Call) -> MemoryVersion:
    store, version = call.path["memory_store_id"], call.path["memory_version_id"]
    record = await call.services.memories.memory_version(call.workspace, store, version)
    return _there(record, f"Memory version {version}", within=f"memory store {store}")


async def skill_record(call: Call) -> SkillRecord:
    """The workspace's own, or one that comes with the server."""
    skill = call.path["skill_id"]
    shared = prebuilt().get(skill)
    record = await call.services.skills.skill(call.workspace, skill) if shared is None else shared.record
    return _there(record, f"Skill {skill}")


async def skill_version_record(call: Call, *, latest: bool = False) -> SkillVersion:
    """`latest`: whether it may be named by that alias."""
    skill = await skill_record(call)
    version = call.path["skill_version_id"]
    wanted = skill.latest if latest and version == LATEST else version
    found = await skill_version_named(call, skill.id, wanted)
    return _there(found, f"Skill version {version}", within=f"skill {skill.id}")


async def skill_version_named(call: Call, skill: str, version: str) -> SkillVersion | None:
    shared = prebuilt().get(skill)
    if shared is None:
        return await call.services.skills.skill_version(call.workspace, skill, version)
    return shared.version if shared.version.id == version else None


async def skills_named(call: Call, entries: Sequence[Mapping[str, Any]], *, field: str) -> list[SkillVersion]:
    """The versions that the `skills` of an agent stand for now. Raises NotFound."""
    return [await _skill_named(call, entry, f"{field}.{index}") for index, entry in enumerate(entries)]


async def _skill_named(call: Call, entry: Mapping[str, Any], field: str) -> SkillVersion:
    skill, version = entry["skill_id"], entry["version"]
    shared = prebuilt().get(skill) if entry["type"] == PREBUILT else None
    own = await call.services.skills.skill(call.workspace, skill) if entry["type"] == CUSTOM else None
    record = own or (shared and shared.record)
    if record is None:
        raise NotFound(f"{field}.skill_id: There is no {entry['type']} skill {skill}.")
    found = await skill_version_named(call, skill, record.latest if version == LATEST else version)
    if found is None:
        raise NotFound(f"{field}.version: Skill {skill} has no version {version}.")
    return found


async def deployment_record(call: Call) -> DeploymentRecord:
    deployment = call.path["deployment_id"]
    record = await call.services.deployments.deployment(call.workspace, deployment)
    return _there(record, f"Deployment {deployment}")


async def run_record(call: Call) -> RunRecord:
    """Of a run with an outcome."""
    run = call.path["deployment_run_id"]
    record = await call.services.deployments.run(call.workspace, run)
    return _there(None if record is None or record.outcome == "pending" else record, f"Deployment run {run}")


async def dream_record(call: Call) -> DreamRecord:
    dream = call.path["dream_id"]
    record = await call.services.dreams.dream(call.workspace, dream)
    return _there(record, f"Dream {dream}")


async def environment_record(call: Call, environment_id: str) -> EnvironmentRecord:
    record = await call.services.records.environment(call.workspace, environment_id)
    if record is None:
        raise absent(Footing("environment", environment_id))
    return record


async def named_file_records(call: Call, ids: Collection[str]) -> dict[str, FileRecord]:
    """Those that there are, by id."""
    found = await call.services.files.files_named(call.workspace, ids) if ids else []
    return {record.id: record for record in found}
