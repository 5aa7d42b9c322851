"""What the routes work with: ports and settings, shared by all requests of one process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from outrider.api.intake import Intake
from outrider.clock import Clock
from outrider.config import Settings
from outrider.ids import IdSource
from outrider.ports.doorbell import Dispatch
from outrider.ports.log import EventLog, SessionKey
from outrider.ports.model import Models
from outrider.ports.records import Records
from outrider.ports.sandbox import Capabilities
from outrider.ports.secrets import Secrets
from outrider.ports.telemetry import SILENT, Telemetry
from outrider.ports.vaults import VaultRecords
from outrider.session.feed import Feed


@dataclass(frozen=True, slots=True)
class Services:
    """`forget` erases what a deleted session has outside the store (its sandbox and files); `has_room` says whether the
    log's disk has its reserve left; `probe` what the sandboxes of this host can do."""

    settings: Settings
    log: EventLog
    records: Records
    vaults: VaultRecords
    secrets: Secrets
    feed: Feed
    dispatch: Dispatch
    models: Models
    ids: IdSource
    clock: Clock
    forget: Callable[[SessionKey], Awaitable[None]]
    has_room: Callable[[], bool]
    probe: Callable[[], Awaitable[Capabilities]]
    telemetry: Telemetry = SILENT
    intake: Intake = field(default_factory=Intake)
