"""Sessions and threads as the API shows them, put together from a stored record. Every key is always there."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from outrider.ports.records import SessionRecord
from outrider.resources.agents import SNAPSHOT_KEYS

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

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def session_object(record: SessionRecord, *, now: str) -> dict[str, Any]:
    """The Session; `now` is the time to which running seconds are counted."""
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
        "vault_ids": [],
        "resources": [],
        "budget": None,
        "stats": {"active_seconds": active, "duration_seconds": _duration(record, now)},
        "usage": NO_USAGE | _decode(record.usage) | {"active_seconds": active},
        "outcome_evaluations": [],
        "deployment_id": None,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "archived_at": record.archived_at,
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
        "usage": NO_USAGE | _decode(record.usage) | {"active_seconds": active} if _has_rested(stats) else None,
        "workflow_run_id": None,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "archived_at": record.archived_at,
    }


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
