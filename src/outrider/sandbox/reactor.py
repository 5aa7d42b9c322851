"""A small event loop for the zygote and the shim: readiness of descriptors and timers. One thread, no promises about
fairness. Standard library only."""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable

Action = Callable[[], None]


class Timer:
    """An action due at `when` (monotonic seconds), unless cancelled."""

    def __init__(self, when: float, action: Action) -> None:
        self.when = when
        self.action: Action | None = action

    def cancel(self) -> None:
        self.action = None


class Reactor:
    def __init__(self) -> None:
        self._poll = select.epoll()
        self._actions: dict[int, Action] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self.running = True

    def watch(self, fd: int, action: Action, *, writable: bool = False) -> None:
        """Call `action` whenever `fd` is readable (or writable) until `forget(fd)`; replaces an earlier watch."""
        events = select.EPOLLOUT if writable else select.EPOLLIN
        if fd in self._actions:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        self._actions[fd] = action

    def forget(self, fd: int) -> None:
        if self._actions.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def after(self, seconds: float, action: Action) -> Timer:
        timer = Timer(time.monotonic() + seconds, action)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        return timer

    def run(self) -> None:
        """Go on until `running` is false."""
        while self.running:
            for fd, _ in self._poll.poll(self._patience()):
                action = self._actions.get(fd)
                if action is not None:
                    action()
            self._ring()

    def _patience(self) -> float:
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1

    def _ring(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.action is not None:
                timer.action()
