"""Rules of deployments and their runs: what a request for one asks, what an update changes, what a run's session is
asked for with, and how both are shown. Tokens of repositories are never in a record: it names where the vault has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from outrider.errors import InvalidRequest
from outrider.ports.deployments import DeploymentRecord, RunRecord
from outrider.ports.vaults import LATEST, SecretRef
from outrider.resources import metadata, schedules
from outrider.resources.mounts import FIRST_VERSION

Object = dict[str, Any]
STATUSES = ("active", "paused")
STARTING = ("user.message", "user.define_outcome")
MANUAL = {"type": "manual"}
TOKEN = "authorization_token"
OPTIONAL = {
    "github_repository": ("checkout", "mount_path"),
    "file": ("mount_path",),
    "memory_store": ("access", "instructions"),
}
"""Fields of resources that are shown as null when they were not given."""
ASKED = frozenset({"agent", "environment_id", "initial_events", "resources", "vault_ids", "budget"})
"""What sessions are asked for with: a change of these is checked as a request for one would be."""
KEEP_ON = frozenset({"session_creation_rejected_error"})
"""Errors of runs after which the schedule goes on."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Object).decode


def new_deployment(request: Mapping[str, Any]) -> Object:
    """The client-set fields, without the agent's version and the places of tokens. Raises InvalidRequest."""
    blank: Object = {
        "description": None,
        "resources": [],
        "vault_ids": [],
        "metadata": {},
        "schedule": None,
        "budget": None,
    }
    return _checked(blank | _given(request) | {"metadata": metadata.checked(request.get("metadata", {})), "tokens": {}})


def updated_deployment(body: Object, request: Mapping[str, Any]) -> Object:
    """The fields after an update; null clears what can be cleared. Raises InvalidRequest."""
    changed = body | _given(request)
    if "metadata" in request:
        changed["metadata"] = metadata.merged(body["metadata"], request["metadata"])
    return _checked(changed)


def _given(request: Mapping[str, Any]) -> Object:
    given = {key: value for key, value in request.items() if key != "metadata"}
    for key in ("resources", "vault_ids"):
        if key in given:
            given[key] = given[key] or []
    if "description" in given:
        given["description"] = given["description"] or None
    if "vault_ids" in given:
        given["vault_ids"] = list(dict.fromkeys(given["vault_ids"]))
    if "resources" in given:
        given["resources"] = [_without_token(one) for one in given["resources"]]
    return given


def _without_token(resource: Mapping[str, Any]) -> Object:
    return {key: value for key, value in resource.items() if key != TOKEN}


def _checked(body: Object) -> Object:
    if not any(event["type"] in STARTING for event in body["initial_events"]):
        raise InvalidRequest(f"initial_events: Input should have an event that starts work: {' or '.join(STARTING)}")
    if body["schedule"] is not None:
        body["schedule"] = schedules.checked(body["schedule"])
    return body


def session_request(body: Mapping[str, Any], resources: Sequence[Mapping[str, Any]] | None = None) -> Object:
    """What each of its sessions is asked for with; `resources` may be given with their tokens."""
    asked = {key: body[key] for key in ("agent", "environment_id", "initial_events", "vault_ids")}
    asked["resources"] = list(body["resources"] if resources is None else resources)
    return asked | ({} if body["budget"] is None else {"budget": body["budget"]})


def with_tokens(body: Object, secrets: Mapping[str, Mapping[str, Any]]) -> Object:
    """The fields with the places of these secrets, which are a session's resources' by id."""
    return body | {"tokens": {secret["url"]: id for id, secret in secrets.items()}}


def tokens_of(record: DeploymentRecord, *, version: int = FIRST_VERSION) -> dict[str, SecretRef]:
    """Where the vault holds the tokens of its repositories, by their addresses."""
    if record.archived_at is not None:
        return {}
    held: dict[str, str] = _decode(record.body)["tokens"]
    return {url: SecretRef(record.workspace, record.id, id, version) for url, id in held.items()}


