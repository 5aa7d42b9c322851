"""Our own extra: what a session's commands asked of the network, as the egress proxy saw it."""

from __future__ import annotations

from outrider.api.endpoint import Call, Reply
from outrider.api.lookup import session_record
from outrider.ports.egress import Asked
from outrider.wire.query import Query

MOST = 1000


async def get_requests(call: Call) -> Reply:
    """The newest ones, oldest first; a tunnel is listed when it has ended."""
    session = (await session_record(call)).id
    limit = Query(call.query).limit(default=100, most=MOST)
    return Reply({"data": await call.services.requests(Asked(call.workspace, session, limit))})
