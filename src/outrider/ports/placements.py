"""Where each session's sandbox lives, when there are several hosts for sandboxes. Kept by the store."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Protocol

_GIVEN_UP = "lost:"

Whereabouts = Literal["here", "elsewhere", "away"]
"""Of a session's files, for a harness that is to run a tool: it may try; it should leave the session to a harness that
can; or it should wait for a while, since whoever has them is away and may come back."""


def given_up(host: str) -> str:
    """The place of a session that was taken off its host and has no new one yet: it begins with an empty workspace."""
    return _GIVEN_UP + host


def given_up_host(place: str) -> str | None:
    """The host that was given up, if the place says so."""
    return place.removeprefix(_GIVEN_UP) if place.startswith(_GIVEN_UP) else None


def moved_text(host: str) -> str:
    """For the agent, in place of the first call's result in the new workspace."""
    return (
        f"This call was not run: {host}, which had this session's files, was given up, and the session begins anew with"
        " an empty workspace. All earlier files and background processes are gone. Look at what is there, then go on."
    )


async def always_here(_session: str) -> Whereabouts:
    return "here"


class Placements(Protocol):
    """Sessions are named by id alone, as on the hosts' disks: ids are unique across workspaces. Promised: at any time a
    session has at most one place, and of any number of attempts to give it one, the first wins."""

    async def place(self, session: str, host: str, *, instead_of: str | None = None) -> str:
        """The session's host: `host`, if it has none yet or has `instead_of`, else the one that it has."""
        ...

    async def placement(self, session: str) -> str | None:
        """The session's host, if it has one."""
        ...

    async def places(self, sessions: Collection[str]) -> dict[str, str]:
        """The hosts of those of these sessions that have one."""
        ...

    async def placements(self, after: str, limit: int) -> dict[str, str]:
        """The hosts of the next `limit` sessions behind this id that have one, in the order of their ids; those of
        deleted sessions included until they are forgotten."""
        ...

    async def unplace(self, session: str) -> None:
        """Forget the session's host; that of a session without one changes nothing."""
        ...
