"""Memory stores that a new session gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from outrider.api.endpoint import Call
from outrider.errors import InvalidRequest, NotFound
from outrider.ports.log import SessionKey
from outrider.resources.memory_mounts import mounted


async def attached(call: Call, key: SessionKey, given: Sequence[Any]) -> list[dict[str, Any]]:
    """Noted before the session exists, so that no store is deleted unseen; if it comes to nothing, that is forgotten
    later. Raises NotFound, InvalidRequest."""
    if not given:
        return []
    services, stores = call.services, [one["memory_store_id"] for one in given]
    try:
        records = await services.memories.attach(key, stores, services.clock.now())
    except (NotFound, InvalidRequest) as problem:
        raise type(problem)(f"resources: {problem.message}") from None
    return mounted(given, records)
