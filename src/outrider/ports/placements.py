"""Where each session's sandbox lives, when there are several hosts for sandboxes. Kept by the store."""

from __future__ import annotations

from typing import Protocol


class Placements(Protocol):
    """Sessions are named by id alone, as on the hosts' disks: ids are unique across workspaces. Promised: at any time a
    session has at most one place, and of any number of attempts to give it one, the first wins."""

    async def place(self, session: str, host: str, *, instead_of: str | None = None) -> str:
        """The session's host: `host`, if it has none yet or has `instead_of`, else the one that it has."""
        ...

    async def placement(self, session: str) -> str | None:
        """The session's host, if it has one."""
        ...

    async def placements(self) -> dict[str, str]:
        """The host of each session that has one, those of deleted sessions included until they are forgotten."""
        ...

    async def unplace(self, session: str) -> None:
        """Forget the session's host; that of a session without one changes nothing."""
        ...
