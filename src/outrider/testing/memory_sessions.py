"""What the parts of the store in memory ask about its sessions."""

from __future__ import annotations

from abc import ABC, abstractmethod

from outrider.ports.log import SessionKey
from outrider.ports.records import SessionRecord


class KnowsSessions(ABC):
    @abstractmethod
    def _epoch(self, key: SessionKey) -> int | None:
        """Of the session's log; None without one."""

    @abstractmethod
    def _worked(self, key: SessionKey) -> SessionRecord | None:
        """The session that a work item is for; None when it is gone."""
