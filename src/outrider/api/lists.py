"""What the lists that sort by (created_at, id) share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from outrider.ports.records import Page
from outrider.wire.pages import Cursor, Order

ORDER_OF_LISTS: Order = "desc"


class _Created(Protocol):
    @property
    def created_at(self) -> str: ...
    @property
    def id(self) -> str: ...


def mark_created(record: _Created) -> tuple[tuple[str, str], str]:
    """A record's position in its list, and the time that `created_at` filters compare."""
    return (record.created_at, record.id), record.created_at


def page_of(
    limit: int,
    cursor: Cursor | None,
    *,
    created: Mapping[str, str],
    include_archived: bool,
    order: Order = ORDER_OF_LISTS,
) -> Page:
    """The stretch to read: one more than `limit`, towards the end that the cursor points to."""
    after = cursor.position if cursor is not None and isinstance(cursor.position, tuple) else None
    back = cursor is not None and cursor.back
    return Page(
        limit + 1,
        descending=(order == "desc") != back,
        after=after,
        include_archived=include_archived,
        created=dict(created),
    )
