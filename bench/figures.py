"""Small statistics, all in the units of what they are given."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(values: Sequence[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def summary(seconds: Sequence[float]) -> dict[str, float | int]:
    """Milliseconds: p50, p95, least, and how many."""
    return {
        "p50_ms": round(quantile(seconds, 0.5) * 1000, 3),
        "p95_ms": round(quantile(seconds, 0.95) * 1000, 3),
        "min_ms": round(min(seconds) * 1000, 3),
        "n": len(seconds),
    }
