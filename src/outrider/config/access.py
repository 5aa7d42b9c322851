"""Who may ask, how often and from where: rates of workspaces, as tables of the config file say them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from outrider.config.settings import HOSTED_RATES, RateLimits
from outrider.errors import InvalidRequest

RATE_KEYS = ("hosted", *RateLimits.__dataclass_fields__)


def rate_limits(values: Mapping[str, Any], path: Path) -> RateLimits:
    """`hosted = true` gives the hosted service's figures; a figure of one's own goes before it."""
    hosted = values.get("hosted", False)
    if not isinstance(hosted, bool):
        raise InvalidRequest(f"Config file {path}: rate_limits.hosted must be true or false, not {hosted!r}")
    figures = {name: value for name, value in values.items() if name != "hosted"}
    for name, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidRequest(f"Config file {path}: rate_limits.{name} must be a whole number above 0")
    start = HOSTED_RATES if hosted else RateLimits()
    return RateLimits(**{name: figures.get(name, getattr(start, name)) for name in RateLimits.__dataclass_fields__})
