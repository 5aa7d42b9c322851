"""Memory stores where a session's sandbox is: files that stand for memories, and what the agent made of them.

The host keeps, for each file, the hash of the content that it was last settled with; what differs is a change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from outrider.ports.sandbox import Mount, Sandboxes

Held = dict[str, dict[str, str]]
"""By mount and path, the hash of the content that was settled."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file that is not as it was settled. `base` is the hash of what it was (None: it is new); `content` is None when
    it is gone, or when it can't be a memory's, for the reason in `problem`."""

    mount: str
    path: str
    base: str | None
    content: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """`keep`: the store has a content of this hash there (None: nothing), whatever the file says by now; `put`: let the
    file have this content; `drop`: let there be nothing."""

    what: Literal["keep", "put", "drop"]
    mount: str
    path: str
    sha256: str | None = None
    content: str | None = None


class MountedMemory:
    """A session's. Every call raises SandboxUnavailable, NotMounted and Fenced."""

    def __init__(self, sandboxes: Sandboxes, session: str, epoch: int, mounts: list[Mount]) -> None:
        self._sandboxes = sandboxes
        self._session = session
        self._fixed: dict[str, Any] = {"epoch": epoch, "mounts": mounts}

    async def mount(self) -> None:
        """Have these mounts; new ones are empty."""
        await self._ask("mount")

    async def held(self) -> Held:
        return (await self._ask("held"))["held"]

    async def changes(self, most: int, after: list[Any] | None = None) -> tuple[list[Change], list[Any] | None]:
        """Some changes of contents of up to `most` bytes, removals first, and from where on there are more."""
        found = await self._ask("changes", most=most, after=after)
        return [Change(*one) for one in found["changes"]], found["after"]

    async def settle(self, steps: Sequence[Step]) -> bool:
        """Whether files were changed, too: not while calls run, then only what is to be kept is noted."""
        plain = [[step.what, step.mount, step.path, step.sha256, step.content] for step in steps]
        return (await self._ask("settle", steps=plain))["replaced"]

    async def _ask(self, what: str, **more: Any) -> dict[str, Any]:
        return await self._sandboxes.memory(self._session, {"what": what, **self._fixed, **more})


async def erase(sandboxes: Sandboxes, session: str, mount: str) -> None:
    """Leave nothing of a mount, whoever owns the session. Raises SandboxUnavailable."""
    await sandboxes.memory(session, {"what": "unmount", "name": mount})


def is_erasure(request: dict[str, Any]) -> bool:
    """Then nothing has to be where nothing is."""
    return request["what"] == "unmount"
