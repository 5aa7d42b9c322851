"""Wakes and live tails. A ring carries only a session and may be lost or doubled; the log alone is the truth."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from outrider.ports.log import Lease, Row, SessionKey


class Doorbell(Protocol):
    """What a harness waits at. Rings may be lost, doubled and folded into one: whoever waits looks at the log too."""

    def ring(self) -> None:
        """Say that some session may be runnable, to a harness here or elsewhere."""
        ...

    def recheck(self) -> None:
        """End this process's own wait: it has room again."""
        ...

    def wait(self, timeout: float, *, room: bool = True) -> Awaitable[None]:
        """Return at the next ring, or at once if one came since the last wait, or after `timeout` seconds.

        Coming back here says that what the last ring asked for was done. Without `room` only `recheck` ends the wait
        early, and rings are left to other processes.
        """
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
    """Tells the readers of a session's log what is new."""

    def publish(self, key: SessionKey, rows: list[Row]) -> None:
        """Rows that this process has committed, in order."""
        ...

    def preview(self, key: SessionKey, thread: str, event_id: str, frame: bytes, *, kind: str, start: bool) -> None:
        """A live-only frame (wire JSON) about the coming event `event_id` of type `kind`; never stored."""
        ...


@dataclass(frozen=True, slots=True)
class Preview:
    """A live-only frame on its way to other processes: the `number`th, from 0, about the coming event `event_id`.

    It belongs behind the row `after`. Numbers let a reader see that one is missing.
    """

    thread: str
    event_id: str
    kind: str
    number: int
    after: int
    frame: bytes


class Listener(Protocol):
    """Who hears what other processes say about sessions that are followed here. All of it may be lost, doubled, or
    come in any order; none of it waits."""

    def heard_head(self, key: SessionKey, seq: int) -> None:
        """The session's log holds `seq` rows or more."""
        ...

    def heard_preview(self, key: SessionKey, preview: Preview) -> None: ...

    def heard_deleted(self, key: SessionKey, body: bytes) -> None:
        """The session is gone; `body` is its last event."""
        ...

    def look(self, keys: Iterable[SessionKey] | None = None) -> None:
        """Something may have been missed about these sessions (None: about any)."""
        ...


class Exchange(Doorbell, Protocol):
    """A doorbell that also carries live tails between processes. Nothing here waits, and nothing is promised to arrive:
    readers poll the log slowly all the same."""

    def opened(self, listener: Listener) -> AbstractAsyncContextManager[None]:
        """Be connected while the block runs, which begins after the first try, and connect again after each loss.
        Entering never fails for want of it, and takes some seconds at most."""
        ...

    @property
    def connected(self) -> bool:
        """Whether anything is carried now, as far as is known."""
        ...

    def follow(self, key: SessionKey) -> None:
        """The listener wants to hear of this session. Once that is so it is asked to `look`."""
        ...

    def unfollow(self, key: SessionKey) -> None: ...

    def head(self, key: SessionKey, seq: int) -> None:
        """Say, after the commit, that the session's log has grown to `seq`."""
        ...

    def preview(self, key: SessionKey, preview: Preview) -> None: ...

    def deleted(self, key: SessionKey, body: bytes) -> None: ...
