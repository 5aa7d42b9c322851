"""Placements in memory, for tests and trials."""

from __future__ import annotations


class MemoryPlacements:
    """Implements `Placements`; nothing survives the process."""

    def __init__(self) -> None:
        self._hosts: dict[str, str] = {}

    async def place(self, session: str, host: str, *, instead_of: str | None = None) -> str:
        found = self._hosts.setdefault(session, host)
        if instead_of is not None and found == instead_of:
            self._hosts[session] = found = host
        return found

    async def placement(self, session: str) -> str | None:
        return self._hosts.get(session)

    async def placements(self) -> dict[str, str]:
        return dict(self._hosts)

    async def unplace(self, session: str) -> None:
        self._hosts.pop(session, None)
