"""The ports that one store keeps, taken together."""

from __future__ import annotations

from typing import Protocol

from outrider.ports.access import Access
from outrider.ports.cold import ColdLogs
from outrider.ports.deployments import Deployments
from outrider.ports.dreams import Dreams
from outrider.ports.files import FileRecords
from outrider.ports.log import EventLog
from outrider.ports.memory import MemoryStores
from outrider.ports.placements import Placements
from outrider.ports.records import Records
from outrider.ports.skills import SkillRecords
from outrider.ports.vaults import VaultRecords
from outrider.ports.webhooks import WebhookRecords
from outrider.ports.work import WorkQueues


class StorePorts(
    EventLog,
    Records,
    VaultRecords,
    FileRecords,
    MemoryStores,
    SkillRecords,
    Deployments,
    Dreams,
    ColdLogs,
    Placements,
    Access,
    WebhookRecords,
    WorkQueues,
    Protocol,
):
    """All ports on one set of data."""
