"""Time as a value that is passed in. Wall-clock stamps are for people; durations come from `monotonic`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> str:
        """The present as an RFC 3339 UTC string with microseconds, such as `2026-01-31T10:00:00.000000Z`."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        ...


def rfc3339(moment: datetime) -> str:
    """Always of one length, so that they compare as text. Raises OverflowError outside the years 1 to 9999 in UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


class SystemClock:
    def now(self) -> str:
        return rfc3339(datetime.now(UTC))

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock for tests that moves only when told."""

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start or datetime(2026, 1, 1, tzinfo=UTC)
        self._elapsed = 0.0

    def advance(self, seconds: float) -> None:
        self._elapsed += seconds

    def now(self) -> str:
        return rfc3339(datetime.fromtimestamp(self._start.timestamp() + self._elapsed, UTC))

    def monotonic(self) -> float:
        return self._elapsed
