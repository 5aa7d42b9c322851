"""What the routes work with: ports and settings, shared by all requests of one process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from outrider.api.intake import Intake
from outrider.api.keyring import KeyRing
from outrider.api.leases import Leases, WorkBell
from outrider.api.turns import Turns
from outrider.clock import Clock
from outrider.config import Settings
from outrider.errors import NotSupported
from outrider.ids import IdSource
from outrider.ports.access import Access
from outrider.ports.blobs import Blobs
from outrider.ports.declarations import Declarations
from outrider.ports.deployments import Deployments
from outrider.ports.doorbell import Dispatch
from outrider.ports.dreams import Dreams
from outrider.ports.egress import Asked, Requests
from outrider.ports.files import FileRecords
from outrider.ports.log import EventLog, SessionKey
from outrider.ports.memory import MemoryStores
from outrider.ports.model import Models
from outrider.ports.placements import Placements
from outrider.ports.records import Records
from outrider.ports.sandbox import Capabilities
from outrider.ports.secrets import Secrets
from outrider.ports.skills import SkillRecords
from outrider.ports.telemetry import SILENT, Telemetry
from outrider.ports.vaults import VaultRecords
from outrider.ports.webhooks import WebhookRecords
from outrider.ports.work import WorkQueues
from outrider.session.feed import Feed


async def nobody_knows(_place: str) -> bool | None:
    """Of a session's place, where this process has no way to look."""
    return None


async def nothing_kept(_asked: Asked) -> list[dict[str, Any]]:
    """Of what sandboxes asked of the network, where this process has no way to look."""
    raise NotSupported("This server can't see what sandboxes asked: ask one with the role harness.")


def left_to_others() -> None:
    """A harness elsewhere looks now and then."""


@dataclass(frozen=True, slots=True)
class Services:
    """`forget` erases what a deleted session has outside the store (its sandbox and files); `has_room` says whether the
    log's disk has its reserve left; `probe` what the sandboxes of this host can do; `ring` holds the keys;
    `reaches` whether a session's place can be reached now (None: it can't be seen from here); `driving` the sessions
    that this process works on; `leases` is what it saw of work items, and `bell` rings when it queued one;
    `turns` are of what clients change beside sessions; `erase_soon` is told when a workspace was deleted."""

    settings: Settings
    log: EventLog
    records: Records
    vaults: VaultRecords
    work: WorkQueues
    memories: MemoryStores
    files: FileRecords
    skills: SkillRecords
    deployments: Deployments
    dreams: Dreams
    access: Access
    blobs: Blobs
    secrets: Secrets
    declarations: Declarations
    placements: Placements
    feed: Feed
    dispatch: Dispatch
    models: Models
    ids: IdSource
    clock: Clock
    forget: Callable[[SessionKey], Awaitable[None]]
    has_room: Callable[[], bool]
    probe: Callable[[], Awaitable[Capabilities]]
    ring: KeyRing
    webhooks: WebhookRecords
    leases: Leases
    telemetry: Telemetry = SILENT
    reaches: Callable[[str], Awaitable[bool | None]] = nobody_knows
    driving: Callable[[], Collection[str]] = tuple[str, ...]
    requests: Requests = nothing_kept
    erase_soon: Callable[[], None] = left_to_others
    intake: Intake = field(default_factory=Intake)
    turns: Turns = field(default_factory=Turns)
    bell: WorkBell = field(default_factory=WorkBell)
