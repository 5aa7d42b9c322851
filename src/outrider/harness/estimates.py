"""What a model request may come to: what is reserved for it, and what is counted where its usage is never heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from outrider.ports.model import ModelProfile
from outrider.session import costs
from outrider.session.costs import Tariff
from outrider.session.events import encode
from outrider.session.size import BYTES_A_TOKEN


@dataclass(frozen=True, slots=True)
class Estimate:
    """In picodollars; all of it is nothing for a model without a price. `reserve` is the most that it may come to, if
    the prompt's size is about right."""

    tariff: Tariff | None
    prompt: int = 0
    reserve: int = 0

    def of(self, characters: int) -> int:
        """The prompt, and so much of an answer."""
        if self.tariff is None:
            return 0
        return min(costs.MOST, self.prompt + characters // BYTES_A_TOKEN * self.tariff["output"])


def estimated(profile: ModelProfile, body: dict[str, Any], tokens: int) -> Estimate:
    """`tokens` is the size of the messages, as far as it is known."""
    tariff = costs.tariff_of(profile.price)
    if tariff is None:
        return Estimate(None)
    fixed = len(encode([body["system"], body.get("tools", [])])) // BYTES_A_TOKEN
    prompt = costs.of_prompt(tariff, tokens + fixed)
    return Estimate(tariff, prompt, min(costs.MOST, prompt + body["max_tokens"] * tariff["output"]))
