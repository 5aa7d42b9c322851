"""Rules of work items: how the API shows them, what a poll asks, and what a worker is given with one."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

import msgspec

from outrider.errors import HeartbeatRefused, InvalidRequest
from outrider.ports.work import WorkItem
from outrider.resources import metadata

LONGEST_WORKER_ID = 256
TTL_BOUNDS = (10, 600)

_decode = msgspec.json.Decoder(dict[str, str]).decode


def work_object(item: WorkItem, *, secret: str | None = None) -> dict[str, Any]:
    return {
        "id": item.id,
        "type": "work",
        "environment_id": item.environment,
        "state": _state(item),
        "data": {"type": "session", "id": item.session},
        "metadata": _decode(item.metadata),
        "secret": secret,
        "created_at": item.created_at,
        "acknowledged_at": item.acknowledged_at,
        "started_at": item.started_at,
        "latest_heartbeat_at": item.heartbeat,
        "stop_requested_at": item.stop_requested_at,
        "stopped_at": item.stopped_at,
    }


def _state(item: WorkItem) -> str:
    return "queued" if item.state == "polled" else item.state


def secret_of(token: str) -> str:
    """What a worker takes its token from."""
    return urlsafe_b64encode(json.dumps({"sessions_token": token}).encode()).decode().rstrip("=")


def heartbeat_object(item: WorkItem) -> dict[str, Any]:
    return {
        "type": "work_heartbeat",
        "last_heartbeat": item.heartbeat or "",
        "lease_extended": item.state != "stopped",
        "state": _state(item),
        "ttl_seconds": item.ttl,
    }


def refused_heartbeat(item: WorkItem, expected: str | None) -> HeartbeatRefused:
    current = {
        "state": _state(item),
        "last_heartbeat": item.heartbeat,
        "ttl_seconds": item.ttl,
        "lease_extended": False,
    }
    message = f"The heartbeat of {item.id} is not {expected}: another worker may hold it."
    return HeartbeatRefused(message, current)


def clamped_ttl(desired: int | None) -> int | None:
    least, most = TTL_BOUNDS
    return None if desired is None else max(least, min(most, desired))


def checked_worker_id(given: str) -> str:
    if len(given) > LONGEST_WORKER_ID or not given.isprintable():
        raise InvalidRequest(f"anthropic-worker-id: must have at most {LONGEST_WORKER_ID} printable characters")
    return given


def changed_metadata(item: WorkItem, patch: dict[str, str | None] | None) -> str:
    """The stored form of an item's metadata after a patch. Raises InvalidRequest."""
    bag = _decode(item.metadata)
    after = metadata.merged(bag, patch)
    return item.metadata if after == bag else msgspec.json.encode(after).decode()
