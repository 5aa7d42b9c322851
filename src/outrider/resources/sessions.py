"""Rules of sessions: what a request for one asks, what an update changes, what may end, and how one is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from outrider.errors import InvalidRequest
from outrider.ports.log import SessionKey, SessionPatch
from outrider.ports.model import ModelProfile
from outrider.ports.records import SessionRecord
from outrider.resources import memory_mounts, metadata, mounts
from outrider.resources.agents import SNAPSHOT_KEYS, with_tools
from outrider.resources.events import check_documents, check_offered
from outrider.session import costs
from outrider.session.costs import Spending

FOLDERS = "folders"
"""Where the operator's folders lie in a session's details, and in the first row of its log."""
STATUSES = ("idle", "running", "rescheduling", "terminated")
THREAD_AGENT_KEYS = tuple(key for key in SNAPSHOT_KEYS if key != "multiagent")
NO_USAGE: dict[str, Any] = {
    "input_tokens": 0,
    "output_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "active_seconds": 0.0,
    "list_cost": None,
    "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A checked request for a session. `agent` is the reference as sent; see `effective_agent`."""

    agent: str | dict[str, Any]
    agent_id: str
    agent_version: int | None
    environment_id: str
    details: dict[str, Any]
    initial_events: list[dict[str, Any]]
    resources: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class SessionChange:
    """An update that changes something: the record to store, and the fields of the `session.updated` event."""

    record: SessionRecord
    fields: dict[str, Any]


def new_session(request: Mapping[str, Any]) -> SessionRequest:
    """Raises NotSupported for events that this server doesn't offer yet."""
    events: list[dict[str, Any]] = request.get("initial_events", [])
    check_offered(events, field="initial_events")
    check_documents(events)
    agent = request["agent"]
    return SessionRequest(
        agent=agent,
        agent_id=agent if isinstance(agent, str) else agent["id"],
        agent_version=None if isinstance(agent, str) else agent.get("version"),
        environment_id=request["environment_id"],
        details={
            "title": request.get("title"),
            "metadata": metadata.checked(request.get("metadata", {})),
            "vault_ids": list(dict.fromkeys(request.get("vault_ids", []))),
            "budget": request.get("budget"),
        },
        initial_events=events,
        resources=request.get("resources", []),
    )


def session_record(
    request: SessionRequest,
    *,
    key: SessionKey,
    thread: str,
    agent: Mapping[str, Any],
    now: str,
    patch: SessionPatch | None = None,
) -> SessionRecord:
    """The record of a new session; `agent` is its snapshot, `patch` what its initial events make of the status."""
    begun = patch or SessionPatch()
    return SessionRecord(
        workspace=key.workspace,
        id=key.session,
        thread=thread,
        agent_id=agent["id"],
        agent_version=agent["version"],
        environment_id=request.environment_id,
        status=begun.status or "idle",
        created_at=now,
        updated_at=now,
        archived_at=None,
        agent=_encode(agent),
        details=_encode(request.details),
        usage=begun.usage or b"{}",
        stats=begun.stats or b"{}",
    )


def opened_by(record: SessionRecord, answer: str) -> SessionRecord:
    """The record with the name of the stored answer to the request that made it, which holds the session, too."""
    return replace(record, details=_encode(_decode(record.details) | {"opened_by": answer}))


def opener_of(record: SessionRecord) -> str:
    return _decode(record.details).get("opened_by", "")


def check_priced(agent: Mapping[str, Any], profile: Callable[[str], ModelProfile]) -> None:
    """What is to be kept within a budget must have a price. Raises InvalidRequest."""
    model = agent["model"]["id"]
    if profile(model).price is None:
        reason = "model_not_budgetable"
        raise InvalidRequest(f"budget: {reason}: model {model} has no price on this server", error_code=reason)


def updated_session(
    record: SessionRecord, request: Mapping[str, Any], *, now: str, spent: int = 0
) -> SessionChange | None:
    """What an update changes; None for nothing. Raises InvalidRequest. A null metadata patch changes nothing. `spent`
    is what the session has cost, in picodollars."""
    details, agent = _decode(record.details), _decode(record.agent)
    _check_updatable(record, request)
    _check_budget(details.get("budget"), request.get("budget"), spent)
    changed_details = details | _changed_details(details, request)
    changed_agent = with_tools(agent, request.get("agent", {}))
    if changed_details == details and changed_agent == agent:
        return None
    fields = {key: value for key, value in changed_details.items() if value != details.get(key)}
    if not fields.get("metadata", True):
        del fields["metadata"]  # the event can't say that the bag became empty
    if changed_agent != agent:
        fields["agent"] = changed_agent
    stored = replace(record, details=_encode(changed_details), agent=_encode(changed_agent), updated_at=now)
    return SessionChange(stored, fields)


