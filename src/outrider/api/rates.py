"""How many requests a workspace may make in a minute, by kind. In this process alone: several count each their own.

Figures of None don't count. A workspace that was quiet may use a minute's figure at once; then it gets one request more
each time that its share of a minute has passed.
"""

from __future__ import annotations

from typing import Literal

from outrider.clock import Clock
from outrider.config import RateLimits
from outrider.errors import RateLimited

Counted = Literal["creates", "reads", "changes", "free"]
"""A route makes something new, reads, changes what is there, or doesn't count: streams, polls, heartbeats."""
CREATE: Counted = "creates"
READ: Counted = "reads"
CHANGE: Counted = "changes"
FREE: Counted = "free"
MINUTE = 60.0


class Rates:
    """One for each process. Keeps two numbers for each workspace and kind that is limited."""

    def __init__(self, limits: RateLimits, clock: Clock) -> None:
        self._figures = {"creates": limits.creates, "reads": limits.reads, "changes": limits.changes}
        self._clock = clock
        self._left: dict[tuple[str, str], tuple[float, float]] = {}  # requests left, and when

    def take(self, workspace: str, counted: Counted) -> None:
        """Count a request. Raises RateLimited, which says when the next one may come."""
        figure = self._figures.get(counted)
        if figure is None:
            return
        now, each = self._clock.monotonic(), figure / MINUTE
        left, at = self._left.get((workspace, counted), (float(figure), now))
        left = min(figure, left + (now - at) * each)
        if left < 1:
            self._left[workspace, counted] = (left, now)
            wait = (1 - left) / each
            raise RateLimited(f"This workspace's rate of {figure} {counted} a minute is used up.", retry_after=wait)
        self._left[workspace, counted] = (left - 1, now)
