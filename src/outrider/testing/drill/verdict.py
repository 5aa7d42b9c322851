"""What the logs say after a drill: violations of the invariants, and how long sessions stood still after a fault."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from outrider.ports.log import EventLog, Row, SessionKey
from outrider.testing.drill import job
from outrider.testing.drill.chaos import Struck
from outrider.testing.drill.client import Followed, Seen
from outrider.testing.invariants import check

PAGE = 1000


@dataclass(slots=True)
class Verdict:
    """`recoveries` are seconds from a fault to the first row of the owner that took the session over after it."""

    sessions: int = 0
    rows: int = 0
    take_overs: int = 0
    violations: list[str] = field(default_factory=list[str])
    recoveries: list[float] = field(default_factory=list[float])


async def judge(
    log: EventLog, workspace: str, sessions: Sequence[Seen], followed: Sequence[Followed], struck: Sequence[Struck]
) -> Verdict:
    verdict = Verdict()
    readers = {one.session: one for one in followed}
    for seen in sessions:
        rows = await read_all(log, SessionKey(workspace, seen.session))
        verdict.sessions += 1
        verdict.rows += len(rows)
        wrong = [*map(str, check(rows, acknowledged=seen.acknowledged)), *job.effects(rows)]
        if seen.trouble:
            wrong.append(seen.trouble)
        if seen.session in readers:
            wrong += _told(readers[seen.session], rows)
        verdict.violations += [f"{seen.session}: {one}" for one in wrong]
        gaps = take_overs(rows, struck)
        verdict.take_overs += len(gaps)
        verdict.recoveries += [gap for gap in gaps if gap is not None]
    return verdict


async def read_all(log: EventLog, key: SessionKey) -> list[Row]:
    rows: list[Row] = []
    while page := await log.read(key, after=len(rows), limit=PAGE):
        rows += page
    return rows


def _told(reader: Followed, rows: Sequence[Row]) -> list[str]:
    stored = [row.id for row in rows if row.public]
    missing = sorted(set(stored) - set(reader.ids))
    strange = sorted(set(reader.ids) - set(stored))
    return [f"the stream's reader was never told of {one}" for one in missing] + [
        f"the stream's reader was told of {one}, which is not in the log" for one in strange
    ]


def take_overs(rows: Sequence[Row], struck: Sequence[Struck]) -> list[float | None]:
    """For each new owner that goes on in the middle of a turn: the seconds since the fault that it followed; None when
    no fault lies between the two owners' rows."""
    owned = [row for row in rows if row.epoch and row.processed_at]
    gaps: list[float | None] = []
    for before, after in itertools.pairwise(owned):
        if after.epoch == before.epoch or before.type == "session.status_idle":
            continue
        start, end = _seconds(before), _seconds(after)
        faults = [one.at for one in struck if start - 1.0 <= one.at <= end]
        gaps.append(end - max(faults[0], start) if faults else None)
    return gaps


def _seconds(row: Row) -> float:
    assert row.processed_at is not None
    return datetime.fromisoformat(row.processed_at).timestamp()