def _changed_details(details: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "title" in request:
        changes["title"] = request["title"]
    if "metadata" in request:
        changes["metadata"] = metadata.merged(details["metadata"], request["metadata"])
    if "budget" in request:
        changes["budget"] = request["budget"]
    return changes


def _check_budget(had: Mapping[str, Any] | None, asked: Mapping[str, Any] | None, spent: int) -> None:
    if asked is None:
        return
    if had is None:
        reason = "budget_create_only"
        raise InvalidRequest(f"budget: {reason}: a budget can only be given to a new session", error_code=reason)
    if costs.cents_of(asked) * costs.CENT <= spent:
        reason = "budget_not_raised"
        said = f"the new limit must be above what the session has cost, {costs.amount(spent)['amount']} cents"
        raise InvalidRequest(f"budget: {reason}: {said}", error_code=reason)


def _check_updatable(record: SessionRecord, request: Mapping[str, Any]) -> None:
    if record.status == "terminated":
        raise InvalidRequest(f"Session {record.id} is terminated or archived and can't be updated.")
    if "vault_ids" in request:
        raise InvalidRequest("vault_ids: the vaults of a session can't be changed")
    if request.get("agent") and record.status != "idle":
        raise InvalidRequest(f"agent: Session {record.id} is {record.status}; its agent can be changed only when idle")


def check_archivable(record: SessionRecord) -> None:
    """Raises InvalidRequest while the session works. An archived one may be archived again, without effect."""
    if record.status in ("running", "rescheduling"):
        raise InvalidRequest(f"Session {record.id} is {record.status} and can't be archived; interrupt it first.")


def check_deletable(record: SessionRecord) -> None:
    """Raises InvalidRequest while the session is running."""
    if record.status == "running":
        raise InvalidRequest(f"Session {record.id} is running and can't be deleted; interrupt it first.")


def deleted_session(id: str) -> dict[str, str]:
    return {"id": id, "type": "session_deleted"}


def session_object(record: SessionRecord, *, now: str) -> dict[str, Any]:
    """The Session with every key, null where it has no value. Running seconds are counted up to `now`."""
    active = _active_seconds(record, now)
    details = _decode(record.details)
    return {
        "id": record.id,
        "type": "session",
        "agent": _decode(record.agent),
        "environment_id": record.environment_id,
        "status": record.status,
        "title": details.get("title"),
        "metadata": details.get("metadata", {}),
        "vault_ids": details.get("vault_ids", []),
        "resources": [
            *(mounts.shown(one) for one in details.get("resources", [])),
            *details.get(memory_mounts.DETAIL, []),
        ],
        "budget": details.get("budget"),
        "stats": {"active_seconds": active, "duration_seconds": _duration(record, now)},
        "usage": _usage(record, active) | {"list_cost": _list_cost(record, details, active)},
        "outcome_evaluations": [],
        "deployment_id": details.get("deployment_id"),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "archived_at": record.archived_at,
        **({FOLDERS: details[FOLDERS]} if FOLDERS in details else {}),
    }


def thread_object(record: SessionRecord, *, now: str) -> dict[str, Any]:
    """The session's primary thread. `stats` is null until its status first changes, `usage` until it first rests."""
    agent = _decode(record.agent)
    stats = _decode(record.stats)
    active = _active_seconds(record, now)
    return {
        "id": record.thread,
        "type": "session_thread",
        "session_id": record.id,
        "agent": {key: agent[key] for key in THREAD_AGENT_KEYS},
        "parent_thread_id": None,
        "status": record.status,
        "stats": _thread_stats(record, active, now) if stats else None,
        "usage": _usage(record, active) | {"list_cost": _model_cost(stats)} if _has_rested(stats) else None,
        "workflow_run_id": None,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "archived_at": record.archived_at,
    }


def _usage(record: SessionRecord, active: float) -> dict[str, Any]:
    return NO_USAGE | _decode(record.usage) | {"active_seconds": active}


def _list_cost(record: SessionRecord, details: Mapping[str, Any], active: float) -> dict[str, str] | None:
    """None where something that the session did has no price. A budget says that all has one."""
    stats = _decode(record.stats)
    if "cost" not in stats:
        return costs.amount(0) if details.get("budget") and not stats else None
    return costs.amount(costs.spent(Spending(hour=stats["hour"], settled=stats["cost"]), active))


def _model_cost(stats: Mapping[str, Any]) -> dict[str, str] | None:
    """Of a thread: without the session's time at work."""
    return costs.amount(stats["cost"]) if "cost" in stats else None


def _thread_stats(record: SessionRecord, active: float, now: str) -> dict[str, Any]:
    return {"active_seconds": active, "duration_seconds": _duration(record, now), "startup_seconds": None}


def _has_rested(stats: dict[str, Any]) -> bool:
    """Active seconds are added up when a run ends; until the first one does there are none."""
    return bool(stats) and (stats["active_seconds"] > 0 or stats["running_since"] is None)


def _active_seconds(record: SessionRecord, now: str) -> float:
    stats = _decode(record.stats)
    since = stats.get("running_since")
    running = 0.0 if since is None else _seconds(since, now)
    return round(stats.get("active_seconds", 0.0) + running, 3)


def _duration(record: SessionRecord, now: str) -> float:
    """Since creation; a terminated session's stands still at its last update."""
    return round(_seconds(record.created_at, record.updated_at if record.status == "terminated" else now), 3)


def _seconds(start: str, end: str) -> float:
    """Never negative: the two may come from clocks of two hosts."""
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
