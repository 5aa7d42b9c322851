"""What new sessions stand on, on every store: that it is there, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence

from outrider.ports.records import Footing
from outrider.resources.footings import absent, archived
from outrider.store.steps import Steps, first, rows

_ARCHIVED_AT = {"environment": 3, "agent": 4, "vault": 4}
"""Where that is in what the query of this name finds."""


def check_footings(workspace: str, stands_on: Sequence[Footing]) -> Steps[None]:
    """That a session may stand on these. Raises NotFound, EnvironmentArchived, InvalidRequest."""
    for footing in stands_on:
        found = yield from first(footing.kind, {"workspace": workspace, "id": footing.id, "version": None})
        if found is None:
            raise absent(footing)
        if found[_ARCHIVED_AT[footing.kind]] is not None:
            raise archived(footing)


def hold_ending(workspace: str, footing: Footing) -> Steps[None]:
    """First of all in a transaction that archives or deletes this, and one such thing alone: it waits for the sessions
    that are being made on it, and those that come later wait for it."""
    yield from rows("hold_ending", {"workspace": workspace, "kind": footing.kind, "id": footing.id})
