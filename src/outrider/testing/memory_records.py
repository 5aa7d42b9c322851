"""Records in memory, for tests and trials: simple rather than fast. Nothing survives the process."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from outrider.errors import Conflict, NotFound
from outrider.ports.cold import Segment
from outrider.ports.log import Row, SessionKey, Snapshot
from outrider.ports.memory import MemoryVersion
from outrider.ports.records import (
    AgentRecord,
    EnvironmentRecord,
    Footing,
    Page,
    SessionFilter,
    SessionRecord,
)
from outrider.ports.vaults import Change
from outrider.resources.footings import absent, archived
from outrider.resources.webhooks import became, changed_at
from outrider.testing.memory_dreams import MemoryDreams
from outrider.testing.memory_skills import MemorySkills
from outrider.testing.memory_webhooks import MemoryWebhooks
from outrider.testing.memory_work import MemoryWork
from outrider.testing.paging import one_page

HIGHEST = "\U0010ffff"


@dataclass
class Kept:
    """All that is stored of one session. `since` is its place in the queue; None: nothing waits, nobody owns it."""

    record: SessionRecord
    rows: list[Row] = field(default_factory=list[Row])
    writer_head: int = 0
    epoch: int = 0
    since: int | None = None
    worker: str | None = None
    snapshot: Snapshot | None = None
    segment: Segment | None = None
    cold_head: int = 0

    @property
    def head(self) -> int:
        return len(self.rows) if self.segment is None else self.cold_head


class MemoryRecords(MemoryDreams, MemoryWebhooks, MemorySkills, MemoryWork):
    """The part of `Records` that writes no log; `MemoryStore` adds the rest."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[SessionKey, Kept] = {}
        self._agents: dict[tuple[str, str], list[AgentRecord]] = {}  # versions, oldest first

    def _worked(self, key: SessionKey) -> SessionRecord | None:
        return self._kept[key].record if key in self._kept else None

    def _epoch(self, key: SessionKey) -> int | None:
        return self._kept[key].epoch if key in self._kept else None

    async def put_agent(self, record: AgentRecord, *, if_version: int | None) -> None:
        place = (record.workspace, record.id)
        versions = self._agents.get(place, [])
        if not versions and if_version is not None:
            raise NotFound(f"Agent {record.id} was not found.")
        if versions and (if_version is None or versions[-1].version != if_version or record.version <= if_version):
            raise Conflict(f"Agent {record.id} is at version {versions[-1].version}, not {if_version}.")
        if versions and versions[-1].archived_at is not None:
            raise Conflict(f"Agent {record.id} was archived meanwhile.")
        archived_at = versions[-1].archived_at if versions else record.archived_at
        self._agents[place] = [*versions, replace(record, archived_at=archived_at)]
        kind = "agent.updated" if versions else "agent.created"
        await self.add_change(Change(record.workspace, kind, record.id, changed_at(record)))

    async def agent(self, workspace: str, agent_id: str, version: int | None = None) -> AgentRecord | None:
        versions = self._agents.get((workspace, agent_id), [])
        return next((r for r in reversed(versions) if version is None or r.version == version), None)

    async def agents(self, workspace: str, page: Page) -> list[AgentRecord]:
        return one_page((v[-1] for (owner, _), v in self._agents.items() if owner == workspace), page)

    async def agent_versions(
        self, workspace: str, agent_id: str, *, before: int | None, limit: int
    ) -> list[AgentRecord]:
        versions = self._agents.get((workspace, agent_id), [])
        return [r for r in reversed(versions) if before is None or r.version < before][:limit]

    async def archive_agent(self, workspace: str, agent_id: str, at: str) -> None:
        versions = self._agents.get((workspace, agent_id))
        if not versions:
            raise NotFound(f"Agent {agent_id} was not found.")
        if versions[-1].archived_at is None:
            self._agents[workspace, agent_id] = [replace(r, archived_at=at) for r in versions]
            await self.add_change(Change(workspace, "agent.archived", agent_id, at))
        await self._archive_with_agent(workspace, agent_id, at)

    async def put_environment(self, record: EnvironmentRecord, *, if_body: bytes | None = None) -> None:
        before = self._environments.get((record.workspace, record.id))
        if before is None and if_body is not None:
            raise absent(Footing("environment", record.id))
        if before is not None and (before.body != if_body or before.archived_at is not None):
            raise Conflict(f"Environment {record.id} is archived, or was changed at the same time.")
        self._environments[record.workspace, record.id] = record
        kind = became(record, new=if_body is None)
        await self.add_change(Change(record.workspace, kind, record.id, changed_at(record)))

    async def environment(self, workspace: str, environment_id: str) -> EnvironmentRecord | None:
        return self._environments.get((workspace, environment_id))

    async def environments(self, workspace: str, page: Page) -> list[EnvironmentRecord]:
        return one_page((r for (owner, _), r in self._environments.items() if owner == workspace), page)

    async def delete_environment(self, workspace: str, environment_id: str, *, at: str = "") -> None:
        if any(k.workspace == workspace and s.record.environment_id == environment_id for k, s in self._kept.items()):
            raise Conflict(f"Environment {environment_id} is in use by a session.")
        if self._environments.pop((workspace, environment_id), None) is None:
            raise absent(Footing("environment", environment_id))
        self._erase_about(workspace, environment_id)
        await self.add_change(Change(workspace, "environment.deleted", environment_id, at))
        self._forget_pollers(workspace, environment_id, HIGHEST)

    async def _check_footings(self, workspace: str, stands_on: Sequence[Footing]) -> None:
        finders = {"environment": self.environment, "agent": self.agent, "vault": self.vault}
        for footing in stands_on:
            found = await finders[footing.kind](workspace, footing.id)
            if found is None:
                raise absent(footing)
            if found.archived_at is not None:
                raise archived(footing)

    async def session(self, key: SessionKey) -> SessionRecord | None:
        kept = self._kept.get(key)
        return kept.record if kept else None

    async def sessions(self, workspace: str, page: Page, where: SessionFilter) -> list[SessionRecord]:
        def wanted(record: SessionRecord) -> bool:
            return (
                record.workspace == workspace
                and where.agent_id in (None, record.agent_id)
                and where.agent_version in (None, record.agent_version)
                and (not where.statuses or record.status in where.statuses)
                and (
                    where.memory_store is None
                    or where.memory_store in self._attached_to(SessionKey(record.workspace, record.id))
                )
                and (where.deployment_id is None or self._made_by(record, where.deployment_id))
            )

        return one_page((kept.record for kept in self._kept.values() if wanted(kept.record)), page)

    async def living(self, sessions: Collection[str]) -> set[str]:
        return {key.session for key in self._kept}.intersection(sessions) - self._sessions_of_settled_dreams()

    async def has_sessions(self) -> bool:
        return bool(self._kept)

    async def uses_skill(self, workspace: str, environment_id: str, skill: str) -> bool:
        place, named = (workspace, environment_id), f'"skill_id":"{skill}"'.encode()
        records = [kept.record for kept in self._kept.values()]
        return any((one.workspace, one.environment_id) == place and named in one.agent for one in records)

    def _is_there(self, workspace: str, thing: str) -> bool:
        keys = (SessionKey(workspace, thing), (workspace, thing))
        known: dict[str, Iterable[Any]] = {
            "sesn": self._kept,
            "env": self._environments,
            "vlt": self._vaults,
            "vcrd": ((place[0], place[2]) for place in self._credentials),
            "memstore": self._stores,
            "mem": ((place[0], id) for place, held in self._memories.items() for id in held),
            "memver": ((one.workspace, one.id) for held in self._versions.values() for one in _told(held)),
            "whk": self._webhooks,
            "work": ((one.workspace, one.id) for one in self._work.values()),
        }
        kind = thing.partition("_")[0]
        return kind not in known or any(key in keys for key in known[kind])


def _told(versions: dict[str, MemoryVersion]) -> list[MemoryVersion]:
    return [one for one in versions.values() if one.redacted_at is None]
