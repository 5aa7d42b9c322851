"""A model request under way, and what it has cost where no model says so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from outrider.errors import ModelFailure
from outrider.harness.estimates import Estimate
from outrider.harness.replies import ReplyDraft
from outrider.ports.log import NewEvent
from outrider.ports.model import ModelCall, ModelProfile, ModelReply
from outrider.session import costs, events
from outrider.session.costs import Tariff
from outrider.session.events import EventFactory


@dataclass(slots=True)
class Request:
    """Its start is in the log, or on its way there; `task` is None until it is sent."""

    span: str
    purpose: str
    profile: ModelProfile
    draft: ReplyDraft
    call: ModelCall
    estimate: Estimate
    task: asyncio.Task[None] | None = None
    outcome: ModelReply | ModelFailure | None = None

    def charge(self, factory: EventFactory) -> list[NewEvent]:
        """The row that says what it comes to although it was cut short; none for a model without a price. What was
        never sent, or failed before it said a word, costs nothing."""
        tariff = self.estimate.tariff
        return [] if tariff is None else [factory.internal(events.CHARGE, {"cost": self._cost(tariff)})]

    def _cost(self, tariff: Tariff) -> int:
        if isinstance(self.outcome, ModelReply):
            return costs.of_usage(tariff, self.outcome.usage)
        silent = isinstance(self.outcome, ModelFailure) and not self.draft.begun
        return 0 if self.task is None or silent else self.estimate.of(self.draft.characters)
