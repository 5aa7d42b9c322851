"""The models that this server can run, as its configured endpoints name them."""

from __future__ import annotations

from typing import Any

from outrider.api.endpoint import Call, Reply
from outrider.errors import InvalidRequest, NotFound
from outrider.wire.query import Query

LIFECYCLES = ("active", "deprecated", "retired")  # here all are active
EPOCH = "1970-01-01T00:00:00Z"  # when a model was made is not known here


def _object(call: Call, name: str) -> dict[str, Any]:
    profile = call.services.models.profile(name)
    return {
        "id": name,
        "type": "model",
        "display_name": name,
        "created_at": EPOCH,
        "lifecycle": "active",
        "max_input_tokens": profile.window,
        "max_tokens": profile.max_tokens,
    }


async def list_models(call: Call) -> Reply:
    query = Query(call.query)
    limit = query.limit(default=20, most=1000)
    asked = query.choices("lifecycle", LIFECYCLES)
    names = call.services.models.names() if not asked or "active" in asked else []
    after, before = query.text("after_id"), query.text("before_id")
    for marker in (after, before):
        if marker is not None and marker not in names:
            raise InvalidRequest(f"No model {marker} to start a page at.")
    start = names.index(after) + 1 if after is not None else 0
    end = names.index(before) if before is not None else len(names)
    if before is not None:
        start = max(start, end - limit)
    shown = names[start:end][:limit]
    more = start > 0 if before is not None else start + limit < end
    ends = {"first_id": shown[0], "last_id": shown[-1]} if shown else {"first_id": None, "last_id": None}
    return Reply({"data": [_object(call, name) for name in shown], "has_more": more, **ends})


async def get_model(call: Call) -> Reply:
    name = call.path["model_id"]
    if name not in call.services.models.names():
        raise NotFound(f"Model {name} not found.")
    return Reply(_object(call, name))
