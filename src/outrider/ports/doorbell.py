"""Wakes and live tails. A ring carries only a session and may be lost or doubled; the log alone is the truth."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from outrider.ports.log import Lease, Row, SessionKey


class Doorbell(Protocol):
    def ring(self) -> None:
        """Say that some session may be runnable."""
        ...

    def wait(self, timeout: float) -> Awaitable[None]:
        """Return at the next ring, or at once if one came since the last wait, or after `timeout` seconds."""
        ...


class Dispatch(Protocol):
    """How the API hands runnable sessions to harnesses. A ring may be lost or doubled; a taken lease is driven."""

    def ring(self) -> None:
        """Say that some session may be runnable."""
        ...

    def claimant(self) -> str | None:
        """The worker of this process for which a session may be claimed at once, if it has room for one more."""
        ...

    def take(self, lease: Lease) -> None:
        """Drive this session, claimed for `claimant()`."""
        ...


class LiveFeed(Protocol):
    """Tells this process's readers of a session's log what is new."""

    def publish(self, key: SessionKey, rows: list[Row]) -> None:
        """Committed rows, in order."""
        ...

    def preview(self, key: SessionKey, thread: str, event_id: str, frame: bytes, *, kind: str, start: bool) -> None:
        """A live-only frame (wire JSON) about the coming event `event_id` of type `kind`; never stored."""
        ...
