"""Dispatch for an API whose harnesses run elsewhere: it says that there is something to do, and claims nothing."""

from __future__ import annotations

from outrider.ports.doorbell import Doorbell
from outrider.ports.log import Lease


class RingOnly:
    """Implements the `Dispatch` port."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell

    def ring(self) -> None:
        self._doorbell.ring()

    def claimant(self) -> None:
        """Nobody here."""

    def take(self, lease: Lease) -> None:
        raise RuntimeError(f"nobody claimed {lease.key.session} here")
