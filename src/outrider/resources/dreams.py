"""Rules of dreams: what may be asked, how one is shown, and what each end is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from outrider.errors import InvalidRequest
from outrider.ports.dreams import DreamRecord
from outrider.ports.records import SessionRecord
from outrider.resources.model_config import Profiles, model_config

DREAM = "drm"
STATUSES = ("pending", "running", "completed", "failed", "canceled")
STORE_UNAVAILABLE = "input_memory_store_unavailable"
SESSION_UNAVAILABLE = "input_session_unavailable"
TIMEOUT = "timeout"
INTERNAL = "internal_error"
IN_PLACE = "update_existing"

Object = dict[str, Any]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Object).decode


def new_dream(request: Mapping[str, Any], *, profiles: Profiles) -> Object:
    """The client-set fields as they are stored and shown. Raises InvalidRequest."""
    model = model_config(request["model"], profiles)
    if model.get("speed", "standard") != "standard":
        raise InvalidRequest("model.speed: dreams run at the speed standard")
    store, sessions = _inputs(request["inputs"])
    behavior = request.get("output_behavior") or {"type": "create_new"}
    if behavior["type"] == IN_PLACE and behavior["memory_store_id"] != store:
        raise InvalidRequest("output_behavior.memory_store_id: Input should be the memory store of `inputs`")
    return {
        "inputs": [
            {"type": "memory_store", "memory_store_id": store},
            {"type": "sessions", "session_ids": sorted(sessions)},
        ],
        "model": model,
        "instructions": request.get("instructions"),
        "output_behavior": behavior,
    }


def _inputs(given: list[Object]) -> tuple[str, list[str]]:
    by_type = {one["type"]: one for one in given}
    if set(by_type) != {"memory_store", "sessions"}:
        raise InvalidRequest("inputs: Input should be one memory_store and one sessions")
    sessions: list[str] = by_type["sessions"]["session_ids"]
    if len(set(sessions)) != len(sessions):
        raise InvalidRequest("inputs: session_ids should name each session once")
    return by_type["memory_store"]["memory_store_id"], sessions


def fields_of(record: DreamRecord) -> Object:
    return _decode(record.body)


def sessions_of(record: DreamRecord) -> list[str]:
    """Those that it reads."""
    return fields_of(record)["inputs"][1]["session_ids"]


def error_of(kind: str, message: str) -> bytes:
    return _encode({"type": kind, "message": message})


def usage_of(session: SessionRecord | None) -> Object:
    """What the dream's session has used."""
    used: Object = {} if session is None else _decode(session.usage)
    created: Mapping[str, int] = used.get("cache_creation") or dict[str, int]()
    plain = ("input_tokens", "output_tokens", "cache_read_input_tokens")
    return {key: used.get(key, 0) for key in plain} | {"cache_creation_input_tokens": sum(created.values())}


def dream_object(record: DreamRecord, session: SessionRecord | None) -> Object:
    """`session` is the one that it works in, as far as that is there; what a settled one used is in its own record."""
    shown = fields_of(record)
    ended = record.ended_at is not None
    began = record.begun_at is not None
    return {
        "id": record.id,
        "type": "dream",
        "status": record.status,
        **shown,
        "outputs": [{"type": "memory_store", "memory_store_id": record.output}] if began else [],
        "session_id": None if record.opened_at is None else record.session,
        "usage": usage_of(session) if record.usage is None else _decode(record.usage),
        "error": _decode(record.error) if ended and record.error is not None else None,
        "created_at": record.created_at,
        "ended_at": record.ended_at,
        "archived_at": record.archived_at,
    }
