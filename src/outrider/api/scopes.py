"""What the keys of each scope may do. Each route names one of these sets; there is no default.

A workspace's keys trust each other: scopes say what a program may change, not which sessions it may see. Only an
environment's key is held to something smaller, the sessions that run in its environment; and a work item's token to
one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from outrider.errors import NotFound, PermissionDenied
from outrider.ports.access import ApiKey, Role
from outrider.ports.log import SessionKey
from outrider.ports.records import Footing
from outrider.resources.footings import absent
from outrider.resources.memory_mounts import attached
from outrider.resources.skills.used import skills_of
from outrider.session.inbox import RESULTS

if TYPE_CHECKING:
    from outrider.api.skills_in_use import SkillsInUse
    from outrider.ports.records import Records

ADMINISTER: frozenset[Role] = frozenset({"admin"})
"""Keys, and what an operator does to sessions."""
DEFINE: frozenset[Role] = frozenset({"admin", "developer"})
"""Agents, environments, vaults and credentials."""
USE: frozenset[Role] = frozenset({"admin", "developer", "user"})
"""Sessions, and reading what they are made of."""
WORK: frozenset[Role] = frozenset({"admin", "developer", "user", "environment", "session"})
"""What a worker does for a session of its environment."""
MEMORIES: frozenset[Role] = frozenset({"admin", "developer", "user", "session"})
"""Memories: of a token those of its session's stores."""
POLL: frozenset[Role] = frozenset({"environment"})
"""Taking work."""
HOLD: frozenset[Role] = frozenset({"environment", "session"})
"""Saying that it is still being done."""
QUEUE: frozenset[Role] = frozenset({"admin", "developer", "user", "environment"})
"""Looking at what waits."""
ANY: frozenset[Role] = WORK
OUTSIDE: frozenset[Role] = HOLD
"""What workers hold: they answer calls, and say nothing in anybody's name."""


def require(key: ApiKey, scopes: Set[Role], what: str = "do this") -> None:
    """Raises PermissionDenied."""
    if key.scope not in scopes:
        raise PermissionDenied(
            f"A key of the scope `{key.scope}` may not {what}; it takes one of: {', '.join(sorted(scopes))}."
        )


async def require_own(records: Records, skills: SkillsInUse, key: ApiKey, path: Mapping[str, str]) -> None:
    """To an environment's key the sessions of other environments are unknown, and skills that none of its own has; to a
    work item's token all but its session, and the skills and memory stores of that. Raises NotFound."""
    if key.environment is None:
        return
    environment = path.get("environment_id", key.environment)
    if environment != key.environment:
        raise absent(Footing("environment", environment))
    if key.session is not None:
        await _require_of_token(records, key, path)
        return
    if "session_id" in path:
        record = await records.session(SessionKey(key.workspace, path["session_id"]))
        if record is None or record.environment_id != key.environment:
            raise NotFound(f"Session {path['session_id']} not found.")
    skill = path.get("skill_id")
    if skill is not None and not await skills.has(key.workspace, environment, skill):
        raise NotFound(f"Skill {skill} not found.")


async def _require_of_token(records: Records, key: ApiKey, path: Mapping[str, str]) -> None:
    if path.get("session_id", key.session) != key.session:
        raise NotFound(f"Session {path['session_id']} not found.")
    if path.get("work_id", key.work) != key.work:
        raise NotFound(f"Work item {path['work_id']} not found.")
    if "skill_id" in path and path["skill_id"] not in await _skills(records, key):
        raise NotFound(f"Skill {path['skill_id']} not found.")
    store = path.get("memory_store_id")
    if store is not None and await memory_access(records, key, store) is None:
        raise NotFound(f"Memory store {store} not found.")


async def _skills(records: Records, key: ApiKey) -> set[str]:
    """Those of the agent in a token's session."""
    record = await records.session(SessionKey(key.workspace, key.session or ""))
    return set() if record is None else {skill["skill_id"] for skill in skills_of(record)}


async def memory_access(records: Records, key: ApiKey, store: str) -> str | None:
    """How a token's session has this memory store: `read_only`, `read_write`, or not at all."""
    record = await records.session(SessionKey(key.workspace, key.session or ""))
    mounted = [] if record is None else attached(record)
    found = next((one for one in mounted if one["memory_store_id"] == store), None)
    return None if found is None else found["access"]


async def require_writable(records: Records, key: ApiKey, store: str) -> None:
    """Raises PermissionDenied for the token of a session that may only read this memory store."""
    if key.session is not None and await memory_access(records, key, store) != "read_write":
        raise PermissionDenied(f"Memory store {store} is attached to session {key.session} read-only.")


def require_may_send(key: ApiKey, events: Sequence[Mapping[str, Any]]) -> None:
    """Raises PermissionDenied: a worker may give results, and not speak for the user, nor confirm what it is to run."""
    for index, event in enumerate(events):
        if key.scope in OUTSIDE and event["type"] not in RESULTS:
            may = " and ".join(RESULTS)
            raise PermissionDenied(
                f"events.{index}: A key of the scope `{key.scope}` may send {may}, not {event['type']}."
            )
