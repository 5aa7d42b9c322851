"""What a process that uses sandboxes remembers of each use: who runs in it, and when what runs must have ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Call:
    """One that a sandbox was asked for. `limit`: the seconds that it has once it is its turn; `due`: when it must have
    ended, on the monotonic clock."""

    limit: float
    due: float


@dataclass(slots=True)
class Use:
    """A session's use of its sandbox by this process. `settling` is held while it gets a place or loses it. `calls`
    are those that its sandbox was asked for; `running` counts those that wait for a sandbox as well."""

    running: int = 0
    last: float = 0.0
    live: bool = False
    calls: set[Call] = field(default_factory=set[Call])
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)

    def begin(self, limit: float, now: float, *, resume: bool) -> Call:
        """It may have to wait for all that run. One that is resumed may be older than they are: they for it, too."""
        call = Call(limit, now + limit + sum(other.limit for other in self.calls))
        if resume:
            for other in self.calls:
                other.due += limit
        self.calls.add(call)
        return call
