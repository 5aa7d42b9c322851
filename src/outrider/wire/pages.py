"""Pages of lists and the opaque cursors between them. A cursor is a hint of the client's: checked, never trusted.

It remembers the list and order that made it, and its position's time, because the API refuses another order and a
`created_at` filter that leaves the position outside.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from outrider.errors import InvalidRequest

Order = Literal["asc", "desc"]
Item = TypeVar("Item")
Position = tuple[str, str] | int

LONGEST = 2048  # a list by path has cursors that hold one
LARGEST = 2**63 - 1
PLAIN = re.compile(r"[A-Za-z0-9_:.+-]*", re.ASCII)


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """A place between two items of a list: the position is that of the item it was made from, exclusive.

    `at` is that item's time as the list's `created_at` filter sees it. `back` walks towards the list's start.
    """

    list: str
    order: Order
    position: Position
    at: str | None = None
    back: bool = False

    def encode(self) -> str:
        return urlsafe_b64encode(_encode(self)).decode().rstrip("=")


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Cursor)


def read_cursor(
    text: str | None, kind: str, order: Order, *, shape: type = tuple, created: Mapping[str, str] | None = None
) -> Cursor | None:
    """The cursor of a request on list `kind`; `shape` is what this list's positions are: tuple or int.

    Raises InvalidRequest for one that is malformed, from another list or order, or outside of the `created` bounds.
    """
    if not text:
        return None
    cursor = _decoded(text)
    if cursor is None or cursor.list != kind or not isinstance(cursor.position, shape) or not _storable(cursor):
        raise InvalidRequest("page: Input should be a cursor from an earlier page of this list")
    if cursor.order != order:
        raise InvalidRequest(f"page: this cursor was made with order={cursor.order}; it can't be used with {order}")
    if not _inside(cursor.at, created or {}):
        raise InvalidRequest("page: the created_at filter leaves this cursor's position out")
    return cursor


def _decoded(text: str) -> Cursor | None:
    if len(text) > LONGEST:
        return None
    try:
        return _decoder.decode(urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
    except (msgspec.DecodeError, binascii.Error, ValueError):
        return None


def _storable(cursor: Cursor) -> bool:
    """Whether a database can take the position: it comes from the client, who may have made it up."""
    if isinstance(cursor.position, int):
        return 0 <= cursor.position <= LARGEST
    return all(PLAIN.fullmatch(part) for part in (*cursor.position, cursor.at or ""))


_KEEPS: dict[str, Callable[[str, str], bool]] = {
    "gt": lambda at, bound: at > bound,
    "gte": lambda at, bound: at >= bound,
    "lt": lambda at, bound: at < bound,
    "lte": lambda at, bound: at <= bound,
}


def _inside(at: str | None, created: Mapping[str, str]) -> bool:
    return not created or (at is not None and all(_KEEPS[end](at, bound) for end, bound in created.items()))


class Slice(Generic[Item]):
    """One page of items in the list's order, and the cursors to its neighbours (None where there is none)."""

    __slots__ = ("items", "next_page", "prev_page")

    def __init__(self, items: Sequence[Item], next_page: str | None, prev_page: str | None) -> None:
        self.items = items
        self.next_page = next_page
        self.prev_page = prev_page


def cut(
    fetched: Sequence[Item],
    limit: int,
    *,
    kind: str,
    order: Order,
    cursor: Cursor | None,
    mark: Callable[[Item], tuple[Position, str | None]],
) -> Slice[Item]:
    """Make a page of up to `limit` + 1 fetched items; the surplus one only says that there is more.

    With a cursor that goes back, the items were fetched against the list's order, starting next to it. `mark` gives
    an item's position and the time that filters compare.
    """

    def cursor_at(item: Item, back: bool) -> str:
        position, at = mark(item)
        return Cursor(kind, order, position, at, back).encode()

    back = cursor is not None and cursor.back
    more = len(fetched) > limit
    items = list(fetched[:limit])
    if back:
        items.reverse()
    if not items:
        return Slice(items, None, None)
    following = cursor_at(items[-1], False) if more or back else None
    preceding = cursor_at(items[0], True) if (more if back else cursor is not None) else None
    return Slice(items, following, preceding)


def page_bytes(data: Sequence[Any], next_page: str | None) -> bytes:
    """A forward-only page. `data` holds wire objects, or their JSON as `msgspec.Raw`."""
    return _encode({"data": data, "next_page": next_page})


def two_way_page_bytes(data: Sequence[Any], next_page: str | None, prev_page: str | None) -> bytes:
    """A page of a list that can also be walked backwards (sessions only)."""
    return _encode({"data": data, "next_page": next_page, "prev_page": prev_page})
