"""Turns fetched rows into the ports' values, and the ports' conditions into the values that queries name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

from outrider.ports.access import ApiKey, Workspace
from outrider.ports.deployments import DeploymentRecord, RunRecord
from outrider.ports.dreams import DreamRecord
from outrider.ports.files import FileRecord, OutputRecord
from outrider.ports.log import Attendance, HistoryEntry, HistoryQuery, Row, SessionKey, Snapshot
from outrider.ports.memory import Attachment, MemoryRecord, MemoryStoreRecord, MemoryVersion, Write
from outrider.ports.records import AgentRecord, EnvironmentRecord, Page, SessionFilter, SessionRecord
from outrider.ports.skills import SkillRecord, SkillVersion
from outrider.ports.vaults import Change, CredentialRecord, VaultRecord
from outrider.ports.webhooks import Courier, Delivery, Until, WebhookRecord

OnCommit = Callable[[SessionKey, list[Row]], None]
OnDelete = Callable[[SessionKey], None]
OnBatch = Callable[[int, float], None]
"""Told of each commit: how many jobs it held, and its seconds. May be called in any thread."""

HIGHEST_TEXT = "\U0010ffff"  # sorts after every time and id
HIGHEST_POSITION = 2**62
IDLE = "idle"
LOG_TABLES = frozenset({"events", "heads", "history", "sessions", "snapshots", "wakes"})
"""What is erased session by session."""
ROWS_AT_ONCE = 200


def named(key: SessionKey, **values: Any) -> dict[str, Any]:
    return {"workspace": key.workspace, "session": key.session, **values}


Record = (
    AgentRecord
    | EnvironmentRecord
    | SessionRecord
    | ApiKey
    | Workspace
    | VaultRecord
    | CredentialRecord
    | Change
    | FileRecord
    | OutputRecord
    | MemoryStoreRecord
    | MemoryRecord
    | MemoryVersion
    | Write
    | SkillRecord
    | SkillVersion
    | Attachment
    | WebhookRecord
    | Delivery
    | Until
    | Courier
    | DeploymentRecord
    | RunRecord
    | DreamRecord
)


def fields(record: Record) -> dict[str, Any]:
    """A record's values by the names of its columns."""
    return {name: getattr(record, name) for name in type(record).__slots__}


def answers_of(key: SessionKey, opened_by: str) -> dict[str, Any]:
    """The names of stored answers that go with a session; `0` is what follows `/`."""
    first, beyond = f"{key.session}/", f"{key.session}0"
    return {"workspace": key.workspace, "opened_by": opened_by, "first": first, "beyond": beyond}


def rows(found: list[Any]) -> list[Row]:
    return [Row(r[0], r[1], r[2], r[3], r[4], r[5] == 1, r[6], r[7], r[8]) for r in found]


def rows_by_id(found: list[Any]) -> dict[str, Row]:
    return {row.id: row for row in rows(found)}


def entries(found: list[Any]) -> list[HistoryEntry]:
    return [HistoryEntry(r[9], row, r[10]) for r, row in zip(found, rows(found), strict=True)]


def snapshot(found: list[Any]) -> Snapshot | None:
    return Snapshot(*found[0]) if found else None


def attendance(found: list[Any]) -> Attendance | None:
    return Attendance(found[0][0]) if found else None


def agents(found: list[Any]) -> list[AgentRecord]:
    return [AgentRecord(*row) for row in found]


def environments(found: list[Any]) -> list[EnvironmentRecord]:
    return [EnvironmentRecord(*row) for row in found]


def sessions(found: list[Any]) -> list[SessionRecord]:
    return [SessionRecord(*row) for row in found]


def time_bounds(created: Mapping[str, str]) -> dict[str, str]:
    return {
        "gt": created.get("gt", ""),
        "gte": created.get("gte", ""),
        "lt": created.get("lt", HIGHEST_TEXT),
        "lte": created.get("lte", HIGHEST_TEXT),
    }


def history_values(key: SessionKey, query: HistoryQuery) -> dict[str, Any]:
    """`types` is a list, or None when there is no condition."""
    start = HIGHEST_POSITION if query.descending else 0
    return {
        "workspace": key.workspace,
        "session": key.session,
        "after": start if query.after is None else query.after,
        "thread": query.thread,
        "types": list(query.types) or None,
        "timed": bool(query.created),
        "limit": query.limit,
        **time_bounds(query.created),
    }


def page_values(workspace: str, page: Page) -> dict[str, Any]:
    start = (HIGHEST_TEXT, "") if page.descending else ("", "")
    after_time, after_id = page.after or start
    return {
        "workspace": workspace,
        "after_time": after_time,
        "after_id": after_id,
        "archived": page.include_archived,
        "limit": page.limit,
        **time_bounds(page.created),
    }


def session_values(workspace: str, page: Page, where: SessionFilter) -> dict[str, Any]:
    """`statuses` is a list, or None when there is no condition."""
    return {
        **page_values(workspace, page),
        "agent_id": where.agent_id,
        "agent_version": where.agent_version,
        "deployment_id": where.deployment_id,
        "statuses": list(where.statuses) or None,
        "memory_store": where.memory_store,
    }


def session_queries(workspace: str, page: Page, where: SessionFilter) -> list[tuple[str, dict[str, Any]]]:
    """The queries whose answers together hold the page, with their values: each finds its part without passing over
    all sessions of the workspace."""
    values = session_values(workspace, page, where)
    if where.deployment_id is not None:
        return [(ordered("sessions_of_deployment", descending=page.descending), values)]
    if where.memory_store is not None:
        return [(ordered("sessions_of_memory_store", descending=page.descending), values)]
    if where.agent_id is not None:
        return [(ordered("sessions_of_agent", descending=page.descending), values)]
    if where.statuses and IDLE not in where.statuses:
        name = ordered("sessions_not_idle", descending=page.descending)
        return [(name, {**values, "status": status}) for status in sorted(set(where.statuses))]
    return [(ordered("sessions", descending=page.descending), values)]


def joined(parts: list[list[SessionRecord]], page: Page) -> list[SessionRecord]:
    """The page that these parts hold."""
    if len(parts) == 1:
        return parts[0]
    found = sorted(chain.from_iterable(parts), key=lambda r: (r.created_at, r.id), reverse=page.descending)
    return found[: page.limit]


def ordered(name: str, *, descending: bool) -> str:
    """The name of a list's query in this direction."""
    return f"{name}_newest_first" if descending else f"{name}_oldest_first"
