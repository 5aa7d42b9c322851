"""What a test sees of a scripted server and how it holds it: requests kept, surprises, barriers. Of one event loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

LONGEST_STOP = 120.0  # seconds at a barrier before the server gives the request up


class Shut(Exception):
    """The server stops, so nothing will be released any more."""


@dataclass(slots=True)
class Kept:
    """One request to /v1/messages. `outcome` is empty until it is answered: done, refused, failed, unexpected, cut or
    gone (the client hung up first)."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    outcome: str = ""
    status: int = 0


@dataclass(slots=True)
class Control:
    """`unexpected` lists what no script answers for: a test checks that it is empty."""

    keep: bool = True
    requests: list[Kept] = field(default_factory=list[Kept])
    unexpected: list[str] = field(default_factory=list[str])
    arrivals: list[str] = field(default_factory=list[str])
    _permits: Counter[str] = field(default_factory=Counter[str])
    _open: set[str] = field(default_factory=set[str])
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _number: int = 0
    _shut: bool = False

    def record(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Kept:
        self._number += 1
        kept = Kept(self._number, path, headers, body)
        if self.keep:
            self.requests.append(kept)
        self._wake()
        return kept

    def close(self, kept: Kept, outcome: str, status: int) -> None:
        kept.outcome, kept.status = outcome, status
        self._wake()

    def surprise(self, what: str) -> None:
        self.unexpected.append(what)
        self._wake()

    async def stand_at(self, name: str) -> None:
        """Called by the stream: wait for a release of this barrier. Raises TimeoutError."""
        self.arrivals.append(name)
        self._wake()
        await self._until(lambda: name in self._open or self._permits[name] > 0, LONGEST_STOP)
        if name not in self._open:
            self._permits[name] -= 1

    def release(self, name: str, *, all: bool = False) -> None:
        """Let one stream pass this barrier (the next one, if none stands there now), or all from now on."""
        if all:
            self._open.add(name)
        else:
            self._permits[name] += 1
        self._wake()

    async def arrived(self, name: str, *, count: int = 1, timeout: float = 10.0) -> None:
        """Return when streams have come to this barrier `count` times in all. Raises TimeoutError."""
        await self._until(lambda: self.arrivals.count(name) >= count, timeout)

    async def answered(self, number: int, *, timeout: float = 10.0) -> Kept:
        """The kept request with this number (from 1) once its outcome is known. Raises TimeoutError."""
        await self._until(lambda: any(one.number == number and one.outcome for one in self.requests), timeout)
        return next(one for one in self.requests if one.number == number)

    async def requested(self, count: int, *, timeout: float = 10.0) -> None:
        """Return when `count` requests have come in all. Raises TimeoutError."""
        await self._until(lambda: self._number >= count, timeout)

    def shut(self) -> None:
        """Break every stream that stands at a barrier."""
        self._shut = True
        self._wake()

    async def _until(self, true: Callable[[], bool], timeout: float) -> None:
        with anyio.fail_after(timeout):
            while not true():
                if self._shut:
                    raise Shut
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
