"""Our own extra: where a session's sandbox is, and taking the session off a host that is lost."""

from __future__ import annotations

import json
from typing import Any

from outrider.api.endpoint import Call, Reply
from outrider.api.lookup import session_record
from outrider.errors import Conflict, InvalidRequest
from outrider.ports.placements import given_up, given_up_host


async def move(call: Call) -> Reply:
    """The session's next tool call begins with an empty workspace, on a host that answers. What its old host has of it
    is erased when that host is seen again."""
    force = _force(call.body)
    session = (await session_record(call)).id
    place = await call.services.placements.placement(session)
    if place is None:
        raise Conflict(f"Session {session} has no place that it could leave: none of its calls was given to a host.")
    if given_up_host(place) is None:
        await _check(call, place, force=force)
        wanted = given_up(place)
        if await call.services.placements.place(session, wanted, instead_of=place) != wanted:
            raise Conflict(f"Session {session} has just been moved by somebody else.")
    return Reply({"type": "session_move", "session_id": session, "from": given_up_host(place) or place})


async def _check(call: Call, place: str, *, force: bool) -> None:
    """Also by force no session leaves shared storage: it moves by itself there, with its files, once that is safe."""
    if call.services.settings.shared_workspaces:
        raise Conflict("With sandbox.shared_workspaces a session moves by itself, with its files.")
    if force:
        return
    reached = await call.services.reaches(place)
    if reached:
        raise Conflict(f"{place} can be reached and has the session's files: to give them up say `force`.")
    if reached is None:
        raise Conflict(f"This server can't see whether {place} can be reached: if it is lost for good say `force`.")


def _force(body: bytes) -> bool:
    try:
        given: Any = json.loads(body or b"{}")
    except ValueError as error:
        raise InvalidRequest(f"The body is not JSON: {error}") from error
    if not isinstance(given, dict) or given.keys() - {"force"}:  # pyright: ignore[reportUnknownMemberType]
        raise InvalidRequest("The body may hold `force` and nothing else.")
    force: object = given.get("force", False)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(force, bool):
        raise InvalidRequest("force: must be true or false")
    return force