def every_token(record: DeploymentRecord) -> list[SecretRef]:
    """In all versions, to be erased."""
    return list(tokens_of(replace(record, archived_at=None), version=LATEST).values())


def fields_of(record: DeploymentRecord) -> Object:
    return _decode(record.body)


def next_at(body: Mapping[str, Any], now: str) -> str | None:
    return None if body["schedule"] is None else schedules.following(body["schedule"], now)


def changed_record(record: DeploymentRecord, body: Object, *, now: str) -> DeploymentRecord:
    """With these fields; a schedule that changed starts anew, unless the deployment is paused."""
    before = _decode(record.body)
    waits = record.next_at if body["schedule"] == before["schedule"] else next_at(body, now)
    return replace(
        record,
        agent_id=body["agent"]["id"],
        next_at=None if record.paused is not None else waits,
        body=_encode(body),
        revision=record.revision + 1,
        updated_at=now,
    )


def paused(record: DeploymentRecord, *, now: str) -> DeploymentRecord:
    return replace(record, paused=_encode(MANUAL), next_at=None, revision=record.revision + 1, updated_at=now)


def unpaused(record: DeploymentRecord, *, now: str) -> DeploymentRecord:
    """It waits for the next time that is still to come."""
    waits = next_at(_decode(record.body), now)
    return replace(record, paused=None, next_at=waits, revision=record.revision + 1, updated_at=now)


def archived(record: DeploymentRecord, *, now: str) -> DeploymentRecord:
    gone = replace(record, paused=None, next_at=None, archived_at=now)
    return replace(gone, revision=record.revision + 1, updated_at=now)


def check_active(record: DeploymentRecord) -> None:
    """Raises InvalidRequest."""
    if record.archived_at is not None:
        raise InvalidRequest(f"Deployment {record.id} is archived.")


def reason_for(error: Mapping[str, str]) -> bytes | None:
    """Why a scheduled run that failed like this pauses its deployment; None if it doesn't."""
    return None if error["type"] in KEEP_ON else _encode({"type": "error", "error": {"type": error["type"]}})


def deployment_object(record: DeploymentRecord, *, now: str) -> Object:
    body = _decode(record.body)
    return {
        "id": record.id,
        "type": "deployment",
        "name": body["name"],
        "description": body["description"],
        "agent": body["agent"],
        "environment_id": body["environment_id"],
        "initial_events": body["initial_events"],
        "resources": [_shown(one) for one in body["resources"]],
        "vault_ids": body["vault_ids"],
        "metadata": body["metadata"],
        "schedule": None if body["schedule"] is None else _schedule(record, body["schedule"], now),
        "budget": body["budget"],
        "status": "active" if record.paused is None else "paused",
        "paused_reason": None if record.paused is None else _decode(record.paused),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "archived_at": record.archived_at,
    }


def _shown(resource: Mapping[str, Any]) -> Object:
    return dict.fromkeys(OPTIONAL.get(resource["type"], ())) | dict(resource)


def _schedule(record: DeploymentRecord, schedule: Object, now: str) -> Object:
    coming = [] if record.archived_at is not None else schedules.upcoming(schedule, now)
    return {**schedule, "last_run_at": record.last_run_at, "upcoming_runs_at": coming}


def run_object(run: RunRecord) -> Object:
    by_schedule = {"type": "schedule", "scheduled_at": run.scheduled_at}
    return {
        "id": run.id,
        "type": "deployment_run",
        "deployment_id": run.deployment,
        "agent": {"type": "agent", "id": run.agent_id, "version": run.agent_version},
        "trigger_context": by_schedule if run.trigger == "schedule" else MANUAL,
        "session_id": run.session if run.outcome == "succeeded" else None,
        "error": None if run.error is None else _decode(run.error),
        "created_at": run.created_at,
    }
