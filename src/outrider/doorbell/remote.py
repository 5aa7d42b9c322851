"""The dispatch of a process that has no harness: it only rings."""

from __future__ import annotations

from outrider.ports.doorbell import Doorbell
from outrider.ports.log import Lease


class RemoteDispatch:
    """Implements the `Dispatch` port where every session is driven by another process."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell

    def ring(self) -> None:
        self._doorbell.ring()

    def claimant(self) -> str | None:
        return None

    def take(self, lease: Lease) -> None:
        raise AssertionError(f"{lease} was claimed for nobody")
