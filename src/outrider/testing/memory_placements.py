"""Placements in memory, for tests and trials."""

from __future__ import annotations

from collections.abc import Collection


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

    async def places(self, sessions: Collection[str]) -> dict[str, str]:
        return {name: self._hosts[name] for name in sessions if name in self._hosts}

    async def placements(self, after: str, limit: int) -> dict[str, str]:
        behind = sorted(name for name in self._hosts if name > after)
        return {name: self._hosts[name] for name in behind[:limit]}

    async def unplace(self, session: str) -> None:
        self._hosts.pop(session, None)
