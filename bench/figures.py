"""Small statistics, all in the units of what they are given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


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


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has taken, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
