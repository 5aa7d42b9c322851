"""Pages of records that are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from outrider.ports.deployments import DeploymentRecord
from outrider.ports.dreams import DreamRecord
from outrider.ports.memory import MemoryStoreRecord
from outrider.ports.records import AgentRecord, EnvironmentRecord, Page, SessionRecord
from outrider.ports.vaults import CredentialRecord, VaultRecord


class Dated(Protocol):
    @property
    def created_at(self) -> str: ...
    @property
    def id(self) -> str: ...


Record = TypeVar("Record", bound=Dated)
Listed = TypeVar(
    "Listed",
    AgentRecord,
    EnvironmentRecord,
    SessionRecord,
    VaultRecord,
    CredentialRecord,
    MemoryStoreRecord,
    DeploymentRecord,
    DreamRecord,
)


def within(at: str, created: Mapping[str, str]) -> bool:
    tests: dict[str, Callable[[str], bool]] = {
        "gt": lambda bound: at > bound,
        "gte": lambda bound: at >= bound,
        "lt": lambda bound: at < bound,
        "lte": lambda bound: at <= bound,
    }
    return all(tests[name](bound) for name, bound in created.items())


def one_page(records: Iterable[Listed], page: Page) -> list[Listed]:
    return one_stretch((r for r in records if page.include_archived or r.archived_at is None), page)


def one_stretch(records: Iterable[Record], page: Page) -> list[Record]:
    """Of records that are never archived."""

    def beyond(record: Record) -> bool:
        place = (record.created_at, record.id)
        return page.after is None or (place < page.after if page.descending else place > page.after)

    shown = [r for r in records if within(r.created_at, page.created) and beyond(r)]
    shown.sort(key=lambda r: (r.created_at, r.id), reverse=page.descending)
    return shown[: page.limit]


def newest_first(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda r: (r.created_at, r.id), reverse=True)
