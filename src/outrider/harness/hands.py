"""What the sessions of one process work with. Owns nothing of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from outrider.clock import Clock
from outrider.config import Limits
from outrider.harness.outputs import Collects, CollectsNothing
from outrider.harness.showing import Shows, ShowsNothing
from outrider.harness.uploads import Brings, BringsNothing
from outrider.ids import IdSource
from outrider.ports.doorbell import LiveFeed
from outrider.ports.egress import Egress, NoEgress
from outrider.ports.log import EventLog
from outrider.ports.mcp import Connectors, NoConnectors
from outrider.ports.memory import MemoryStores
from outrider.ports.model import Model, Models
from outrider.ports.placements import Whereabouts, always_here
from outrider.ports.repositories import NoRepositories, Repositories
from outrider.ports.sandbox import Sandboxes
from outrider.ports.telemetry import SILENT, Telemetry
from outrider.ports.work import Enlists, NobodyEnlisted


@dataclass(frozen=True, slots=True)
class Hands:
    """What a harness works with: all of it shared by the sessions of one process. `whereabouts` says of a session
    whether its tools can run from here."""

    log: EventLog
    feed: LiveFeed
    model: Model
    models: Models
    sandboxes: Sandboxes
    limits: Limits
    ids: IdSource
    clock: Clock
    telemetry: Telemetry = SILENT
    egress: Egress = field(default_factory=NoEgress)
    repositories: Repositories = field(default_factory=NoRepositories)
    whereabouts: Callable[[str], Awaitable[Whereabouts]] = always_here
    outputs: Collects = field(default_factory=CollectsNothing)
    uploads: Brings = field(default_factory=BringsNothing)
    shows: Shows = field(default_factory=ShowsNothing)
    connectors: Connectors = field(default_factory=NoConnectors)
    memories: MemoryStores | None = None  # a harness without has no sessions with memory
    work: Enlists = field(default_factory=NobodyEnlisted)
