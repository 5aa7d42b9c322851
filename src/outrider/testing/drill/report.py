"""A drill's report: figures as data, and as lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from outrider.testing.drill.chaos import Struck
from outrider.testing.drill.shape import Load, Shape
from outrider.testing.drill.verdict import Verdict

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Report:
    shape: Shape
    load: Load
    verdict: Verdict
    struck: Sequence[Struck]
    rounds: int
    retries: int
    connections: int

    @property
    def sound(self) -> bool:
        return not self.verdict.violations

    def as_data(self) -> dict[str, Any]:
        faults = Counter(one.fault for one in self.struck)
        return {
            "shape": {"store": self.shape.store, "nats": self.shape.with_nats, "servers": dict(self.shape.apart)},
            "load": asdict(self.load),
            "sessions": self.verdict.sessions,
            "rounds": self.rounds,
            "rows": self.verdict.rows,
            "faults": dict(sorted(faults.items())),
            "struck": [asdict(one) for one in self.struck],
            "take_overs": self.verdict.take_overs,
            "client_retries": self.retries,
            "stream_connections": self.connections,
            "recovery_seconds": percentiles(self.verdict.recoveries),
            "violations": self.verdict.violations,
        }

    def lines(self) -> list[str]:
        data = self.as_data()
        faults = ", ".join(f"{count} {kind}" for kind, count in data["faults"].items()) or "none"
        lines = [
            f"sessions      {data['sessions']}, {data['rounds']} rounds, {data['rows']} rows in their logs",
            f"faults        {faults}",
            f"take-overs    {data['take_overs']} in the middle of a turn",
            f"clients       {self.retries} requests sent again, {self.connections} streams opened",
        ]
        if data["recovery_seconds"]:
            times = ", ".join(
                f"{name} {value:.2f} s" for name, value in data["recovery_seconds"].items() if name != "n"
            )
            lines.append(f"recovery      {times}")
        lines.append(f"violations    {len(self.verdict.violations)}")
        lines += [f"  {one}" for one in self.verdict.violations[:SHOWN]]
        if len(self.verdict.violations) > SHOWN:
            lines.append(f"  and {len(self.verdict.violations) - SHOWN} more")
        return lines


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and the longest, by nearest rank; empty for no values."""
    if not values:
        return {}
    ordered = sorted(values)
    ranks = {f"p{share}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 95, 99)}
    return {"n": len(ordered), **ranks, "most": ordered[-1]}
