"""What a session costs at list prices: exact, in whole picodollars, so that no rounding adds up. Pure.

A model request is reserved in the log before it is sent, at what it may come to, and settled when its end is known.
Where nobody heard the end (its owner died), what was reserved stays counted: it may have been spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from outrider.ports.model import Price

CENT = 10**10  # picodollars
HOUR_SECONDS = 3600
MOST = 2**62  # what is stored as JSON must fit 64 bits
COUNTS = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_input_tokens": "cache_read",
    "cache_creation_input_tokens": "cache_write",
}

Tariff = dict[str, int]


class Spending(msgspec.Struct):
    """`budget` is the cap in cents; `hour` the price of an hour at work. `tariff`, `reserve` and `charge` are those of
    the open request; `charge` is what its owner says it came to although no model counted it. `known`: a request with
    a price was made; `unknown`: one without."""

    budget: int | None = None
    hour: int = 0
    settled: int = 0
    tariff: Tariff | None = None
    reserve: int = 0
    charge: int | None = None
    known: bool = False
    unknown: bool = False


def of_hour(dollars: float) -> int:
    """Picodollars."""
    return round(Decimal(str(dollars)) * 10**12)


def tariff_of(price: Price | None) -> Tariff | None:
    """Picodollars a token; the configured prices are dollars per million."""
    if price is None:
        return None
    return {name: round(Decimal(str(getattr(price, name))) * 10**6) for name in COUNTS.values()}


def of_usage(tariff: Mapping[str, int], usage: Mapping[str, Any]) -> int:
    counted = (int(usage.get(name) or 0) * tariff[kind] for name, kind in COUNTS.items())
    return min(MOST, sum(counted))


def of_prompt(tariff: Mapping[str, int], tokens: int) -> int:
    """A prompt of about so many tokens, at the dearer of the two prices that it may have."""
    return min(MOST, tokens * max(tariff["input"], tariff["cache_write"]))


def begin(spending: Spending, tariff: Tariff | None, reserve: int) -> None:
    """A request is about to be sent."""
    spending.tariff, spending.reserve, spending.charge = tariff, reserve, None
    spending.known = spending.known or tariff is not None
    spending.unknown = spending.unknown or tariff is None


def settle(spending: Spending, usage: Mapping[str, Any]) -> None:
    """The open request has ended; a usage of nothing says that nobody counted it."""
    if spending.tariff is not None:
        counted = of_usage(spending.tariff, usage) if any(usage.get(name) for name in COUNTS) else None
        guessed = spending.reserve if spending.charge is None else spending.charge
        spending.settled = min(MOST, spending.settled + (guessed if counted is None else counted))
    spending.tariff, spending.reserve, spending.charge = None, 0, None


def spent(spending: Spending, active_seconds: float) -> int:
    """All that counts against a budget."""
    running = round(Decimal(str(active_seconds)) * spending.hour / HOUR_SECONDS)
    return min(MOST, spending.settled + running)


def capped(spending: Spending, active_seconds: float) -> bool:
    """Whether the budget is used up."""
    return spending.budget is not None and spent(spending, active_seconds) >= spending.budget * CENT


def amount(picodollars: int) -> dict[str, str]:
    """Whole cents, rounded, as the API writes money."""
    return {"amount": str((picodollars + CENT // 2) // CENT), "currency": "USD"}


def limit(cents: int | None) -> dict[str, Any] | None:
    """A budget as the API writes it."""
    if cents is None:
        return None
    return {"type": "limit", "max_list_cost": {"amount": str(cents), "currency": "USD"}}


def cents_of(budget: Mapping[str, Any]) -> int:
    return int(budget["max_list_cost"]["amount"])
