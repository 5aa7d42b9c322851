"""How long to wait before the next attempt."""

from __future__ import annotations

import random

from outrider.config import Limits


def delay(attempts: int, limits: Limits, retry_after: float | None) -> float:
    """Seconds: doubling from the first backoff, a quarter of it random, never under what the server asked for."""
    doubled = limits.backoff_first * 2.0 ** max(0, attempts - 1)
    bounded = min(doubled, limits.backoff_most)
    jittered = bounded * (1 - random.random() / 4)
    return max(jittered, min(retry_after or 0.0, limits.backoff_most))
