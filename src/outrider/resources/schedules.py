"""Cron schedules: five fields of wall-clock time in an IANA time zone, and the moments that they come to. Pure.

A local time that the zone skips comes to no moment, one that it repeats to two. The expression is evaluated by
`cronsim` on times without a zone, because with one it moves skipped times as Debian's cron does.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from outrider.clock import rfc3339
from outrider.errors import InvalidRequest

UPCOMING = 5
FIELDS = 5
NO_PLACES = frozenset({"Factory", "localtime"})
"""Names in the database that stand for a clock nobody has set, and for this host's own zone."""
_FIELD = re.compile(r"(?:[0-9*,/-]|(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC|SUN|MON|TUE|WED|THU|FRI|SAT))+")
_SOME_MONDAY = datetime(2024, 1, 1)


def checked(schedule: Mapping[str, Any], field: str = "schedule") -> dict[str, Any]:
    """The schedule itself. Raises InvalidRequest for what is no such expression or zone, or never comes."""
    expression, zone = schedule["expression"], schedule["timezone"]
    parts = expression.upper().split()
    if len(parts) != FIELDS or not all(_FIELD.fullmatch(part) for part in parts):
        raise InvalidRequest(
            f"{field}.expression: Input should be five cron fields: minute, hour, day of month, month, day of week"
        )
    try:
        comes = next(CronSim(expression, _SOME_MONDAY), None)
    except CronSimError as error:
        raise InvalidRequest(f"{field}.expression: {error}") from None
    if comes is None:
        raise InvalidRequest(f"{field}.expression: no such time ever comes")
    if zone not in _zones():
        raise InvalidRequest(f"{field}.timezone: Input should be an IANA time zone, such as Europe/Berlin or UTC")
    return {"type": "cron", "expression": expression, "timezone": zone}


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - NO_PLACES


def after(schedule: Mapping[str, Any], moment: datetime) -> Iterator[datetime]:
    """The moments of a checked schedule behind this one, in order, in UTC."""
    expression, zone = schedule["expression"], ZoneInfo(schedule["timezone"])
    local = moment.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    repeated = _offset(local, 0) - _offset(local, 1)  # within an hour that comes twice: how much of it
    starts = (wall, wall - repeated)
    lanes = (_lane(CronSim(expression, start), zone, fold) for fold, start in enumerate(starts))
    last = moment
    for found in heapq.merge(*lanes):
        if found > last:
            yield found
            last = found


def _offset(local: datetime, fold: int) -> timedelta:
    return local.replace(fold=fold).utcoffset() or timedelta()


def _lane(times: Iterator[datetime], zone: ZoneInfo, fold: int) -> Iterator[datetime]:
    """Wall-clock times as moments, of two that one could be always the first (`fold` 0) or the second."""
    for wall in times:
        found = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if found.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
            yield found


def following(schedule: Mapping[str, Any], now: str) -> str | None:
    """The first moment behind this one; both as `Clock.now` says them."""
    return next((rfc3339(moment) for moment in after(schedule, datetime.fromisoformat(now))), None)


def upcoming(schedule: Mapping[str, Any], now: str) -> list[str]:
    """The next few."""
    return [rfc3339(moment) for moment in islice(after(schedule, datetime.fromisoformat(now)), UPCOMING)]


def latest_due(schedule: Mapping[str, Any], due: str, now: str, *, late: timedelta) -> str | None:
    """The last moment up to now, `due` itself or one behind it; None if that is longer ago than `late`."""
    earliest = rfc3339(datetime.fromisoformat(now) - late)
    latest = due if due >= earliest else None
    for moment in after(schedule, datetime.fromisoformat(max(due, earliest))):
        found = rfc3339(moment)
        if found > now:
            return latest
        latest = found
    return latest
